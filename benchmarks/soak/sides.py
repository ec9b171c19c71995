"""One face of the clients of a library, and what becomes of what it sends and consumes while a scenario goes on."""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from benchmarks.soak.libraries.library import Consumer, Face, Library, Place, Producer, Sent
from benchmarks.soak.watch import Watch
from otelkafka.testing import MetricRecorder
from testbroker import Broker
from testbroker.wait import PATIENCE

FACES = ("bare", "wrapped", "instrumented")
ACKNOWLEDGED, UNRESOLVED = "acknowledged", "NotAcknowledgedError"


class Side:
    """The clients of one face, on a topic of their own, and what came of their calls.

    Args:
        face: "bare", "wrapped" or "instrumented".
        library: the library of the clients.
        broker: that all sides share.
        partitions: the partitions of the topic.
        config: the configuration of the topic.

    Attributes:
        outcomes: the outcomes of each send, in their order: "acknowledged", or the type of its error.
        places: partition and offset of those that were acknowledged.
        got: partition and offset of the records that were handed over, in their order.
        numbers: the numbers of these records.
        voided: the numbers of records that were acknowledged inside of a transaction that came to nothing.
        raised: the other calls that were tried: the name of each, and the type of its error, or None.
        producer: the one that `send()` uses.
        consumer: the one that is read.
    """

    producer: Producer
    consumer: Consumer

    def __init__(self, face: str, library: Library, broker: Broker, partitions: int, config: Mapping[str, str]) -> None:
        self.face = face
        self.library = library
        self.partitions = partitions
        self.broker = broker
        self.topic = f"{face}-{uuid.uuid4().hex}"
        broker.create_topic(self.topic, partitions, config)
        self.watch, self.metrics, self._exporter = Watch(), MetricRecorder(), InMemorySpanExporter()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(self.watch)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        providers = {"tracer_provider": self.tracer_provider, "meter_provider": self.metrics.meter_provider}
        self._face = Face(face, providers)
        self.outcomes: list[str] = []
        self.places: list[Place] = []
        self.got: list[Place] = []
        self.numbers: list[int] = []
        self.voided: set[int] = set()
        self.raised: list[tuple[str, str | None]] = []
        self.sent = 0
        self._sent: list[Sent | Exception] = []
        self._producers: list[Producer] = []
        self._consumers: list[Consumer] = []
        self._pool = ThreadPoolExecutor(1)

    @property
    def is_traced(self) -> bool:
        """Whether there is telemetry on this side."""
        return self._face.is_traced

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended."""
        return list(self._exporter.get_finished_spans())

    @property
    def calls(self) -> int:
        """How many sends reached the bare clients."""
        return sum(producer.calls for producer in self._producers)

    def open_producer(self, **config: Any) -> Producer:
        """Make a producer, the one that `send()` uses from now on."""
        self.producer = self.library.producer(self._face, {**self.broker.client_options, **config})
        self._producers.append(self.producer)
        return self.producer

    def open_consumer(self, *topics: str, **config: Any) -> Consumer:
        """Make a consumer; without topics it is assigned the first partition."""
        settings = {"auto_offset_reset": "earliest", "metadata_max_age_ms": 1000, **self.broker.client_options}
        assigned = None if topics else self.topic
        self.consumer = self.library.consumer(self._face, {**settings, **config}, *topics, assigned=assigned)
        self._consumers.append(self.consumer)
        return self.consumer

    def send(self, count: int, *, pace: float = 0.0, size: int = 100) -> None:
        """Send so many records, numbered on, and keep what becomes of them.

        Args:
            count: how many.
            pace: seconds between two.
            size: the size of each value in bytes.
        """
        for _ in range(count):
            value = b"%08d" % self.sent
            self.sent += 1
            try:
                self._sent.append(self.producer.send(self.topic, value.ljust(size, b".")))
            except Exception as error:  # noqa: BLE001 (it is what is compared)
                self._sent.append(error)
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

    def give_up(self, seconds: float) -> None:
        """Wait for each of the records sent so far, and go on without."""
        for sent in self._sent:
            if not isinstance(sent, Exception):
                with suppress(Exception):  # each library has another
                    sent.give_up(seconds)

    def note_outcomes(self, timeout: Callable[[], float] = lambda: 0.0) -> None:
        """Note what has become of the records sent so far.

        Args:
            timeout: returns for how long the next one is waited for, in seconds.
        """
        sent, self._sent = self._sent, []
        self.outcomes += [self._outcome(each, max(0.0, timeout())) for each in sent]

    def meanwhile(self, do: Callable[[], Any]) -> Future[Any]:
        """Do it in a thread, and return what waits for its end."""
        return self._pool.submit(do)

    def attempt(self, name: str, call: Callable[[], Any]) -> None:
        """Call, and note which error that raises, if any.

        Args:
            name: the name of the call.
            call: does it.
        """
        error = None
        try:
            call()
        except Exception as raised:  # noqa: BLE001 (it is what is compared)
            error = self.library.error_type(raised)
        self.raised.append((name, error))

    def note(self, partition: int, offset: int, value: bytes) -> None:
        """Note a record that was handed over."""
        self.got.append(Place(partition, offset))
        self.numbers.append(number_of(value))

    def iterate(self, count: int) -> None:
        """Iterate until so many records have come, through every error of Kafka's."""

        def is_enough() -> bool:
            return len(self.got) >= count

        self._go_on_until(
            is_enough, lambda: self.consumer.iterate(self.note, is_enough), f"{count} records by iteration"
        )

    def take(self, count: int) -> None:
        """Ask for the next record until so many have come, through every `StopIteration`."""
        self._go_on_until(
            lambda: len(self.got) >= count, lambda: self.consumer.next(self.note), f"{count} records by next()"
        )

    def poll(self, count: int) -> None:
        """Poll until so many records have come, through every error of Kafka's."""
        self._go_on_until(
            lambda: len(self.got) >= count, lambda: self.consumer.poll(self.note), f"{count} records by poll()"
        )

    def poll_to_the_end(self) -> None:
        """Poll until the last record of each partition that the consumer is assigned has come."""
        self._go_on_until(
            self.consumer.is_at_the_end,
            lambda: self.consumer.poll(self.note),
            "the last records of the partitions by poll()",
        )

    def close(self) -> None:
        """Close all clients."""
        self._pool.shutdown()
        for consumer in reversed(self._consumers):
            with suppress(self.library.errors, RuntimeError):  # confluent-kafka's are closed only once
                consumer.close()
        for producer in reversed(self._producers):
            producer.end()
        self.watch.detach()

    def _go_on_until(self, done: Callable[[], bool], go_on: Callable[[], None], what: str) -> None:
        until = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > until:
                raise self._late(what, f"{len(self.got)} records")
            with suppress(self.library.errors):
                go_on()

    def _late(self, what: str, seen: object) -> TimeoutError:
        return TimeoutError(f"{self.face}: waited {PATIENCE:.0f} s for {what} of {self.topic}; seen: {seen}")

    def _outcome(self, sent: Sent | Exception, timeout: float) -> str:
        if isinstance(sent, Exception):
            return self.library.error_type(sent)
        try:
            place = sent.get(timeout=timeout)
        except Exception as error:  # noqa: BLE001 (it is what is compared)
            return self.library.error_type(error) if sent.is_done else UNRESOLVED
        self.places.append(place)
        return ACKNOWLEDGED


def number_of(value: bytes) -> int:
    """Return the number of a record, by which it is known on all sides."""
    return int(value[:8])


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
            found.update(number_of(record.value) for record in records)
    consumer.close()
    return found
