"""The process span of a record or of a batch: its parent, its links and what it tells of the wait."""

from collections.abc import Sequence
from time import time_ns
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN_CONTEXT, Link, NonRecordingSpan, Span, SpanContext, SpanKind, Tracer

from otelkafka import attributes, semconv
from otelkafka.attributes import Attributes
from otelkafka.client import ClientFacts
from otelkafka.current import OpenSpan
from otelkafka.in_process import InProcess, Work
from otelkafka.links import link_to
from otelkafka.metrics import Instruments
from otelkafka.operation import Operation, context_of
from otelkafka.options import ConsumerOptions
from otelkafka.origins import keep_earliest, origin_in, since
from otelkafka.propagation import carries_context, context_in, merge, origin_of, read
from otelkafka.sampling import Sampling, is_unsampled, sampled, why_failed
from otelkafka.shortcuts import get_current
from otelkafka.telemetry import Telemetry, is_suppressed
from otelkafka.telling import Telling
from otelkafka.w3c import UnparsedSpan
from otelkafka.wait import Handover, WaitHistory, queue_of


class Processing:
    """Makes the process spans of one consumer.

    Args:
        consumer: whose configuration is asked, and which is not kept; None for records of an unknown one.
        options: its options.
        history: where its time went; None where that is not known.
    """

    def __init__(self, consumer: object, options: ConsumerOptions, history: WaitHistory | None) -> None:
        self.options = options
        self.facts = ClientFacts(consumer)
        self.telemetry = Telemetry(options)
        self.history = history
        self._operation = Operation(self.telemetry, self.facts, "process", semconv.TYPE_PROCESS, SpanKind.CONSUMER)
        self._telling = Telling(self.telemetry, options, history)
        self._sampling = Sampling(self.telemetry, options)
        waits_over = options.sample_waits_over
        self._waits_over = None if waits_over is None else waits_over * attributes.NANOSECONDS
        self._is_plain = options.relation == "parent" and options.on_process is None
        self.in_process = InProcess(self.telemetry, self.facts, history)

    def open(
        self,
        record: Any,
        owner: object = None,
        handover: Handover | None = None,
        consumer: Any = None,
        start: int | None = None,
    ) -> OpenSpan:
        """Start the process span of a record, and make it current.

        Args:
            record: the consumed record.
            owner: the dispatcher that will end it; None where a context manager will.
            handover: when it came out of its client; None to look that up.
            consumer: the one that has handed it over this moment, if it has.
            start: when its processing starts, Unix time in nanoseconds; None for now.

        Returns:
            An open span, which does nothing where telemetry is suppressed or fails.
        """
        try:
            ambient, telemetry = get_current(), self.telemetry
            if ambient and is_suppressed():
                return self.idle(record, owner)
            if start is None:
                start = time_ns()
                telemetry.look(start)
            destination, rules, tracer = telemetry.destinations[record.topic], telemetry.rules, None
            opened = OpenSpan(self, record, owner)
            opened.destination = destination
            opened.partition, opened.offset, opened.start = record.partition, record.offset, start
            if rules is not None and self._is_plain and destination.traced:
                span, context, origin, drawn = rules.continue_trace(record.headers, ambient, start)
                if span is not None and (self._waits_over is None or not self._is_continued_late(opened, record, span)):
                    opened.span = span
                    if origin is not None:
                        opened.origins = (origin,)
                    if telemetry.instruments is not None:
                        bare = type(span) is not UnparsedSpan or type(span.ids[0]) is int  # its trace begins here
                        telemetry.guard.call("measure", None, self._measure_one, opened, record, bare)
                        self.in_process.begin(opened)
                    opened.attach(context, ambient)
                    return opened
                tracer = None if drawn is None else rules.tracer_for(drawn)
            return self._open(opened, record, ambient, tracer, handover, consumer)
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            self.telemetry.guard.contain("process", error)
            return self.idle(record, owner)

    def idle(self, record: Any = None, owner: object = None) -> OpenSpan:
        """Return an open span that does nothing."""
        return OpenSpan(None, record, owner)

    def open_batch(self, records: Sequence[Any], given: object = None) -> OpenSpan:
        """Start the process span of a batch, and make it current; it carries no record's baggage.

        Args:
            records: the batch.
            given: the object that the caller has it in, by which its span is found again.
        """
        idle = self.idle(given)
        if not records or is_suppressed():
            return idle
        return self.telemetry.guard.call("process_batch", idle, self._open_batch, idle, records)

    def _open(
        self,
        opened: OpenSpan,
        record: Any,
        ambient: Context,
        tracer: Tracer | None,
        handover: Handover | None,
        consumer: Any,
    ) -> OpenSpan:
        telemetry = self.telemetry
        creation = read(telemetry, record.headers)
        context = merge(creation, under=ambient)
        created = trace.get_current_span(creation).get_span_context()
        if self.options.pipeline_time:
            context = self._keep_origin(opened, creation, ambient, context)
        if opened.destination.traced:
            links = self._start_one(opened, record, ambient, created, context, tracer)
            if links is None:
                return self.idle(record, opened.owner)
            if opened.span.is_recording():
                telemetry.guard.call("process", None, self._telling.tell, opened, record, handover, consumer, links)
            telemetry.call_hook("on_process", self.options.on_process, opened.span, record)
            context = trace.set_span_in_context(opened.span, context)
        else:
            opened.current = trace.get_current_span(context)
        if telemetry.instruments is not None:
            telemetry.guard.call("measure", None, self._measure_one, opened, record, not created.is_valid)
        self.in_process.begin(opened)
        opened.attach(context, ambient)
        return opened

    def _keep_origin(self, opened: OpenSpan, creation: Context, ambient: Context, context: Context) -> Context:
        """Note a record's origin, and return the context with the earliest of it and of the one around."""
        drop = self.telemetry.drop
        origin, around = origin_in(creation, opened.start, drop), origin_in(ambient, opened.start, drop)
        if origin is not None:
            opened.origins = (origin,)
        return keep_earliest(context, origin, around)

    def _is_late(self, work: Work, record: Any) -> bool:
        """Tell whether a record waited too long to go unrecorded."""
        queue = queue_of(record, work.start)
        over = self._waits_over
        return queue is not None and over is not None and queue > over and self._sampling.admits(semconv.REASON_WAIT)

    def _is_continued_late(self, work: Work, record: Any, span: Span) -> bool:
        """Tell the same of one that a short cut was found for, and note it; what starts a trace is not meant."""
        if type(span) is UnparsedSpan and type(span.ids[0]) is bytes and self._is_late(work, record):
            work.reason = semconv.REASON_WAIT
            return True
        return False

    def _start_one(
        self,
        opened: OpenSpan,
        record: Any,
        ambient: Context,
        created: SpanContext,
        context: Context,
        tracer: Tracer | None,
    ) -> int | None:
        """Start the span of a record, and return how many links it wants; None where the provider failed."""
        late = opened.reason is not None
        if late or (self._waits_over is not None and is_unsampled(created) and self._is_late(opened, record)):
            links = link_to(trace.get_current_span(ambient).get_span_context(), semconv.LINK_AMBIENT)
            if self._start_against(opened, created, context, links, semconv.REASON_WAIT):
                return len(links)
        parent, links = self._relate(ambient, created, context)
        if self._sampling.errors:
            opened.parent = trace.get_current_span(parent).get_span_context()
        return None if self._start(opened, parent, links, tracer) is None else len(links)

    def _start_against(
        self,
        work: Work,
        created: SpanContext,
        context: Context,
        links: Sequence[Link],
        reason: str,
        told: Attributes | None = None,
    ) -> bool:
        """Start a span that is recorded although its context was not sampled; False where the sampler says no."""
        before = work.span
        span = self._start(
            work, sampled(created, context), links, None, {semconv.SAMPLED_REASON: reason, **(told or {})}
        )
        if span is None or not span.is_recording():
            work.span, work.reason = before, None
            return False
        work.reason, work.parent = reason, created
        return True

    def _start(
        self, work: Work, parent: Context, links: Sequence[Link], tracer: Tracer | None, told: Attributes | None = None
    ) -> Span | None:
        """Start the span of `work`; None where the provider failed."""
        span = self._operation.start(
            parent,
            work.destination,
            work.partition,
            links=links[: self.options.max_links],
            start_time=work.start,
            told=told,
            tracer=tracer,
        )
        if span is not None:  # without an SDK it is the one around, which is not to be taken for a short cut's
            work.span = NonRecordingSpan(span.get_span_context()) if type(span) is UnparsedSpan else span
        return span

    def _measure_one(self, work: Work, record: Any, without_context: bool) -> None:  # noqa: FBT001 (a fact, no switch)
        self._measure(work, queue_of(record, work.start), int(without_context))

    def _measure(self, work: Work, queue: int | None, without_context: int) -> None:
        """Record how long a record waited, or the one of a batch that did longest, and how many carry no context."""
        instruments = self.telemetry.instruments
        if instruments is None:
            return
        series = self._operation.series(work.destination, work.partition)
        if queue is not None:
            instruments.queue_duration.record(attributes.seconds(queue), series.attributes, context_of(work.span))
        if without_context:
            series.total(instruments.without_context).add(without_context)
        if work.reason is not None:
            self._sampling.count(series.attributes, work.reason)

    def ended(self, work: Work, record: Any, error: BaseException | None) -> None:
        """Hear of the end of an open span, and end its span."""
        telemetry = self.telemetry
        if error is not None and self._sampling.errors:
            telemetry.guard.call("process", None, self._record_failure, work, record, error)
        self._telling.predecessor, work.batch = work, ()
        span = work.span
        if type(span) is UnparsedSpan and telemetry.instruments is None:
            return
        self.in_process.end(work)
        end = telemetry.not_before(work.start, work.ended_at)
        if telemetry.instruments is not None:
            telemetry.guard.call("measure", None, self._measure_end, telemetry.instruments, work, error)
        if work.origins:
            telemetry.tell(span, lambda: {semconv.PIPELINE_DURATION: since(min(work.origins), end)})
        telemetry.end_span(span, end_time=end)

    def _record_failure(self, work: Work, record: Any, error: BaseException) -> None:
        """Record what has failed and was not sampled, in the trace of the record, or of the first of a batch."""
        original = work.span
        if not self._sampling.admits_failure(original):
            return
        created = [context_in(self.telemetry, each) for each in work.batch or [record]]
        told = why_failed(original)
        if work.batch:
            told[semconv.MESSAGING_BATCH_MESSAGE_COUNT] = len(work.batch)
        parent = self._parent_after(work, created)
        links = (
            [] if work.batch or parent.trace_id == created[0].trace_id else link_to(created[0], semconv.LINK_CREATION)
        )
        if not self._start_against(work, parent, Context(), links, semconv.REASON_ERROR, told):
            return
        if work.batch:
            self._tell_batch(work, work.batch, created)
        else:
            self._telling.tell(work, record, None, None, len(links))
        self.telemetry.fail_span(work.span, error)
        series = self._operation.series(work.destination, work.partition, error)
        self._sampling.count(series.attributes, semconv.REASON_ERROR)

    def _parent_after(self, work: Work, created: Sequence[SpanContext]) -> SpanContext:
        """Return what a span continues that is made after the failure: what the first one did, else that one itself."""
        own = work.span.get_span_context()
        if work.batch:
            return next(filter(is_unsampled, created), own)
        before = work.parent or created[0]
        return before if before.is_valid and before.trace_id == own.trace_id else own

    def _measure_end(self, instruments: Instruments, work: Work, error: BaseException | None) -> None:
        series = self._operation.series(work.destination, work.partition, error)
        duration = attributes.seconds(max(0, work.ended_at - work.start))
        context = context_of(work.span)
        instruments.process_duration.record(duration, series.attributes, context)
        for origin in work.origins:
            instruments.pipeline_duration.record(since(origin, work.ended_at), series.attributes, context)

    def _relate(self, ambient: Context, created: SpanContext, merged: Context) -> tuple[Context, list[Link]]:
        """Return the context that holds the parent, and the links that the relation asks for."""
        around = trace.get_current_span(ambient)
        if created.is_valid and self.options.relation == "parent":
            return merged, link_to(around.get_span_context(), semconv.LINK_AMBIENT)
        return trace.set_span_in_context(around, merged), link_to(created, semconv.LINK_CREATION)

    def _open_batch(self, idle: OpenSpan, records: Sequence[Any]) -> OpenSpan:
        ambient, start, telemetry = get_current(), time_ns(), self.telemetry
        telemetry.look(start)
        traced = [record for record in records if telemetry.destinations[record.topic].traced]
        about = traced or records
        destination = telemetry.destinations.of({record.topic for record in about})
        partitions = {(record.topic, record.partition) for record in about}
        opened, created, context = OpenSpan(self, idle.record), None, ambient
        opened.destination, opened.start, opened.offset = destination, start, None
        opened.partition = about[0].partition if len(partitions) == 1 else None
        opened.partitions, opened.count = partitions, len(about)
        if self.options.pipeline_time:
            found = [origin_of(telemetry, record, start) for record in records]
            opened.origins = [origin for origin in found if origin is not None]
            context = keep_earliest(ambient, *found, origin_in(ambient, start, telemetry.drop))
        if traced:
            if not self._start_batch(opened, traced, context):
                return idle
            if opened.span.is_recording():
                created = [context_in(telemetry, record) for record in traced]
                telemetry.guard.call("process_batch", None, self._tell_batch, opened, traced, created)
            context = trace.set_span_in_context(opened.span, context)
        if telemetry.instruments is not None:
            telemetry.guard.call("measure", None, self._measure_batch, opened, records, created)
        self.in_process.begin(opened)
        opened.attach(context, ambient)
        return opened

    def _start_batch(self, opened: OpenSpan, records: Sequence[Any], ambient: Context) -> bool:
        """Start the span of a batch; False where the provider failed."""
        told: Attributes = {semconv.MESSAGING_BATCH_MESSAGE_COUNT: len(records)}
        around = trace.get_current_span(ambient)
        if self._sampling.errors:
            opened.batch = records
        if self._waits_over is not None and not around.is_recording():
            late = self._first_late(opened, records)
            links = link_to(around.get_span_context(), semconv.LINK_AMBIENT)
            if late is not None and self._start_against(opened, late, ambient, links, semconv.REASON_WAIT, told):
                return True
        return self._start(opened, ambient, (), None, told) is not None

    def _first_late(self, work: Work, records: Sequence[Any]) -> SpanContext | None:
        """Return the first context that is not sampled of a record that waited too long, where there is room for it."""
        over = self._waits_over
        for record in records:
            queue = queue_of(record, work.start)
            if over is not None and queue is not None and queue > over:
                created = context_in(self.telemetry, record)
                if is_unsampled(created):
                    return created if self._sampling.admits(semconv.REASON_WAIT) else None
        return None

    def _tell_batch(self, work: Work, records: Sequence[Any], created: Sequence[SpanContext]) -> None:
        self._telling.tell_batch(work, records, [_unless(each, work.parent) for each in created])

    def _measure_batch(self, work: Work, records: Sequence[Any], created: Sequence[SpanContext] | None) -> None:
        queues = (queue_of(record, work.start) for record in records)
        longest = max((queue for queue in queues if queue is not None), default=None)
        if created is None:
            without_context = sum(not carries_context(self.telemetry, record) for record in records)
        else:
            without_context = sum(not context.is_valid for context in created)
        self._measure(work, longest, without_context)


def _unless(context: SpanContext, parent: SpanContext | None) -> SpanContext:
    """Return a creation context to link to; one that is not valid in the place of the parent's."""
    return INVALID_SPAN_CONTEXT if context == parent else context
