"""The process span of a record or of a batch: its parent, its links, its attributes, and whether it is recorded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, INVALID_SPAN_CONTEXT, Link, NonRecordingSpan, Span, SpanContext, Tracer

from otelkafka._consuming.open_span import Beginning, OpenSpan
from otelkafka._consuming.wait import Handover, Wait, WaitHistory, queue_of, wait_of
from otelkafka._context.current import UNPARSED
from otelkafka._context.propagation import Contexts
from otelkafka._telemetry import attributes, semconv
from otelkafka._telemetry.attributes import Attributes
from otelkafka._telemetry.clock import MILLISECOND, NANOSECONDS
from otelkafka._telemetry.destination import Destination
from otelkafka._telemetry.links import link_to, note_dropped, set_records
from otelkafka._telemetry.operation import Operation
from otelkafka._telemetry.sampling import Sampling, is_unsampled, sampled, why_failed
from otelkafka.options import ConsumerOptions

PREDECESSOR_AFTER = MILLISECOND
"""A span is linked to its predecessor where the consumer was busy for longer before it."""


@dataclass(slots=True)
class Started:
    """A process span that has started.

    Args:
        span: the span.
        links: how many links it wants: `max_links` may have left out some.
        parent: its parent, where that is known.
    """

    span: Span
    links: int
    parent: SpanContext | None = None


class ProcessSpans:
    """The process spans of one consumer.

    Args:
        contexts: of the consumer.
        options: of the consumer.
        operation: starts spans of its kind.
        history: of the consumer's time; None where it is not known.

    Attributes:
        samples_waits: whether what waited too long is recorded although it was not sampled.
    """

    def __init__(
        self, contexts: Contexts, options: ConsumerOptions, operation: Operation, history: WaitHistory | None
    ) -> None:
        self.samples_waits = options.sample_waits_over is not None
        self._longest_wait = (options.sample_waits_over or 0) * NANOSECONDS
        self._contexts = contexts
        self._telemetry = contexts.telemetry
        self._client = contexts.telemetry.client
        self._options = options
        self._operation = operation
        self._history = history
        self._sampling = Sampling(contexts.telemetry)
        self._is_child = options.relation != "link"
        self._is_linked = options.relation != "parent"

    def reason_for(self, record: Any, start: int, span: Any) -> str | None:
        """Return why a record that the fast path has a span for is recorded all the same: it waited too long.

        One that starts a trace is not.

        Args:
            record: the record.
            start: of its processing, Unix time in nanoseconds.
            span: of the fast path.
        """
        continues = self.samples_waits and type(span) in UNPARSED and type(span.trace_id) is bytes
        return self._acquire_for_wait() if continues and self._is_late(record, start) else None

    def start(
        self,
        record: Any,
        destination: Destination,
        start: int,
        ambient: Context,
        created: SpanContext,
        context: Context,
        *,
        reason: str | None = None,
        tracer: Tracer | None = None,
    ) -> Started | None:
        """Start the span of a record; None where the provider failed.

        Args:
            record: the record.
            destination: its topic.
            start: of its processing, Unix time in nanoseconds.
            ambient: the context around.
            created: the record's creation context.
            context: both of them merged.
            reason: why it is recorded although its context was not sampled, where that was decided before.
            tracer: starts it; None for the one of the options.
        """
        around = trace.get_current_span(ambient) if ambient else INVALID_SPAN
        linked = link_to(created, semconv.LINK_CREATION) if self._is_linked else []
        if self.samples_waits and reason is None and is_unsampled(created) and self._is_late(record, start):
            reason = self._acquire_for_wait()
        if reason is not None:
            links = link_to(around.get_span_context(), semconv.LINK_AMBIENT)
            if self._is_child:
                links = [*linked, *links]
            why: Attributes = {semconv.SAMPLED_REASON: reason}
            found = self._start_against(destination, record.partition, start, created, context, links, why, 1)
            if found is not None:
                return found
        if created.is_valid and self._is_child:
            parent, links = context, link_to(around.get_span_context(), semconv.LINK_AMBIENT) if ambient else []
            if linked:
                links = [*linked, *links]
        else:
            parent, links = trace.set_span_in_context(around, context), linked
        span = self._start(destination, record.partition, start, parent, links, None, tracer)
        return None if span is None else Started(span, len(links), trace.get_current_span(parent).get_span_context())

    def start_batch(
        self, records: Sequence[Any], destination: Destination, partition: int | None, start: int, ambient: Context
    ) -> Started | None:
        """Start the span of a batch; None where the provider failed.

        Args:
            records: the batch.
            destination: their topic, or several.
            partition: the one partition; None for several.
            start: of its processing, Unix time in nanoseconds.
            ambient: the context around.
        """
        count: Attributes = {semconv.MESSAGING_BATCH_MESSAGE_COUNT: len(records)}
        around = trace.get_current_span(ambient)
        if self.samples_waits and not around.get_span_context().trace_flags.sampled:
            late = self._first_late(records, start)
            if late is not None and (reason := self._acquire_for_wait()) is not None:
                links = link_to(around.get_span_context(), semconv.LINK_AMBIENT)
                why = {**count, semconv.SAMPLED_REASON: reason}
                found = self._start_against(destination, partition, start, late, ambient, links, why, len(records))
                if found is not None:
                    return found
        span = self._start(destination, partition, start, ambient, (), count)
        return None if span is None else Started(span, 0)

    def acquire_for_failure(self, span: Span) -> bool:
        """Return whether a failure gets a span of its own, as its span is not sampled; if so, it is counted."""
        return self._sampling.acquire_for_failure(span)

    def start_after_failure(
        self, failed: OpenSpan, around: SpanContext, created: Sequence[SpanContext], context: Context
    ) -> Started | None:
        """Start a span for what has failed and was not sampled; None where there is none.

        It continues what the first span did; if that is not known, then the first span itself. That of a batch is of
        the trace of its first record that is not sampled.

        Args:
            failed: what has failed.
            around: the span around it.
            created: the creation contexts of its records.
            context: that of the record.
        """
        own, known = failed.span.get_span_context(), why_failed(failed.span)
        links = link_to(around, semconv.LINK_AMBIENT)
        if failed.batch is not None:
            parent, context = next(filter(is_unsampled, created), own), Context()
            known[semconv.MESSAGING_BATCH_MESSAGE_COUNT] = len(created)
        else:
            before = failed.parent or created[0]
            parent = before if before.is_valid and before.trace_id == own.trace_id else own
            if created[0].trace_id != parent.trace_id:
                links = link_to(created[0], semconv.LINK_CREATION)
            elif self._is_child and self._is_linked:
                links = [*link_to(created[0], semconv.LINK_CREATION), *links]
        count = 1 if failed.batch is None else failed.batch.count
        place = failed.destination, failed.partition, failed.start
        return self._start_against(*place, parent, context, links, known, count)

    def begin(
        self,
        start: int,
        records: Sequence[Any],
        ambient: Context,
        before: OpenSpan | None,
        handover: Handover | None = None,
        *,
        is_fresh: bool = False,
    ) -> Beginning:
        """Return what is known of a record or a batch at its beginning.

        Args:
            start: of its processing, Unix time in nanoseconds.
            records: the record, or those of a batch that are traced.
            ambient: the context around.
            before: what was processed last.
            handover: when the record came out of its client; None where it was noted then.
            is_fresh: whether it came out of its client this moment.
        """
        if is_fresh:
            handover = Handover(start, self._client.highwater(records[0].topic, records[0].partition))
        history = self._history
        handovers: list[Handover] = []
        attended: list[int | None] = []
        for record in records:
            handovers.append(handover or self._handover_of(record, start))
            attended.append(None if history is None else history.attended_since(record.topic, record.partition))
        around = trace.get_current_span(ambient).get_span_context() if ambient else INVALID_SPAN_CONTEXT
        return Beginning(records, handovers, attended, before, around)

    def set_attributes(self, span: Span, start: int, beginning: Beginning, links: int) -> None:
        """Set the attributes of a record on its recording span, and link it to its predecessor.

        Args:
            span: its span.
            start: of its processing, Unix time in nanoseconds.
            beginning: what is known of the record.
            links: how many the span wants, which may be too many.
        """
        try:
            record, most = beginning.records[0], self._options.max_links
            wait = self._wait(start, beginning, 0)
            found = self._telemetry.record_attributes(record, beginning.handovers[0].highwater)
            if self._options.capture_headers:
                found.update(self._telemetry.header_attributes(record.headers))
            if wait is not None:
                found.update(wait.attributes())
            span.set_attributes(found)
            if links < most and beginning.before is not None and _was_busy(wait):
                add_predecessor_link(span, beginning.before)
            if links > most:
                note_dropped(self._telemetry, span, links - most)
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            self._telemetry.guard.contain("process", error)

    def set_batch_attributes(
        self, span: Span, start: int, beginning: Beginning, started: Started, created: Sequence[SpanContext]
    ) -> None:
        """Set the attributes of a batch on its recording span, and link it to the creation contexts of its records.

        Args:
            span: its span.
            start: of its processing, Unix time in nanoseconds.
            beginning: what is known of its records.
            started: how its span started.
            created: the creation contexts of its records.
        """
        self._telemetry.guard.call(
            "process_batch", None, self._set_batch_attributes, span, start, beginning, started, created
        )

    def _set_batch_attributes(
        self, span: Span, start: int, beginning: Beginning, started: Started, created: Sequence[SpanContext]
    ) -> None:
        records = beginning.records
        waits = [self._wait(start, beginning, index) for index in range(len(records))]

        def attributes_of(index: int) -> Attributes:
            found = self._telemetry.record_attributes(records[index], beginning.handovers[index].highwater)
            wait = waits[index]
            return found if wait is None else {**found, **wait.attributes()}

        longest: Wait | None = max(filter(None, waits), key=lambda wait: wait.queue, default=None)
        if longest is not None:
            span.set_attributes(longest.attributes())
        room = self._options.max_links - started.links
        if room > 0 and beginning.before is not None and _was_busy(longest):
            room -= add_predecessor_link(span, beginning.before)
        set_records(self._telemetry, span, records, created, room, attributes_of)

    def _acquire_for_wait(self) -> str | None:
        return semconv.REASON_WAIT if self._sampling.acquire(semconv.REASON_WAIT) else None

    def _is_late(self, record: Any, start: int) -> bool:
        queue = queue_of(record, start)
        return queue is not None and queue > self._longest_wait

    def _first_late(self, records: Sequence[Any], start: int) -> SpanContext | None:
        """Return the first context that is not sampled of a record that waited too long."""
        late = (record for record in records if self._is_late(record, start))
        return next(
            filter(is_unsampled, (self._contexts.creation_context(record, again=True) for record in late)), None
        )

    def _start_against(
        self,
        destination: Destination,
        partition: int | None,
        start: int,
        parent: SpanContext,
        context: Context,
        links: Sequence[Link],
        known: Attributes,
        count: int,
    ) -> Started | None:
        """Start a span that is recorded although its context was not sampled; None where the sampler says no.

        Args:
            destination: of the records, as the next ones.
            partition: the one partition; None for several.
            start: of their processing, Unix time in nanoseconds.
            parent: of the span.
            context: what else is in its context.
            links: of the span.
            known: its attributes, among them the reason.
            count: of the records.
        """
        span = self._start(destination, partition, start, sampled(parent, context), links, known)
        if span is None or not self._sampling.keep(span):
            return None
        reason = str(known[semconv.SAMPLED_REASON])
        self._telemetry.guard.call("measure", None, self._count, destination, partition, reason, count)
        return Started(span, len(links), parent)

    def _count(self, destination: Destination, partition: int | None, reason: str, count: int) -> None:
        if self._telemetry.instruments is not None:
            series = self._operation.series(destination, partition)
            self._sampling.count(series.attributes, reason, count)

    def _start(
        self,
        destination: Destination,
        partition: int | None,
        start: int,
        parent: Context,
        links: Sequence[Link],
        known: Attributes | None,
        tracer: Tracer | None = None,
    ) -> Span | None:
        """Start a span; None where the provider failed."""
        span = self._operation.start(
            parent,
            destination,
            partition,
            links=links[: self._options.max_links],
            start_time=start,
            more=known,
            tracer=tracer,
        )
        # Without an SDK it is the one around, which is not to be taken for one of the fast path's.
        return NonRecordingSpan(span.get_span_context()) if span is not None and type(span) in UNPARSED else span

    def _wait(self, start: int, beginning: Beginning, index: int) -> Wait | None:
        record, handover = beginning.records[index], beginning.handovers[index]
        return wait_of(record, start, handover.time, self._history, beginning.attended[index])

    def _handover_of(self, record: Any, start: int) -> Handover:
        noted = None if self._history is None else self._history.handover_of(record)
        return noted or Handover(start, None)


def _was_busy(wait: Wait | None) -> bool:
    """Return whether the consumer was busy long enough before a record to say what kept it so."""
    return wait is not None and (wait.busy or 0) > PREDECESSOR_AFTER


def add_predecessor_link(span: Span, before: OpenSpan) -> int:
    """Link a recording span to what its consumer processed before, and return how many links that took."""
    context = (before.current or before.span).get_span_context()
    if not context.is_valid:
        return 0
    span.add_link(context, attributes.of_link(semconv.LINK_PREDECESSOR, before.link_attributes()))
    return 1
