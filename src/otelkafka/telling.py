"""What a process span tells of its record, or of its batch: key, offset, lag, wait, and what kept the consumer busy."""

from collections.abc import Sequence
from typing import Any

from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext

from otelkafka import attributes, client, semconv
from otelkafka.attributes import Attributes
from otelkafka.in_process import Work
from otelkafka.links import add_creation_links, link_predecessor, tell_dropped
from otelkafka.options import ConsumerOptions
from otelkafka.telemetry import Telemetry
from otelkafka.wait import Handover, Wait, WaitHistory, wait_of


class Telling:
    """Sets what the process spans of one consumer tell.

    Args:
        telemetry: of the consumer.
        options: of the consumer.
        history: where its time went; None where that is not known.

    Attributes:
        predecessor: what it processed last.
    """

    def __init__(self, telemetry: Telemetry, options: ConsumerOptions, history: WaitHistory | None) -> None:
        self._telemetry = telemetry
        self._options = options
        self._history = history
        self.predecessor: Work | None = None

    def tell(self, work: Work, record: Any, handover: Handover | None, consumer: Any, links: int) -> None:
        """Tell of a record.

        Args:
            work: has the span.
            record: the record.
            handover: when it came out of its client; None to look that up.
            consumer: the one that has handed it over this moment, if it has.
            links: how many the span would have, of which it may have too many.
        """
        predecessor = self._predecessor_of(work)
        if consumer is not None:
            handover = Handover(work.start, client.highwater(consumer, record.topic, record.partition))
        handover = handover or self._handover_of(record, work.start)
        wait = wait_of(record, work.start, handover.time, self._history)
        told = {**attributes.of_offset(record.offset), **self._telemetry.key_attributes(record.key)}
        if attributes.is_tombstone(record):
            told[semconv.MESSAGING_KAFKA_MESSAGE_TOMBSTONE] = True
        if self._options.capture_headers:
            told.update(self._telemetry.header_attributes(record.headers))
        if handover.highwater is not None:
            told.update(attributes.of_lag(attributes.lag(record.offset, handover.highwater)))
        if wait is not None:
            wait.tell(told)
        work.span.set_attributes(told)
        if links < self._options.max_links:
            link_predecessor(work.span, predecessor, wait)
        tell_dropped(self._telemetry, work.span, max(0, links - self._options.max_links))

    def tell_batch(self, work: Work, records: Sequence[Any], created: Sequence[SpanContext], links: int) -> None:
        """Tell of a batch, with a link to each creation context but the parent's, whose record the span itself tells.

        Args:
            work: has the span.
            records: the batch.
            created: their creation contexts.
            links: how many the span has already.
        """
        handovers = [self._handover_of(record, work.start) for record in records]
        waits = [
            wait_of(record, work.start, handover.time, self._history)
            for record, handover in zip(records, handovers, strict=True)
        ]

        def tell(index: int) -> Attributes:
            record, wait = records[index], waits[index]
            told = {
                **attributes.of_position(record),
                **self._telemetry.key_attributes(record.key),
                **attributes.of_lag(attributes.lag(record.offset, handovers[index].highwater)),
            }
            return told if wait is None else wait.tell(told)

        if work.parent in created:
            work.span.set_attributes(tell(created.index(work.parent)))
        longest: Wait | None = max(filter(None, waits), key=lambda wait: wait.queue, default=None)
        if longest is not None:
            work.span.set_attributes(longest.tell({}))
        room = self._options.max_links - links
        if room > 0 and link_predecessor(work.span, self._predecessor_of(work), longest):
            room -= 1
        others = [INVALID_SPAN_CONTEXT if context == work.parent else context for context in created]
        add_creation_links(self._telemetry, work.span, others, room, tell)

    def _predecessor_of(self, work: Work) -> Work | None:
        """Return what came before it: after a failure that is not what has ended last."""
        return self.predecessor if work.reason != semconv.REASON_ERROR else work.before

    def _handover_of(self, record: Any, start: int) -> Handover:
        """Return when a record came out of its client; of one that is iterated no more is noted than the lag."""
        history = self._history
        if history is None:
            return Handover(start, None)
        lag = history.lags.get((record.topic, record.partition))
        return history.handover_of(record) or Handover(start, None if lag is None else record.offset + lag + 1)
