"""The faces of an action: the bare client, a hand-written minimum, otelkafka wrapped and instrumented, and contrib.

Contrib is opentelemetry-instrumentation-kafka-python, which traces `send()` and iteration only.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple
from unittest.mock import patch

import kafka
from opentelemetry import context, propagate, trace
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import Link, SpanContext, SpanKind

import otelkafka
from otelkafka import ConsumerOptions, ProducerOptions

FACES = ("bare", "minimum", "wrapped", "instrumented", "contrib")
ACTIONS = ("send", "iterate", "poll", "poll-spans", "batch")
TRACED_BY_CONTRIB = ("send", "iterate")
VALUE = b"v" * 100
CONSTANT = [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02")]
ATTRIBUTES: dict[str, Any] = {
    "messaging.system": "kafka",
    "messaging.operation.name": "send",
    "messaging.operation.type": "send",
    "messaging.destination.name": "t",
    "messaging.client.id": "c",
    "server.address": "host",
    "server.port": 9092,
}


class Told(NamedTuple):
    """What a span that is written by hand tells.

    Args:
        attributes: of the span.
        links: their contexts and attributes.
    """

    attributes: Mapping[str, Any]
    links: Sequence[tuple[SpanContext, Mapping[str, Any]]] = ()

    def make_links(self) -> list[Link]:
        """Return its links, which each span has of its own."""
        return [Link(*each) for each in self.links]


MINIMUM = Told(ATTRIBUTES)


def faces_of(action: str) -> tuple[str, ...]:
    """Return the faces that an action has."""
    return FACES if action in TRACED_BY_CONTRIB else FACES[:-1]


def client_of(
    face: str, client: type, arguments: tuple[Any, ...], config: dict[str, Any], options: dict[str, Any]
) -> Any:
    """Return a client with a face.

    Args:
        face: which.
        client: the class, a producer's if it has `send()`.
        arguments: its positional arguments.
        config: its keyword arguments.
        options: of otelkafka.
    """
    if face == "wrapped":
        made = client(*arguments, **config)
        if hasattr(client, "send"):
            return otelkafka.wrap_producer(made, ProducerOptions(**options))
        return otelkafka.wrap_consumer(made, ConsumerOptions(**options))
    if face == "instrumented":
        from otelkafka.instrumentor import KafkaInstrumentor as Ours  # noqa: PLC0415 (only this face needs it)

        client = _instrumented(Ours, client, options)
    if face == "contrib":
        from opentelemetry.instrumentation.kafka import KafkaInstrumentor as Theirs  # noqa: PLC0415 (the same)

        client = _instrumented(Theirs, client, {})
    return client(*arguments, **config)


def _instrumented(instrumentor: type, client: type, options: dict[str, Any]) -> type:
    """Return a subclass that was instrumented in the place of kafka-python's own class."""
    name, other = ("KafkaProducer", "KafkaConsumer") if hasattr(client, "send") else ("KafkaConsumer", "KafkaProducer")
    patched = type(client.__name__, (client,), {})
    rest = type(other, (getattr(kafka, other),), {})
    fresh = type(instrumentor.__name__, (instrumentor,), {"_instance": None})  # for it is one in a process
    with patch.object(kafka, name, patched), patch.object(kafka, other, rest):
        fresh().instrument(skip_dep_check=True, **options)
    return patched


def sending(face: str, producer: Any, topic: str) -> Callable[[], Any]:
    """Return what sends one record, and returns its future."""
    if face == "bare":
        return lambda: producer.send(topic, VALUE, headers=CONSTANT)
    return sending_by_hand(producer, topic) if face == "minimum" else lambda: producer.send(topic, VALUE)


def sending_by_hand(producer: Any, topic: str, told: Told = MINIMUM) -> Callable[[], Any]:
    """Return what sends one record with what tracing it takes at least."""
    tracer = trace.get_tracer("minimum")

    def send() -> Any:
        span = tracer.start_span("send t", None, SpanKind.PRODUCER, told.attributes, told.make_links())
        headers: dict[str, str] = {}
        propagate.inject(headers, trace.set_span_in_context(span))
        future = producer.send(topic, VALUE, headers=[(name, value.encode()) for name, value in headers.items()])
        span.end()
        return future

    return send


def consuming(face: str, action: str, consumer: Any, options: ConsumerOptions) -> Callable[[int], int]:
    """Return what consumes at least so many records, and returns how many.

    Args:
        face: which.
        action: "iterate", "poll", "poll-spans" or "batch".
        consumer: with that face.
        options: of the batches where the consumer has none of its own.
    """
    walk = walking_by_hand() if face == "minimum" else _walk

    def iterate(count: int) -> int:
        return walk(islice(consumer, count))

    def poll(count: int) -> int:
        done = 0
        while done < count:
            for records in consumer.poll(timeout_ms=1000).values():
                done += walk(records)
        return done

    def batch(count: int) -> int:
        done = 0
        while done < count:
            for records in consumer.poll(timeout_ms=1000).values():
                with process(records):
                    done += walk(records)
        return done

    def process(records: Any) -> Any:
        return otelkafka.process_batch(records, options) if face == "instrumented" else consumer.process_batch(records)

    if action == "iterate":
        return iterate
    return batch if action == "batch" and face in ("wrapped", "instrumented") else poll


def _walk(records: Iterable[Any]) -> int:
    count = 0
    for _ in records:
        count += 1
    return count


def walking_by_hand(told: Told = MINIMUM) -> Callable[[Iterable[Any]], int]:
    """Return what walks records, and does for each what tracing it takes at least."""
    tracer, getter = trace.get_tracer("minimum"), HeaderGetter()

    def walk(records: Iterable[Any]) -> int:
        count = 0
        for record in records:
            parent = propagate.extract(record.headers, getter=getter)
            span = tracer.start_span("process t", parent, SpanKind.CONSUMER, told.attributes, told.make_links())
            token = context.attach(trace.set_span_in_context(span, parent))
            context.detach(token)
            span.end()
            count += 1
        return count

    return walk


class HeaderGetter(Getter[list[tuple[str, bytes]]]):
    """Reads the headers of a record."""

    def get(self, carrier: list[tuple[str, bytes]], key: str) -> list[str] | None:
        """Return the value of the first header of that name."""
        for name, value in carrier:
            if name == key:
                return [value.decode()]
        return None

    def keys(self, carrier: list[tuple[str, bytes]]) -> list[str]:
        """Return the names of all headers."""
        return [name for name, _ in carrier]
