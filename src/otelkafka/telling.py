"""What a process span tells of its record, or of its batch: key, offset, lag, wait, and what kept the consumer busy."""

from collections.abc import Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext

from otelkafka import attributes, client, semconv
from otelkafka.attributes import Attributes
from otelkafka.in_process import Beginning, Work
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

    def begin(
        self,
        start: int,
        records: Sequence[Any],
        ambient: Context,
        handover: Handover | None = None,
        consumer: Any = None,
    ) -> Beginning:
        """Return what is to be told of a record or a batch, or may be if it fails.

        Args:
            start: of its processing, Unix time in nanoseconds.
            records: the record, or those of a batch that are traced.
            ambient: the context around.
            handover: when the record came out of its client; None to look that up.
            consumer: the one that has handed it over this moment, if it has.
        """
        if consumer is not None:
            handover = Handover(start, client.highwater(consumer, records[0].topic, records[0].partition))
        history = self._history
        around = trace.get_current_span(ambient).get_span_context()
        return Beginning(
            records,
            [handover or self._handover_of(record, start) for record in records],
            [None if history is None else history.attended_since(each.topic, each.partition) for each in records],
            self.predecessor,
            around,
        )

    def tell(self, work: Work, beginning: Beginning, links: int) -> None:
        """Tell of a record.

        Args:
            work: has the span.
            beginning: what is known of the record.
            links: how many the span would have, of which it may have too many.
        """
        (record,), (wait,) = beginning.records, self._waits(work, beginning)
        told = self._position(beginning, 0) | attributes.of_offset(record.offset)
        if attributes.is_tombstone(record):
            told[semconv.MESSAGING_KAFKA_MESSAGE_TOMBSTONE] = True
        if self._options.capture_headers:
            told.update(self._telemetry.header_attributes(record.headers))
        if wait is not None:
            wait.tell(told)
        work.span.set_attributes(told)
        if links < self._options.max_links:
            link_predecessor(work.span, beginning.before, wait)
        tell_dropped(self._telemetry, work.span, max(0, links - self._options.max_links))

    def tell_batch(self, work: Work, beginning: Beginning, links: int, created: Sequence[SpanContext]) -> None:
        """Tell of a batch, with a link to each creation context but the parent's, whose record the span itself tells.

        Args:
            work: has the span.
            beginning: what is known of its records.
            links: how many the span has already.
            created: the creation contexts of its records.
        """
        waits = self._waits(work, beginning)

        def tell(index: int) -> Attributes:
            told = {**attributes.of_position(beginning.records[index]), **self._position(beginning, index)}
            wait = waits[index]
            return told if wait is None else wait.tell(told)

        others = list(created)
        if work.parent in others:
            own = others.index(work.parent)
            others[own] = INVALID_SPAN_CONTEXT
            work.span.set_attributes(tell(own))
        longest: Wait | None = max(filter(None, waits), key=lambda wait: wait.queue, default=None)
        if longest is not None:
            work.span.set_attributes(longest.tell({}))
        room = self._options.max_links - links
        if room > 0 and link_predecessor(work.span, beginning.before, longest):
            room -= 1
        add_creation_links(self._telemetry, work.span, others, room, tell)

    def _waits(self, work: Work, beginning: Beginning) -> list[Wait | None]:
        history, known = self._history, zip(beginning.records, beginning.handovers, beginning.attended, strict=True)
        return [wait_of(record, work.start, handover.time, history, since) for record, handover, since in known]

    def _position(self, beginning: Beginning, index: int) -> Attributes:
        """Return the key of a record, and what lay behind it when it was handed over."""
        record, handover = beginning.records[index], beginning.handovers[index]
        behind = attributes.of_lag(attributes.lag(record.offset, handover.highwater))
        return {**self._telemetry.key_attributes(record.key), **behind}

    def _handover_of(self, record: Any, start: int) -> Handover:
        noted = None if self._history is None else self._history.handover_of(record)
        return noted or Handover(start, None)
