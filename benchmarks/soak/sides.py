"""One face of the clients, and what becomes of what it sends and consumes while a scenario goes on."""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import BrokerResponseError, KafkaError
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from benchmarks.faces import client_of
from benchmarks.soak.watch import Watch
from otelkafka.testing import MetricRecorder
from testbroker import Broker
from testbroker.wait import PATIENCE

FACES = ("bare", "wrapped", "instrumented")
ACKNOWLEDGED, UNRESOLVED = "acknowledged", "NotAcknowledgedError"
RECONNECTING = {"reconnect_backoff_ms": 50, "reconnect_backoff_max_ms": 200, "retry_backoff_ms": 50}


class CountingProducer(KafkaProducer):  # type: ignore[misc] # kafka-python has no types
    """Counts the calls that reach the client."""

    calls = 0

    def send(self, *args: Any, **kwargs: Any) -> Any:
        """Count the call, and send."""
        self.calls += 1
        return super().send(*args, **kwargs)


class Side:
    """The clients of one face, on a topic of their own, and what came of their calls.

    Args:
        face: "bare", "wrapped" or "instrumented".
        broker: that all sides share.
        partitions: of the topic.
        config: of the topic.

    Attributes:
        outcomes: of each send, in their order: "acknowledged", or the type of its error.
        places: partition and offset of those that were acknowledged.
        got: partition and offset of the records that were handed over, in their order.
        numbers: of these records.
        voided: the numbers of records that were acknowledged inside of a transaction that came to nothing.
        raised: of the other calls that were tried, the name and the type of their error, or None.
    """

    def __init__(self, face: str, broker: Broker, partitions: int, config: Mapping[str, str]) -> None:
        self.face = face
        self.partitions = partitions
        self.broker = broker
        self.topic = f"{face}-{uuid.uuid4().hex}"
        broker.create_topic(self.topic, partitions, config)
        self.watch, self.metrics, self._exporter = Watch(), MetricRecorder(), InMemorySpanExporter()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(self.watch)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.outcomes: list[str] = []
        self.places: list[tuple[int, int]] = []
        self.got: list[tuple[int, int]] = []
        self.numbers: list[int] = []
        self.voided: set[int] = set()
        self.raised: list[tuple[str, str | None]] = []
        self.sent = 0
        self._futures: list[Any] = []
        self._made: list[Any] = []
        self._pool = ThreadPoolExecutor(1)
        self.producer: Any = None
        self.consumer: Any = None

    @property
    def is_traced(self) -> bool:
        """Whether there is telemetry on this side."""
        return self.face != "bare"

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended."""
        return list(self._exporter.get_finished_spans())

    @property
    def calls(self) -> int:
        """How many sends reached the bare clients."""
        return sum(client.calls for client in self._made if isinstance(client, CountingProducer))

    def open_producer(self, **config: Any) -> Any:
        """Make a producer, the one that `send()` uses from now on."""
        self.producer = self._open(CountingProducer, (), config)
        return self.producer

    def open_consumer(self, *topics: str, **config: Any) -> Any:
        """Make a consumer; without topics it is assigned the first partition."""
        settings = {"auto_offset_reset": "earliest", "metadata_max_age_ms": 1000, **config}
        self.consumer = self._open(KafkaConsumer, topics, settings)
        if not topics:
            self.consumer.assign([TopicPartition(self.topic, 0)])
        return self.consumer

    def send(self, count: int, *, pace: float = 0.0, size: int = 100) -> None:
        """Send so many records, numbered on, and keep what becomes of them.

        Args:
            count: how many.
            pace: seconds between two.
            size: of each value in bytes.
        """
        for _ in range(count):
            value = b"%08d" % self.sent
            self.sent += 1
            try:
                self._futures.append(self.producer.send(self.topic, value.ljust(size, b".")))
            except Exception as error:  # noqa: BLE001 (it is what is compared)
                self._futures.append(error)
            time.sleep(pace)

    def settle(self) -> None:
        """Wait for what becomes of the records sent so far.

        Raises:
            TimeoutError: nothing becomes of one of them.
        """
        before, until = len(self.outcomes), time.monotonic() + PATIENCE
        self.note_outcomes(lambda: until - time.monotonic())
        came = self.outcomes[before:]
        if UNRESOLVED in came:
            what = f"what becomes of {len(came)} sends"
            raise self._late(what, dict(Counter(came)))

    def note_outcomes(self, timeout: Callable[[], float] = lambda: 0.0) -> None:
        """Note what has become of the records sent so far.

        Args:
            timeout: returns for how long the next one is waited for, in seconds.
        """
        futures, self._futures = self._futures, []
        self.outcomes += [self._outcome(future, max(0.0, timeout())) for future in futures]

    def meanwhile(self, do: Callable[[], Any]) -> Future[Any]:
        """Do it in a thread, and return what waits for its end."""
        return self._pool.submit(do)

    def attempt(self, name: str, call: Callable[[], Any], alike: Sequence[str] = ()) -> None:
        """Call, and note which error that raises, if any.

        Args:
            name: of the call.
            call: does it.
            alike: errors that are told as one, where the client raises one or the other, as it happens.
        """
        error = None
        try:
            call()
        except Exception as raised:  # noqa: BLE001 (it is what is compared)
            error = type(raised).__name__
        self.raised.append((name, " or ".join(alike) if error in alike else error))

    def note(self, record: Any) -> None:
        """Note a record that was handed over."""
        self.got.append((record.partition, record.offset))
        self.numbers.append(number_of(record))

    def iterate(self, count: int) -> None:
        """Iterate until so many records have come, through every error of Kafka's."""

        def iterate() -> None:
            for record in self.consumer:
                self.note(record)
                if len(self.got) == count:
                    return

        self._go_on_until(lambda: len(self.got) >= count, iterate, f"{count} records by iteration")

    def take(self, count: int) -> None:
        """Ask for the next record until so many have come, through every `StopIteration`."""

        def take() -> None:
            with suppress(StopIteration):
                self.note(next(self.consumer))

        self._go_on_until(lambda: len(self.got) >= count, take, f"{count} records by next()")

    def poll(self, count: int) -> None:
        """Poll until so many records have come, through every error of Kafka's."""
        self._go_on_until(lambda: len(self.got) >= count, self._poll, f"{count} records by poll()")

    def poll_to_the_end(self) -> None:
        """Poll until the last record of each partition that the consumer is assigned has come."""

        def is_at_the_end() -> bool:
            ends = self.consumer.end_offsets(list(self.consumer.assignment()))
            return bool(ends) and all(self.consumer.position(each) >= end for each, end in ends.items())

        self._go_on_until(is_at_the_end, self._poll, "the last records of the partitions by poll()")

    def walk(self, polled: Mapping[Any, Iterable[Any]]) -> None:
        """Note the records that `poll()` has returned."""
        for records in polled.values():
            for record in records:
                self.note(record)

    def close(self) -> None:
        """Close all clients."""
        self._pool.shutdown()
        for client in reversed(self._made):
            with suppress(KafkaError):
                if isinstance(client, CountingProducer):
                    client.close(timeout=5)
                else:
                    client.close()
        self.watch.detach()

    def _poll(self) -> None:
        self.walk(self.consumer.poll(timeout_ms=200))

    def _go_on_until(self, done: Callable[[], bool], go_on: Callable[[], None], what: str) -> None:
        until = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > until:
                raise self._late(what, f"{len(self.got)} records")
            with suppress(KafkaError):
                go_on()

    def _late(self, what: str, seen: object) -> TimeoutError:
        return TimeoutError(f"{self.face}: waited {PATIENCE:.0f} s for {what} of {self.topic}; seen: {seen}")

    def _open(self, client: type, arguments: tuple[Any, ...], config: dict[str, Any]) -> Any:
        options = {"tracer_provider": self.tracer_provider, "meter_provider": self.metrics.meter_provider}
        config = {**self.broker.client_options, **RECONNECTING, **config}
        self._made.append(client_of(self.face, client, arguments, config, options if self.is_traced else {}))
        return self._made[-1]

    def _outcome(self, future: Any, timeout: float) -> str:
        if isinstance(future, Exception):
            return error_type(future)
        try:
            metadata = future.get(timeout=timeout)
        except Exception as error:  # noqa: BLE001 (it is what is compared)
            return error_type(error) if future.is_done else UNRESOLVED
        self.places.append((metadata.partition, metadata.offset))
        return ACKNOWLEDGED


def error_type(error: BaseException) -> str:
    """Return what a span says of an error: Kafka's own name of what the broker answered, else the class."""
    name = getattr(error, "message", None) if isinstance(error, BrokerResponseError) else None
    return name if isinstance(name, str) else type(error).__name__


def number_of(record: Any) -> int:
    """Return the number of a record, by which it is known on all sides."""
    return int(record.value[:8])


def numbers_in(side: Side, **config: Any) -> Counter[int]:
    """Return how often each number is in the topic, read by a bare consumer."""
    consumer = KafkaConsumer(
        **side.broker.client_options, auto_offset_reset="earliest", consumer_timeout_ms=10_000, **config
    )
    partitions = [TopicPartition(side.topic, at) for at in sorted(consumer.partitions_for_topic(side.topic) or ())]
    consumer.assign(partitions)
    ends = consumer.end_offsets(partitions)
    found: Counter[int] = Counter()
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        for records in consumer.poll(timeout_ms=1000).values():
            found.update(map(number_of, records))
    consumer.close()
    return found
