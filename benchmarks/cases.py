"""What is timed: one send or one record, with a client that does nothing, so that the time is the instrumentation's.

Run as a program it times every face of one action under one mode, in turns, and prints nanoseconds a record as JSON.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from opentelemetry import context as context_api
from opentelemetry import propagate, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import SpanKind

from otelkafka import ConsumerOptions, ProducerOptions, wrap_consumer, wrap_producer
from otelkafka.headers import CarrierGetter, HeaderCarrier

MODES = ("no-sdk", "never", "ratio", "always")
ACTIONS = ("send", "iterate", "poll", "batch")
RATIO = 1 / 10_000
BATCH = 500
VALUE = b"v" * 100
ATTRIBUTES = {
    "messaging.system": "kafka",
    "messaging.operation.name": "send",
    "messaging.operation.type": "send",
    "messaging.destination.name": "t",
    "messaging.client.id": "c",
    "server.address": "host",
    "server.port": 9092,
}
CONFIG = {"bootstrap_servers": ["host:9092"], "client_id": "c", "group_id": "g"}


class Metadata:
    """What the broker acknowledges."""

    topic, partition, offset = "t", 0, 7


class Future:
    """Is acknowledged at once."""

    __slots__ = ()
    is_done = False

    def add_callback(self, function: Callable[[Any], Any]) -> None:
        """Call it."""
        function(Metadata)

    def add_errback(self, function: Callable[[Any], Any]) -> None:
        """Never call it."""


class Producer:
    """Sends nothing."""

    config = CONFIG
    future = Future()

    def send(
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        headers: Any = None,
        partition: Any = None,
        timestamp_ms: Any = None,
    ) -> Future:
        """Return a future."""
        return self.future


class Consumer:
    """Hands over records that are there already.

    Args:
        records: which.
    """

    config = CONFIG

    def __init__(self, records: list[Any]) -> None:
        self.records = records
        self.rest = iter(records)

    def __iter__(self) -> "Consumer":
        """Iterate itself, as kafka-python's does."""
        return self

    def __next__(self) -> Any:
        """Return the next record."""
        return next(self.rest)

    def poll(self) -> dict[TopicPartition, list[Any]]:
        """Return them all."""
        return {TopicPartition("t", 0): self.records}

    def highwater(self, partition: TopicPartition) -> int:
        """Return an offset."""
        return 1_000_000


def records(*, sampled: bool) -> list[Any]:
    """Return records with a context each."""
    now, flags = int(time.time() * 1000), "01" if sampled else "00"
    fields = dict.fromkeys(ConsumerRecord._fields)
    return [
        ConsumerRecord(
            **{
                **fields,
                "topic": "t",
                "partition": 0,
                "offset": offset,
                "timestamp": now,
                "timestamp_type": 0,
                "key": b"k",
                "value": VALUE,
                "headers": [("traceparent", f"00-{offset + 1:032x}-{offset + 1:016x}-{flags}".encode())],
                "serialized_value_size": len(VALUE),
            }
        )
        for offset in range(BATCH)
    ]


def set_up(mode: str, *, metrics: bool) -> MeterProvider | None:
    """Configure the SDK as a service would."""
    if mode != "no-sdk":
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 (there is none in the first mode)
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import (  # noqa: PLC0415
            ALWAYS_OFF,
            ALWAYS_ON,
            ParentBased,
            ParentBasedTraceIdRatio,
        )

        class Nowhere(SpanExporter):
            """Exports nothing."""

            def export(self, spans: Any) -> SpanExportResult:
                """Take them."""
                return SpanExportResult.SUCCESS

        samplers = {"never": ParentBased(ALWAYS_OFF), "ratio": ParentBasedTraceIdRatio(RATIO), "always": ALWAYS_ON}
        provider = TracerProvider(sampler=samplers[mode])
        provider.add_span_processor(BatchSpanProcessor(Nowhere()))
        trace.set_tracer_provider(provider)
    if not metrics:
        return None
    from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415

    return SdkMeterProvider([InMemoryMetricReader()])


