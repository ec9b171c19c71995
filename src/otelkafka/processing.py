"""The process span of a record or of a batch: its parent, its links and what it tells of the wait."""

from collections.abc import Sequence
from time import time_ns
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, SpanKind, Tracer

from otelkafka import semconv
from otelkafka.ambient import get_current, is_suppressed
from otelkafka.client import ClientFacts
from otelkafka.current import OpenSpan
from otelkafka.in_process import InProcess, Work
from otelkafka.measuring import Measuring
from otelkafka.operation import Operation
from otelkafka.options import ConsumerOptions
from otelkafka.origins import keep_earliest, origin_in, since
from otelkafka.propagation import context_in, merge, origin_of, read
from otelkafka.starting import Starting
from otelkafka.telemetry import Telemetry
from otelkafka.telling import Telling
from otelkafka.w3c import UnparsedSpan
from otelkafka.wait import Handover, WaitHistory


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
        self._starting = Starting(self.telemetry, self._operation, options)
        self._telling = Telling(self.telemetry, options, history)
        self._measuring = Measuring(self.telemetry, self._operation)
        self._rescues = self._starting.rescues
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
                if span is not None and not (self._rescues and self._starting.rescue(opened, record, span)):
                    opened.span = span
                    if origin is not None:
                        opened.origins = (origin,)
                    if telemetry.instruments is not None:
                        bare = type(span) is not UnparsedSpan or type(span.ids[0]) is int  # its trace begins here
                        telemetry.guard.call("measure", None, self._measuring.begin, opened, record, bare)
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
            links = self._starting.start(opened, record, ambient, created, context, tracer)
            if links is None:
                return self.idle(record, opened.owner)
            if opened.span.is_recording():
                telemetry.guard.call("process", None, self._telling.tell, opened, record, handover, consumer, links)
            telemetry.call_hook("on_process", self.options.on_process, opened.span, record)
            context = trace.set_span_in_context(opened.span, context)
        else:
            opened.current = trace.get_current_span(context)
        if telemetry.instruments is not None:
            telemetry.guard.call("measure", None, self._measuring.begin, opened, record, not created.is_valid)
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

    def ended(self, work: Work, record: Any, error: BaseException | None) -> None:
        """Hear of the end of an open span, and end its span."""
        telemetry = self.telemetry
        if error is not None and self.options.sample_errors:
            telemetry.guard.call("process", None, self._record_failure, work, record, error)
        self._telling.predecessor, work.batch = work, ()
        span = work.span
        if type(span) is UnparsedSpan and telemetry.instruments is None:
            return
        self.in_process.end(work)
        end = telemetry.not_before(work.start, work.ended_at)
        if telemetry.instruments is not None:
            telemetry.guard.call("measure", None, self._measuring.end, work, error)
        if work.origins:
            telemetry.tell(span, lambda: {semconv.PIPELINE_DURATION: since(min(work.origins), end)})
        telemetry.end_span(span, end_time=end)

    def _record_failure(self, work: Work, record: Any, error: BaseException) -> None:
        """Record what has failed and was not sampled, in the trace of the record, or of the first of a batch."""
        if not self._starting.sampling.admits_failure(work.span):
            return
        created = [context_in(self.telemetry, each) for each in work.batch or [record]]
        links = self._starting.start_after_failure(work, created)
        if links is None:
            return
        self.telemetry.fail_span(work.span, error)
        if work.batch:
            self._tell_batch(work, work.batch, created)
        else:
            self._telling.tell(work, record, None, None, links)

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
            opened.batch = traced
            if not self._starting.start_batch(opened, traced, context):
                return idle
            if opened.span.is_recording():
                created = [context_in(telemetry, record) for record in traced]
                telemetry.guard.call("process_batch", None, self._tell_batch, opened, traced, created)
            context = trace.set_span_in_context(opened.span, context)
        if telemetry.instruments is not None:
            telemetry.guard.call("measure", None, self._measuring.begin_batch, opened, records, created)
        self.in_process.begin(opened)
        opened.attach(context, ambient)
        return opened

    def _tell_batch(self, work: Work, records: Sequence[Any], created: Sequence[SpanContext]) -> None:
        self._telling.tell_batch(work, records, [_unless(each, work.parent) for each in created])


def _unless(context: SpanContext, parent: SpanContext | None) -> SpanContext:
    """Return a creation context to link to; one that is not valid in the place of the parent's."""
    return INVALID_SPAN_CONTEXT if context == parent else context
