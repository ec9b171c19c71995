"""The faces of an action: the bare client, a hand-written minimum, otelkafka wrapped and instrumented, and contrib.

Contrib is opentelemetry-instrumentation-kafka-python, which traces `send()` and iteration only.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from importlib import import_module
from itertools import islice
from typing import Any, NamedTuple
from unittest.mock import patch

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


class Recorded(NamedTuple):
    """What a span that is written by hand records.

    Args:
        attributes: the attributes of the span.
        links: their contexts and attributes.
    """

    attributes: Mapping[str, Any]
    links: Sequence[tuple[SpanContext, Mapping[str, Any]]] = ()

    def make_links(self) -> list[Link]:
        """Return its links, which each span has of its own."""
        return [Link(*each) for each in self.links]


MINIMUM = Recorded(ATTRIBUTES)


_patching = threading.Lock()


class Classes(NamedTuple):
    """The classes of a client library that zero code instruments.

    Args:
        module: where instrumentors find them, which is imported when it is needed.
        producer: the name of the producer's.
        consumer: the name of the consumer's.
        instrumentor: the name of both instrumentors.
        contrib: the module of contrib's.
        used: the names of classes that its own classes make, which stay untraced.
    """

    module: str
    producer: str
    consumer: str
    instrumentor: str
    contrib: str
    used: tuple[str, ...] = ()

    def instrumented(self, module: str, client: type, options: dict[str, Any]) -> Any:
        """Return a class that was instrumented in the place of the library's own class.

        Args:
            module: the module of the instrumentor.
            client: the class, a producer's if it sends.
            options: the options of the instrumentor.
        """
        instrumentor: Any = getattr(import_module(module), self.instrumentor)
        library = import_module(self.module)
        names = (self.producer, self.consumer) if is_producer(client) else (self.consumer, self.producer)
        patched = type(client.__name__, (client,), {})
        fresh = type(instrumentor.__name__, (instrumentor,), {"_instance": None})  # for it is one in a process
        with _patching, ExitStack() as restored:
            for name in self.used:  # by which the library's own classes make others
                whole = import_module(self.contrib)
                restored.enter_context(patch.object(whole, name, getattr(whole, name)))
            rest = type(names[1], (getattr(library, names[1]),), {})
            with patch.object(library, names[0], patched), patch.object(library, names[1], rest):
                fresh().instrument(skip_dep_check=True, **options)
                return getattr(library, names[0])  # confluent-kafka's are replaced by another


KAFKA_PYTHON = Classes("kafka", "KafkaProducer", "KafkaConsumer", "KafkaInstrumentor", "kafka")
AIOKAFKA = Classes("aiokafka", "AIOKafkaProducer", "AIOKafkaConsumer", "AIOKafkaInstrumentor", "aiokafka")
CONFLUENT_KAFKA = Classes(
    "confluent_kafka.cimpl", "Producer", "Consumer", "ConfluentKafkaInstrumentor", "confluent_kafka"
)
ASYNC_CONFLUENT_KAFKA = CONFLUENT_KAFKA._replace(
    module="confluent_kafka.aio", producer="AIOProducer", consumer="AIOConsumer", used=("Producer", "Consumer")
)


def is_producer(client: type) -> bool:
    """Return whether a class is a producer's."""
    return hasattr(client, "send") or hasattr(client, "produce")


def faces_of(action: str) -> tuple[str, ...]:
    """Return the faces that an action has."""
    return FACES if action in TRACED_BY_CONTRIB else FACES[:-1]


def client_of(
    face: str,
    client: type,
    arguments: tuple[Any, ...],
    config: dict[str, Any],
    options: dict[str, Any],
    classes: Classes = KAFKA_PYTHON,
) -> Any:
    """Return a client with a face.

    Args:
        face: which.
        client: the class, a producer's if it sends.
        arguments: its positional arguments.
        config: its keyword arguments.
        options: the options of otelkafka.
        classes: those of its library.
    """
    if face == "wrapped":
        made = client(*arguments, **config)
        if is_producer(client):
            return otelkafka.wrap_producer(made, ProducerOptions(**options))
        return otelkafka.wrap_consumer(made, ConsumerOptions(**options))
    if face == "instrumented":
        client = classes.instrumented("otelkafka.instrumentor", client, options)
    if face == "contrib":
        client = classes.instrumented(f"opentelemetry.instrumentation.{classes.contrib}", client, {})
    return client(*arguments, **config)


def sending(face: str, producer: Any, topic: str) -> Callable[[], Any]:
    """Return what sends one record, and returns its future."""
    if face == "bare":
        return lambda: producer.send(topic, VALUE, headers=CONSTANT)
    return sending_by_hand(producer, topic) if face == "minimum" else lambda: producer.send(topic, VALUE)


def sending_by_hand(producer: Any, topic: str, recorded: Recorded = MINIMUM) -> Callable[[], Any]:
    """Return what sends one record with what tracing it takes at least."""
    tracer = trace.get_tracer("minimum")

    def send() -> Any:
        span = tracer.start_span("send t", None, SpanKind.PRODUCER, recorded.attributes, recorded.make_links())
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
        options: the options of the batches where the consumer has none of its own.
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


def walking_by_hand(recorded: Recorded = MINIMUM) -> Callable[[Iterable[Any]], int]:
    """Return what walks records, and does for each what tracing it takes at least."""
    tracer, getter = trace.get_tracer("minimum"), HeaderGetter()

    def walk(records: Iterable[Any]) -> int:
        count = 0
        for record in records:
            parent = propagate.extract(record.headers, getter=getter)
            span = tracer.start_span("process t", parent, SpanKind.CONSUMER, recorded.attributes, recorded.make_links())
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