def sends(meters: MeterProvider | None) -> dict[str, Callable[[], None]]:
    """Return the faces of a send: each sends a batch, one by one."""
    bare, tracer = Producer(), trace.get_tracer("minimum")
    traced = wrap_producer(Producer(), ProducerOptions(meter_provider=meters))

    def send_bare() -> None:
        for _ in range(BATCH):
            bare.send("t", VALUE, b"k")

    def send_minimum() -> None:
        for _ in range(BATCH):
            span = tracer.start_span("send t", kind=SpanKind.PRODUCER, attributes=ATTRIBUTES)
            headers: dict[str, str] = {}
            propagate.inject(headers, trace.set_span_in_context(span))
            bare.send("t", VALUE, b"k", [(name, value.encode()) for name, value in headers.items()])
            span.end()

    def send_traced() -> None:
        for _ in range(BATCH):
            traced.send("t", VALUE, b"k")

    return {"bare": send_bare, "minimum": send_minimum, "otelkafka": send_traced}


def consumes(action: str, meters: MeterProvider | None, *, sampled: bool) -> dict[str, Callable[[], None]]:
    """Return the faces of consuming a batch, one by one or as a whole."""
    batch, tracer, getter = records(sampled=sampled), trace.get_tracer("minimum"), CarrierGetter()
    options = ConsumerOptions(meter_provider=meters)
    traced = wrap_consumer(Consumer(batch), options)

    def walk(each: Iterable[Any]) -> None:
        for _ in each:
            pass

    def minimum(each: Iterable[Any]) -> None:
        for record in each:
            parent = propagate.extract(HeaderCarrier(record.headers), getter=getter)
            span = tracer.start_span("process t", parent, SpanKind.CONSUMER, ATTRIBUTES)
            token = context_api.attach(trace.set_span_in_context(span, parent))
            context_api.detach(token)
            span.end()

    def iterated(consumer: Any) -> Any:
        traced.__wrapped__.rest = iter(batch)
        return consumer

    def in_a_batch() -> None:
        with traced.process_batch(batch):
            pass

    if action == "iterate":
        own = lambda: walk(iterated(traced))  # noqa: E731
    elif action == "poll":
        own = lambda: [walk(each) for each in traced.poll().values()] and None  # noqa: E731
    else:
        own = in_a_batch
    return {"bare": lambda: walk(iter(batch)), "minimum": lambda: minimum(batch), "otelkafka": own}


def histograms(meters: MeterProvider, count: int) -> Callable[[], None]:
    """Return what so many histograms cost a record by themselves."""
    made = [meters.get_meter("alone").create_histogram(f"alone.{at}", "s") for at in range(count)]

    def record() -> None:
        for _ in range(BATCH):
            for histogram in made:
                histogram.record(0.01, ATTRIBUTES)

    return record


def measure(faces: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Return nanoseconds a record of each face, taken in turns: the median over the rounds."""
    taken: dict[str, list[float]] = {name: [] for name in faces}
    for face in faces.values():
        face()
    for _ in range(rounds):
        for name, face in faces.items():
            start = time.perf_counter_ns()
            face()
            taken[name].append((time.perf_counter_ns() - start) / BATCH)
    return {name: median(times) for name, times in taken.items()}


def main() -> None:
    """Time one action under one mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--metrics", action="store_true")
    parser.add_argument("--rounds", type=int, default=60)
    given = parser.parse_args()
    meters = set_up(given.mode, metrics=given.metrics)
    if given.action == "send":
        faces, alone = sends(meters), 1
    else:
        faces, alone = consumes(given.action, meters, sampled=given.mode == "always"), 2
    if meters is not None:
        faces["histograms"] = histograms(meters, alone)
    print(json.dumps(measure(faces, given.rounds)))


if __name__ == "__main__":
    main()
