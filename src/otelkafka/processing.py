"""The process span of a record or of a batch: its parent, its links and what it tells of the wait."""

from collections.abc import Sequence
from time import time_ns
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Tracer

from otelkafka import attributes, client, semconv
from otelkafka.attributes import Attributes
from otelkafka.client import ClientFacts
from otelkafka.current import OpenSpan
from otelkafka.in_process import InProcess, Work
from otelkafka.links import add_creation_links, link_predecessor, link_to, tell_dropped
from otelkafka.metrics import Instruments
from otelkafka.operation import Operation, context_of
from otelkafka.options import ConsumerOptions
from otelkafka.propagation import carries_context, context_in, merge, read
from otelkafka.shortcuts import get_current
from otelkafka.telemetry import Telemetry, is_suppressed
from otelkafka.w3c import SPAN_KEY, UnparsedSpan
from otelkafka.wait import Handover, Wait, WaitHistory, queue_of, wait_of


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
        self._predecessor: Work | None = None
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
                span, _, drawn = rules.continue_trace(record.headers, ambient)
                if span is not None:
                    opened.span = span
                    if telemetry.instruments is not None:
                        bare = type(span) is not UnparsedSpan or type(span.ids[0]) is int  # its trace begins here
                        telemetry.guard.call("measure", None, self._measure_one, opened, record, bare)
                        self.in_process.begin(opened)
                    opened.attach({**ambient, SPAN_KEY: span} if ambient else {SPAN_KEY: span}, ambient)
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
        if opened.destination.traced:
            parent, links = self._relate(ambient, created, context)
            if self._start(opened, parent, links, tracer) is None:
                return self.idle(record, opened.owner)
            if opened.span.is_recording():
                telemetry.guard.call("process", None, self._tell, opened, record, handover, consumer, len(links))
            telemetry.call_hook("on_process", self.options.on_process, opened.span, record)
            context = trace.set_span_in_context(opened.span, context)
        else:
            opened.current = trace.get_current_span(context)
        if telemetry.instruments is not None:
            telemetry.guard.call("measure", None, self._measure_one, opened, record, not created.is_valid)
        self.in_process.begin(opened)
        opened.attach(context, ambient)
        return opened

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

    def ended(self, work: Work, error: BaseException | None) -> None:
        """Hear of the end of an open span, and end its span."""
        self._predecessor = work
        telemetry, span = self.telemetry, work.span
        if type(span) is UnparsedSpan and telemetry.instruments is None:
            return
        self.in_process.end(work)
        if telemetry.instruments is not None:
            telemetry.guard.call("measure", None, self._measure_end, telemetry.instruments, work, error)
        telemetry.end_span(span, end_time=telemetry.not_before(work.start, work.ended_at))

    def _measure_end(self, instruments: Instruments, work: Work, error: BaseException | None) -> None:
        series = self._operation.series(work.destination, work.partition, error)
        duration = attributes.seconds(max(0, work.ended_at - work.start))
        instruments.process_duration.record(duration, series.attributes, context_of(work.span))

    def _relate(self, ambient: Context, created: SpanContext, merged: Context) -> tuple[Context, list[Link]]:
        """Return the context that holds the parent, and the links that the relation asks for."""
        around = trace.get_current_span(ambient)
        if created.is_valid and self.options.relation == "parent":
            return merged, link_to(around.get_span_context(), semconv.LINK_AMBIENT)
        return trace.set_span_in_context(around, merged), link_to(created, semconv.LINK_CREATION)

    def _tell(self, work: Work, record: Any, handover: Handover | None, consumer: Any, links: int) -> None:
        if consumer is not None:
            handover = Handover(work.start, client.highwater(consumer, record.topic, record.partition))
        handover = handover or self._handover_of(record, work.start)
        wait = wait_of(record, work.start, handover.time, self.history)
        told = {**attributes.of_offset(record.offset), **self.telemetry.key_attributes(record.key)}
        if attributes.is_tombstone(record):
            told[semconv.MESSAGING_KAFKA_MESSAGE_TOMBSTONE] = True
        if self.options.capture_headers:
            told.update(self.telemetry.header_attributes(record.headers))
        if handover.highwater is not None:
            told.update(attributes.of_lag(attributes.lag(record.offset, handover.highwater)))
        if wait is not None:
            wait.tell(told)
        work.span.set_attributes(told)
        if links < self.options.max_links:
            link_predecessor(work.span, self._predecessor, wait)
        tell_dropped(self.telemetry, work.span, max(0, links - self.options.max_links))

    def _handover_of(self, record: Any, start: int) -> Handover:
        noted = None if self.history is None else self.history.handover_of(record)
        return noted or Handover(start, None)

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
        if traced:
            if self._start(opened, ambient, (), None, {semconv.MESSAGING_BATCH_MESSAGE_COUNT: len(traced)}) is None:
                return idle
            if opened.span.is_recording():
                created = [context_in(telemetry, record) for record in traced]
                telemetry.guard.call("process_batch", None, self._tell_batch, opened, traced, created)
            context = trace.set_span_in_context(opened.span, ambient)
        if telemetry.instruments is not None:
            telemetry.guard.call("measure", None, self._measure_batch, opened, records, created)
        self.in_process.begin(opened)
        opened.attach(context, ambient)
        return opened

    def _measure_batch(self, work: Work, records: Sequence[Any], created: Sequence[SpanContext] | None) -> None:
        queues = (queue_of(record, work.start) for record in records)
        longest = max((queue for queue in queues if queue is not None), default=None)
        if created is None:
            without_context = sum(not carries_context(self.telemetry, record) for record in records)
        else:
            without_context = sum(not context.is_valid for context in created)
        self._measure(work, longest, without_context)

    def _tell_batch(self, work: Work, records: Sequence[Any], created: Sequence[SpanContext]) -> None:
        handovers = [self._handover_of(record, work.start) for record in records]
        waits = [
            wait_of(record, work.start, handover.time, self.history)
            for record, handover in zip(records, handovers, strict=True)
        ]

        def tell(index: int) -> Attributes:
            record, wait = records[index], waits[index]
            told = {
                **attributes.of_position(record),
                **self.telemetry.key_attributes(record.key),
                **attributes.of_lag(attributes.lag(record.offset, handovers[index].highwater)),
            }
            return told if wait is None else wait.tell(told)

        longest: Wait | None = max(filter(None, waits), key=lambda wait: wait.queue, default=None)
        if longest is not None:
            work.span.set_attributes(longest.tell({}))
        room = self.options.max_links
        if room > 0 and link_predecessor(work.span, self._predecessor, longest):
            room -= 1
        add_creation_links(self.telemetry, work.span, created, room, tell)
