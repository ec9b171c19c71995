"""The same service under opentelemetry-instrumentation-kafka-python and under otelkafka: what either makes of it.

`python -m examples.migrating` prints the table; with `--write` it puts it into the page of the documentation.
"""

from __future__ import annotations

import argparse
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from opentelemetry.instrumentation.kafka import KafkaInstrumentor as Theirs

from otelkafka.instrumentor import KafkaInstrumentor as Ours
from otelkafka.testing import SpanRecorder
from testbroker import start_broker
from testbroker.wait import PATIENCE, wait_until

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from testbroker import Broker

PAGE = Path(__file__).parents[1] / "docs" / "migrating.md"
BEGIN, END = "<!-- seen: python -m examples.migrating --write -->\n", "<!-- end of seen -->"
OPT_IN = {"OTEL_SEMCONV_STABILITY_OPT_IN": "messaging/dup"}
FACTS: dict[str, Callable[[Service], str]] = {}


def fact(name: str) -> Callable[[Callable[[Service], str]], Callable[[Service], str]]:
    """Make a row of the table of a function."""

    def add(find_out: Callable[[Service], str]) -> Callable[[Service], str]:
        FACTS[name] = find_out
        return find_out

    return add


class Service:
    """Clients on a topic of its own, with one of the instrumentations.

    Args:
        broker: where the topic is made.
        instrumentor: the instrumentor of the clients' classes.
    """

    def __init__(self, broker: Broker, instrumentor: Any) -> None:
        self.recorder = SpanRecorder()
        self.topic = f"m-{uuid.uuid4().hex}"
        self._broker = broker
        self._instrumentor = instrumentor
        self.tracer = self.recorder.tracer_provider.get_tracer("service")

    @contextmanager
    def running(self) -> Iterator[Service]:
        """Have the classes instrumented, and clients that are closed in the end."""
        self._broker.create_topic(self.topic)
        self._instrumentor.instrument(tracer_provider=self.recorder.tracer_provider)
        self.producer = KafkaProducer(**self._broker.client_options, max_request_size=2000)
        self.consumer = KafkaConsumer(
            auto_offset_reset="earliest", consumer_timeout_ms=int(PATIENCE * 1000), **self._broker.client_options
        )
        self.consumer.assign([TopicPartition(self.topic, 0)])
        try:
            yield self
        finally:
            self.consumer.close()
            self.producer.close()
            self._instrumentor.uninstrument()

    def send(self, value: bytes = b"why?", headers: Any = None) -> None:
        """Send a record and wait for its acknowledgement."""
        self.producer.send(self.topic, value, headers=headers).get(PATIENCE)

    def receive(self) -> Any:
        """Return the next record."""
        return next(iter(self.consumer))

    def span(self, *words: str) -> ReadableSpan:
        """Return the span whose name has one of these words, as soon as it has ended, and forget all so far."""
        wait_until(lambda: self._spans(words), f"a span named with one of {words}", lambda: self.recorder.spans)
        (found,) = self._spans(words)
        self.recorder.clear()
        return found

    def _spans(self, words: tuple[str, ...]) -> list[ReadableSpan]:
        return [span for span in self.recorder.spans if not set(words).isdisjoint(span.name.split())]

    def named(self, span: ReadableSpan) -> str:
        """Return what a span is called, and its kind."""
        return f"`{span.name.replace(self.topic, 'T')}`, {span.kind.name}"


@fact("the key of a record")
def _key(service: Service) -> str:
    service.producer.send(service.topic, b"why?", key=b"k").get(PATIENCE)
    recorded = service.span("send").attributes or {}
    service.receive()
    service.recorder.clear()
    return "recorded, unless `capture_key=False`" if "messaging.kafka.message.key" in recorded else "not recorded"


@fact("a send")
def _send(service: Service) -> str:
    service.send()
    span = service.span("send")
    offset = "the acknowledged offset" if "messaging.kafka.offset" in (span.attributes or {}) else "no offset"
    return f"{service.named(span)}, with {offset}"


@fact("a record that is iterated")
def _iterate(service: Service) -> str:
    for _ in islice(service.consumer, 1):
        with service.tracer.start_as_current_span("body"):
            pass
    (body,) = [span for span in service.recorder.spans if span.name == "body"]
    span = service.span("receive", "process")
    place = "its child" if body.parent else "the root of a new trace"
    return f"{service.named(span)}; a span of the loop's body is {place}"


@fact("a record of a list that `poll()` returned")
def _poll(service: Service) -> str:
    service.send()
    service.recorder.clear()
    while not (polled := service.consumer.poll(timeout_ms=500)):
        pass
    for records in polled.values():
        for _ in records:
            pass
    spans = [span for span in service.recorder.spans if span.kind.name == "CONSUMER"]
    service.recorder.clear()
    return service.named(spans[0]) if spans else "no span"


@fact("attributes that dashboards use")
def _attributes(service: Service) -> str:
    service.send()
    span = service.span("send")
    service.receive()
    old = ("messaging.system", "messaging.destination", "messaging.kafka.partition", "messaging.url")
    there = [f"`{name}`" for name in old if name in (span.attributes or {})]
    return ", ".join(there)


@fact("the headers that you pass, after two sends")
def _headers(service: Service) -> str:
    headers: list[tuple[str, bytes]] = [("tenant", b"a")]
    for _ in range(2):
        service.send(headers=headers)
        service.receive()
    service.recorder.clear()
    return ", ".join(f"`{key}`" for key, _ in headers)


@fact("contexts in a record that is forwarded with its headers")
def _forward(service: Service) -> str:
    service.send()
    service.send(headers=service.receive().headers)
    service.recorder.clear()
    return str(sum(key == "traceparent" for key, _ in service.receive().headers))


@fact("a send that raises")
def _send_raises(service: Service) -> str:
    with suppress(KafkaError):
        service.send(bytes(5000))
    span = service.span("send")
    attributes = span.attributes or {}
    error = attributes.get("error.type", "no `error.type`")
    return f"{span.status.status_code.name}, {error}, {'its topic' if len(attributes) > 1 else 'no topic'}"


@fact("a `traceparent` that is no text")
def _broken(service: Service) -> str:
    service.send(headers=[("traceparent", b"\xff")])
    return _outcome(service.receive)


def _outcome(receive: Callable[[], Any]) -> str:
    try:
        receive()
    except UnicodeDecodeError as error:
        return f"`{type(error).__name__}` instead of the record"
    return "the record comes"


def table(broker: Broker) -> str:
    """Run the service three times, and return what was seen."""
    theirs, ours, both = _seen(broker, Theirs()), _seen(broker, Ours()), _seen_with(OPT_IN, broker)
    head = ("", f"opentelemetry-instrumentation-kafka-python {version('opentelemetry-instrumentation-kafka-python')}")
    rows = [(*head, "otelkafka"), ("---",) * 3]
    for name in FACTS:
        shown = ours[name] if ours[name] == both[name] else f"{ours[name]}; with `messaging/dup` {both[name]}"
        rows.append((name, theirs[name], shown))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _seen(broker: Broker, instrumentor: Any) -> dict[str, str]:
    with Service(broker, instrumentor).running() as service:
        return {name: find_out(service) for name, find_out in FACTS.items()}


def _seen_with(variables: dict[str, str], broker: Broker) -> dict[str, str]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        return _seen(broker, Ours())
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def table_of_the_page() -> str:
    """Return the table that the page has."""
    return PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip()


def main() -> None:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into the page of the documentation")
    write = parser.parse_args().write
    with start_broker() as broker:
        seen = table(broker)
    print(seen)
    if write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}{seen}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
