"""What a consumer has in process, and how far it lags: read as gauges, and told when a partition goes."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from time import time_ns

from opentelemetry.trace import Span

from otelkafka import attributes, semconv
from otelkafka.attributes import Attributes
from otelkafka.client import ClientFacts
from otelkafka.metrics import Instruments, Reading
from otelkafka.telemetry import Destination, Telemetry
from otelkafka.wait import WaitHistory


@dataclass(slots=True, eq=False)
class Work:
    """A record or a batch that is processed.

    Args:
        destination: where it came from.
        partition: the one partition; None where a batch has several.
        partitions: all of them.
        start: when its processing started, Unix time in nanoseconds.
        offset: of the record; None for a batch.
        count: how many records a batch has; None for a record.
        span: its process span.
    """

    destination: Destination
    partition: int | None
    partitions: AbstractSet[tuple[str, int]]
    start: int
    offset: int | None
    count: int | None
    span: Span

    def tell(self, duration: float) -> Attributes:
        """Return what its successor is told of it, which took so many seconds."""
        told: Attributes = {
            **self.destination.attributes,
            **attributes.of_partition(self.partition),
            **attributes.of_offset(self.offset),
            semconv.PROCESS_DURATION: duration,
        }
        return told if self.count is None else {**told, semconv.MESSAGING_BATCH_MESSAGE_COUNT: self.count}


class InProcess:
    """What one consumer has in process.

    Args:
        telemetry: of the consumer.
        facts: of the consumer.
        history: where its time went; None where that is not known.
    """

    def __init__(self, telemetry: Telemetry, facts: ClientFacts, history: WaitHistory | None) -> None:
        self._telemetry = telemetry
        self._facts = facts
        self._history = history
        self._works: dict[Work, None] = {}
        self._is_watched = False

    @property
    def instruments(self) -> Instruments | None:
        """The instruments, which ask for this consumer's gauges from now on; None as long as nobody listens."""
        instruments = self._telemetry.instruments
        if instruments is not None and not self._is_watched:
            self._is_watched = True
            self._telemetry.guard.call("get_meter", None, self._watch, instruments)
        return instruments

    def _watch(self, instruments: Instruments) -> None:
        instruments.watch(self)
        if self._history is not None:
            told = {semconv.MESSAGING_SYSTEM: semconv.SYSTEM_KAFKA, **attributes.of_group(self._facts)}
            instruments.follow(self._history, self._history.spent, told)

    def begin(self, work: Work) -> None:
        """Note what is processed, where somebody will ask for it."""
        if work.span.is_recording() or self.instruments is not None:
            self._works[work] = None

    def end(self, work: Work) -> None:
        """Forget what is processed no more."""
        self._works.pop(work, None)

    def tell_gone(self, partitions: AbstractSet[tuple[str, int]], kind: str) -> None:
        """Tell the spans of what is in process that their partition is not the consumer's any more.

        Args:
            partitions: those that have gone.
            kind: `revoke` or `lose`.
        """
        for work in list(self._works):
            if work.partitions & partitions:
                work.span.add_event(semconv.EVENT_GONE[kind])

    def read(self, metric: str) -> Iterable[Reading]:
        """Return the consumer's lag by partition, or how long each record in process has been so."""
        if metric == semconv.METRIC_CONSUMER_LAG and self._history is not None:
            for (topic, partition), lag in list(self._history.lags.items()):
                yield self._place(self._telemetry.destination(topic), partition), lag
        if metric == semconv.METRIC_PROCESS_AGE:
            now = time_ns()
            for work in list(self._works):
                yield self._place(work.destination, work.partition), attributes.seconds(max(0, now - work.start))

    def _place(self, destination: Destination, partition: int | None) -> Attributes:
        return {
            semconv.MESSAGING_SYSTEM: semconv.SYSTEM_KAFKA,
            **destination.metric_attributes,
            **attributes.of_partition(partition),
            **attributes.of_group(self._facts),
        }
