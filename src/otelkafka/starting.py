"""How a process span starts: its parent, its links, and whether it is recorded although its context was not sampled."""

from collections.abc import Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, Tracer

from otelkafka import attributes, semconv
from otelkafka.attributes import Attributes
from otelkafka.in_process import Work
from otelkafka.links import link_to
from otelkafka.operation import Operation
from otelkafka.options import ConsumerOptions
from otelkafka.propagation import context_in
from otelkafka.sampling import Sampling, is_unsampled, sampled, why_failed
from otelkafka.telemetry import Telemetry
from otelkafka.w3c import UnparsedSpan
from otelkafka.wait import queue_of


class Starting:
    """Starts the process spans of one consumer.

    Args:
        telemetry: of the consumer.
        operation: starts spans of its kind.
        options: of the consumer.

    Attributes:
        sampling: decides what is recorded although it was not sampled.
        rescues: whether what waited too long is.
    """

    def __init__(self, telemetry: Telemetry, operation: Operation, options: ConsumerOptions) -> None:
        self.sampling = Sampling(telemetry, options)
        self.rescues = options.sample_waits_over is not None
        self._over = (options.sample_waits_over or 0) * attributes.NANOSECONDS
        self._telemetry = telemetry
        self._operation = operation
        self._options = options

    def rescue(self, work: Work, record: Any, span: Span) -> bool:
        """Note that a record waited too long for the span of a short cut, if it did; one that starts a trace does not.

        Args:
            work: the processing of the record.
            record: the record.
            span: of the short cut.
        """
        if type(span) is UnparsedSpan and type(span.ids[0]) is bytes and self._is_late(work, record) and self._admits():
            work.reason = semconv.REASON_WAIT
        return work.reason is not None

    def start(
        self, work: Work, record: Any, ambient: Context, created: SpanContext, context: Context, tracer: Tracer | None
    ) -> int | None:
        """Start the span of a record, and return how many links it wants; None where the provider failed.

        Args:
            work: the processing of the record.
            record: the record.
            ambient: the context around.
            created: the record's creation context.
            context: what both come to.
            tracer: starts it; None for the one of the options.
        """
        around = trace.get_current_span(ambient)
        if self.rescues and work.reason is None and is_unsampled(created) and self._is_late(work, record):
            work.reason = semconv.REASON_WAIT if self._admits() else None
        if work.reason is not None:
            links = link_to(around.get_span_context(), semconv.LINK_AMBIENT)
            if self._start_against(work, created, context, links, {semconv.SAMPLED_REASON: work.reason}):
                return len(links)
        if created.is_valid and self._options.relation == "parent":
            parent, links = context, link_to(around.get_span_context(), semconv.LINK_AMBIENT)
        else:
            parent, links = trace.set_span_in_context(around, context), link_to(created, semconv.LINK_CREATION)
        work.parent = trace.get_current_span(parent).get_span_context()
        return None if self._start(work, parent, links, None, tracer) is None else len(links)

    def start_batch(self, work: Work, records: Sequence[Any], ambient: Context) -> int | None:
        """Start the span of a batch, and return how many links it has; None where the provider failed.

        Args:
            work: the processing of the batch.
            records: the batch.
            ambient: the context around.
        """
        told: Attributes = {semconv.MESSAGING_BATCH_MESSAGE_COUNT: len(records)}
        around = trace.get_current_span(ambient)
        if self.rescues and not around.get_span_context().trace_flags.sampled:
            late = self._first_late(work, records)
            links = link_to(around.get_span_context(), semconv.LINK_AMBIENT)
            why = {semconv.SAMPLED_REASON: semconv.REASON_WAIT}
            if late is not None and self._start_against(work, late, ambient, links, {**told, **why}):
                return len(links)
        return None if self._start(work, ambient, (), told) is None else 0

    def start_after_failure(
        self, work: Work, around: SpanContext, created: Sequence[SpanContext], context: Context
    ) -> int | None:
        """Start a span for what has failed and was not sampled, and return how many links it wants; None for none.

        It continues what the first span did; if that is not known, then the first span itself. That of a batch is of
        the trace of its first record that is not sampled.

        Args:
            work: what has failed.
            around: the span around it.
            created: the creation contexts of its records.
            context: that of the record.
        """
        own, told = work.span.get_span_context(), why_failed(work.span)
        links = link_to(around, semconv.LINK_AMBIENT)
        if work.count is not None:
            parent, context = next(filter(is_unsampled, created), own), Context()
            told[semconv.MESSAGING_BATCH_MESSAGE_COUNT] = len(created)
        else:
            before = work.parent or created[0]
            parent = before if before.is_valid and before.trace_id == own.trace_id else own
            if created[0].trace_id != parent.trace_id:
                links = link_to(created[0], semconv.LINK_CREATION)
        return len(links) if self._start_against(work, parent, context, links, told) else None

    def _admits(self) -> bool:
        return self.sampling.admits(semconv.REASON_WAIT)

    def _is_late(self, work: Work, record: Any) -> bool:
        queue = queue_of(record, work.start)
        return queue is not None and queue > self._over

    def _first_late(self, work: Work, records: Sequence[Any]) -> SpanContext | None:
        """Return the first context that is not sampled of a record that waited too long, where there is room for it."""
        late = (record for record in records if self._is_late(work, record))
        contexts = (context_in(self._telemetry, record, again=True) for record in late)
        found = next(filter(is_unsampled, contexts), None)
        return found if found is not None and self._admits() else None

    def _start_against(
        self, work: Work, parent: SpanContext, context: Context, links: Sequence[Link], told: Attributes
    ) -> bool:
        """Start a span that is recorded although its context was not sampled; False where the sampler says no."""
        before = work.span
        span = self._start(work, sampled(parent, context), links, told)
        if not self.sampling.accepts(span):
            work.span, work.reason = before, None
            return False
        work.reason, work.parent = str(told[semconv.SAMPLED_REASON]), parent
        self._telemetry.guard.call("measure", None, self._count, work)
        return True

    def _count(self, work: Work) -> None:
        if self._telemetry.instruments is not None and work.reason is not None:
            series = self._operation.series(work.destination, work.partition)
            self.sampling.count(series.attributes, work.reason, work.count or 1)

    def _start(
        self,
        work: Work,
        parent: Context,
        links: Sequence[Link],
        told: Attributes | None = None,
        tracer: Tracer | None = None,
    ) -> Span | None:
        """Start the span of `work`; None where the provider failed."""
        span = self._operation.start(
            parent,
            work.destination,
            work.partition,
            links=links[: self._options.max_links],
            start_time=work.start,
            told=told,
            tracer=tracer,
        )
        if span is not None:  # without an SDK it is the one around, which is not to be taken for a short cut's
            work.span = NonRecordingSpan(span.get_span_context()) if type(span) is UnparsedSpan else span
        return span
