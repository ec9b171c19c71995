"""The process span of a record or of a batch: its parent, its links and what it tells of the wait."""

from collections.abc import Sequence
from time import time_ns
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Tracer

from otelkafka import semconv
from otelkafka.ambient import get_current, is_suppressed
from otelkafka.client import ClientFacts
from otelkafka.current import OpenSpan
from otelkafka.in_process import Beginning, InProcess, Work
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
        self._cares = self._starting.rescues or options.sample_errors
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
                if span is not None and not (
                    self._cares and self._is_rescued(opened, record, span, ambient, handover, consumer)
                ):
                    opened.span = span
                    if origin is not None:
                        opened.origins = ((destination, record.partition, origin),)
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

    def _is_rescued(
        self, opened: OpenSpan, record: Any, span: Span, ambient: Context, handover: Handover | None, consumer: Any
    ) -> bool:
        """Tell whether a record that a short cut was found for waited too long; note what its failure would tell."""
        if self._starting.rescues and self._starting.rescue(opened, record, span):
            return True
        if self.options.sample_errors:
            opened.beginning = self._telling.begin(opened.start, [record], ambient, handover, consumer)
        return False

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
            if opened.span.is_recording() or self.options.sample_errors:
                beginning = opened.beginning = self._telling.begin(opened.start, [record], ambient, handover, consumer)
                if opened.span.is_recording():
                    telemetry.guard.call("process", None, self._telling.tell, opened, beginning, links)
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
            opened.origins = ((opened.destination, opened.partition, origin),)
        return keep_earliest(context, origin, around)

    def ended(self, work: Work, error: BaseException | None) -> None:
        """Hear of the end of an open span, and end its span."""
        telemetry, beginning = self.telemetry, work.beginning
        if beginning is not None:
            work.beginning = None
            if error is not None:
                telemetry.guard.call("process", None, self._record_failure, work, beginning, error)
        self._telling.predecessor, span = work, work.span
        if type(span) is UnparsedSpan and telemetry.instruments is None:
            return
        self.in_process.end(work)
        work.ended_at = end = telemetry.not_before(work.start, work.ended_at)
        if telemetry.instruments is not None:
            telemetry.guard.call("measure", None, self._measuring.end, work, error)
        if work.origins:
            earliest = min(origin for *_, origin in work.origins)
            telemetry.tell(span, lambda: {semconv.PIPELINE_DURATION: since(earliest, end)})
        telemetry.end_span(span, end_time=end)

    def _record_failure(self, work: Work, beginning: Beginning, error: BaseException) -> None:
        """Record what has failed and was not sampled, in the trace of the record, or of the first of a batch."""
        original = work.span
        if not self._starting.sampling.admits_failure(original):
            return
        contexts = [read(self.telemetry, record.headers, again=True) for record in beginning.records]
        created = [trace.get_current_span(context).get_span_context() for context in contexts]
        links = self._starting.start_after_failure(work, beginning.around, created, contexts[0])
        if links is None:
            return
        self.telemetry.end_span(original, end_time=work.ended_at)
        self.telemetry.fail_span(work.span, error)
        for event, when in work.gone:
            work.span.add_event(event, timestamp=when)
        if work.count is not None:
            self._telling.tell_batch(work, beginning, links, created)
        else:
            self._telling.tell(work, beginning, links)

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
            context = self._keep_origins(opened, records, ambient)
        if traced:
            links = self._starting.start_batch(opened, traced, context)
            if links is None:
                return idle
            if opened.span.is_recording() or self.options.sample_errors:
                beginning = opened.beginning = self._telling.begin(start, traced, ambient)
                if opened.span.is_recording():
                    created = [context_in(telemetry, record) for record in traced]
                    tell = self._telling.tell_batch
                    telemetry.guard.call("process_batch", None, tell, opened, beginning, links, created)
            context = trace.set_span_in_context(opened.span, context)
        if telemetry.instruments is not None:
            telemetry.guard.call("measure", None, self._measuring.begin_batch, opened, records, created)
        self.in_process.begin(opened)
        opened.attach(context, ambient)
        return opened

    def _keep_origins(self, opened: OpenSpan, records: Sequence[Any], ambient: Context) -> Context:
        """Note the origins of a batch, and return the context around with the earliest of them and of its own."""
        telemetry, found = self.telemetry, []
        for record in records:
            origin = origin_of(telemetry, record, opened.start)
            if origin is not None:
                found.append((telemetry.destinations[record.topic], record.partition, origin))
        opened.origins = found
        around = origin_in(ambient, opened.start, telemetry.drop)
        return keep_earliest(ambient, around, *(origin for *_, origin in found))
