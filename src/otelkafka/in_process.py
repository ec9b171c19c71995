"""What a consumer has in process, and how far it lags: read as gauges, and told when a partition goes."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from time import time_ns
from typing import Any, NamedTuple

from opentelemetry.trace import Span, SpanContext

from otelkafka import attributes, semconv
from otelkafka.attributes import Attributes
from otelkafka.client import ClientFacts
from otelkafka.destination import Destination
from otelkafka.metrics import Instruments
from otelkafka.telemetry import Telemetry
from otelkafka.totals import Reading
from otelkafka.wait import Handover, WaitHistory


class Work:
    """A record or a batch that is processed; what it has in common with others of its kind is not told anew for each.

    Attributes:
        destination: where it came from.
        partition: the one partition; None where a batch has several.
        offset: of the record; None for a batch.
        start: when its processing started, Unix time in nanoseconds.
        ended_at: when it ended.
        span: its process span.
        current: the span that is current meanwhile, where that is not its own but the one in its headers.
        count: how many records a batch has.
        partitions: all those of a batch, by topic and number.
        origins: of each of its records that has one, topic, partition, and when its pipeline began, Unix time in ms.
        reason: why it is recorded although its context was not sampled, if that is so.
        parent: of its span, where that is known.
        beginning: what is told of it, where anything is; None when it has ended.
        gone: the events that told its span that its partition is not the consumer's any more, and when they did.
    """

    destination: Destination
    partition: int | None
    offset: int | None
    start: int
    ended_at: int
    span: Span
    current: Span | None = None
    count: int | None = None
    partitions: AbstractSet[tuple[str, int]] | None = None
    origins: Sequence[tuple[Destination, int | None, int]] = ()
    reason: str | None = None
    parent: SpanContext | None = None
    beginning: "Beginning | None" = None
    gone: Sequence[tuple[str, int]] = ()

    def is_of(self, partitions: AbstractSet[tuple[str, int]]) -> bool:
        """Tell whether any of it came from one of these partitions."""
        if self.partitions is not None:
            return bool(self.partitions & partitions)
        return (self.destination.topic, self.partition) in partitions

    def tell(self) -> Attributes:
        """Return what its successor is told of it, when it has ended."""
        told: Attributes = {
            **self.destination.attributes,
            **attributes.of_partition(self.partition),
            **attributes.of_offset(self.offset),
            semconv.PROCESS_DURATION: attributes.seconds(max(0, self.ended_at - self.start)),
        }
        return told if self.count is None else {**told, semconv.MESSAGING_BATCH_MESSAGE_COUNT: self.count}


class Beginning(NamedTuple):
    """What is known when processing begins, and may be so no more when it has failed.

    Attributes:
        records: the record, or those of a batch that are traced.
        handovers: when each came out of its client.
        attended: since when there was somebody to fetch each; None where that is not known.
        before: what was processed last.
        around: the span around.
    """

    records: Sequence[Any]
    handovers: Sequence[Handover]
    attended: Sequence[int | None]
    before: Work | None
    around: SpanContext


class InProcess:
    """What one consumer has in process.

    Args:
        telemetry: of the consumer.
        facts: of the consumer.
        history: where its time went; None where that is not known.

    Attributes:
        works: what it has in process, where anybody asks for it.
    """

    def __init__(self, telemetry: Telemetry, facts: ClientFacts, history: WaitHistory | None) -> None:
        self._telemetry = telemetry
        self._facts = facts
        self._history = history
        self.works: dict[Work, None] = {}
        telemetry.when_heard(self._watch)

    def _watch(self, instruments: Instruments) -> None:
        instruments.watch(self)
        if self._history is not None:
            told = {semconv.MESSAGING_SYSTEM: semconv.SYSTEM_KAFKA, **attributes.of_group(self._facts)}
            instruments.follow(self._history, self._history.spent, told)

    def begin(self, work: Work) -> None:
        """Note what is processed."""
        self.works[work] = None

    def end(self, work: Work) -> None:
        """Forget what is processed no more."""
        self.works.pop(work, None)

    def tell_gone(self, partitions: AbstractSet[tuple[str, int]], kind: str) -> None:
        """Tell the spans of what is in process that their partition is not the consumer's any more.

        Args:
            partitions: those that have gone.
            kind: `revoke` or `lose`.
        """
        for work in list(self.works):
            if work.is_of(partitions):
                event, now = semconv.EVENT_GONE[kind], self._telemetry.now()
                work.gone = [*work.gone, (event, now)]
                work.span.add_event(event, timestamp=now)

    def read(self, metric: str) -> Iterable[Reading]:
        """Return the consumer's lag by partition, or how long each record in process has been so."""
        if metric == semconv.METRIC_CONSUMER_LAG and self._history is not None:
            for (topic, partition), lag in list(self._history.lags.items()):
                yield self._place(self._telemetry.destinations[topic], partition), lag
        if metric == semconv.METRIC_PROCESS_AGE:
            now = time_ns()
            for work in list(self.works):
                yield self._place(work.destination, work.partition), attributes.seconds(max(0, now - work.start))

    def _place(self, destination: Destination, partition: int | None) -> Attributes:
        return {
            semconv.MESSAGING_SYSTEM: semconv.SYSTEM_KAFKA,
            **destination.metric_attributes,
            **attributes.of_partition(partition),
            **attributes.of_group(self._facts),
        }
