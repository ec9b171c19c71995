"""The process span of a record or of a batch: its parent, its links and what it tells of the wait."""

from collections.abc import Sequence
from time import time_ns
from typing import Any

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanContext, SpanKind

from otelkafka import attributes, semconv
from otelkafka.attributes import Attributes
from otelkafka.client import ClientFacts
from otelkafka.current import OpenSpan, leave_ended_spans
from otelkafka.in_process import InProcess, Work
from otelkafka.links import Predecessor, add_creation_links, link_to, tell_dropped
from otelkafka.operation import Operation, context_of
from otelkafka.options import ConsumerOptions
from otelkafka.propagation import context_in, merge, read
from otelkafka.shortcuts import context_with
from otelkafka.telemetry import Telemetry, is_suppressed
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
        self._predecessor: Predecessor | None = None
        self._is_plain = options.relation == "parent" and options.on_process is None
        self.in_process = InProcess(self.telemetry, self.facts, history)

    def open(self, record: Any, handover: Handover | None = None, owner: object = None) -> OpenSpan:
        """Start the process span of a record, and make it current.

        Args:
            record: the consumed record.
            handover: when it came out of its client; None to look that up.
            owner: the dispatcher that will end it; None where a context manager will.

        Returns:
            An open span, which does nothing where telemetry is suppressed or fails.
        """
        if is_suppressed():
            return self.idle(record, owner)
        try:
            return self._open(record, handover, owner)
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            self.telemetry.guard.contain("process", error)
            return self.idle(record, owner)

    def idle(self, record: Any = None, owner: object = None) -> OpenSpan:
        """Return an open span that does nothing."""
        return OpenSpan(self.telemetry, record=record, owner=owner)

    def open_batch(self, records: Sequence[Any], given: object = None) -> OpenSpan:
        """Start the process span of a batch, and make it current; it carries no record's baggage.

        Args:
            records: the batch.
            given: the object that the caller has it in, by which its span is found again.
        """
        idle = self.idle(given)
        if is_suppressed():
            return idle
        return self.telemetry.guard.call("process_batch", idle, self._open_batch, idle, records)

    def _open(self, record: Any, handover: Handover | None, owner: object) -> OpenSpan:
        leave_ended_spans()
        ambient = context_api.get_current()
        destination = self.telemetry.destination(record.topic)
        partition, start = record.partition, time_ns()
        work = Work(destination, partition, {(record.topic, partition)}, start, record.offset, None, INVALID_SPAN)
        rules = self.telemetry.rules if self._is_plain and destination.traced and not ambient else None
        unsampled = rules.continue_trace(record.headers) if rules is not None else None
        if unsampled is not None:
            work.span = unsampled
            if self.in_process.instruments is not None:
                self.telemetry.guard.call("measure", None, self._measure_wait, work, [record], ())
            return self._opened(work, context_with(unsampled), record, owner)
        creation = read(self.telemetry, record.headers)
        context = merge(creation, under=ambient)
        if destination.traced:
            parent, links = self._relate(ambient, creation, context)
            dropped, links = links[self.options.max_links :], links[: self.options.max_links]
            span = self._operation.start(parent, destination, partition, links=links, start_time=start)
            if span is None:
                return self.idle(record, owner)
            work.span = span
            if span.is_recording():
                room = self.options.max_links - len(links)
                self.telemetry.guard.call("process", None, self._tell, span, record, handover, start, room)
                tell_dropped(self.telemetry, span, len(dropped))
            self.telemetry.call_hook("on_process", self.options.on_process, span, record)
            context = trace.set_span_in_context(span, context)
        if self.in_process.instruments is not None:
            created = [trace.get_current_span(creation).get_span_context()]
            self.telemetry.guard.call("measure", None, self._measure_wait, work, [record], created)
        return self._opened(work, context, record, owner)

    def _measure_wait(self, work: Work, records: Sequence[Any], created: Sequence[SpanContext]) -> None:
        """Record how long the longest waited of `records`, and how many of them carry no context."""
        instruments = self.in_process.instruments
        if instruments is None:
            return
        series = self._operation.series(work.destination, work.partition)
        queues = (queue_of(record, work.start) for record in records)
        longest = max((queue for queue in queues if queue is not None), default=None)
        if longest is not None:
            instruments.queue_duration.record(attributes.seconds(longest), series.attributes, context_of(work.span))
        without_context = sum(not context.is_valid for context in created)
        if without_context:
            series.total(instruments.without_context).add(without_context)

    def _opened(self, work: Work, context: Context, record: Any = None, owner: object = None) -> OpenSpan:
        def end(now: int, error: BaseException | None) -> None:
            self._end(work, current, now, error)

        current = work.span if work.destination.traced else trace.get_current_span(context)
        opened = OpenSpan(self.telemetry, work.span, record, owner, end)
        opened.attach(context)
        self.in_process.begin(work)
        return opened

    def _end(self, work: Work, current: Span, now: int, error: BaseException | None) -> None:
        self.in_process.end(work)
        duration = attributes.seconds(now - work.start)
        self._predecessor = Predecessor(current, work, duration)
        instruments = self.in_process.instruments
        if instruments is not None:
            series = self._operation.series(work.destination, work.partition, error)
            instruments.process_duration.record(duration, series.attributes, context_of(work.span))

    def _relate(self, ambient: Context, creation: Context, merged: Context) -> tuple[Context, list[Link]]:
        """Return the context that holds the parent, and the links that the relation asks for."""
        around, created = trace.get_current_span(ambient), trace.get_current_span(creation).get_span_context()
        if created.is_valid and self.options.relation == "parent":
            return merged, link_to(around.get_span_context(), semconv.LINK_AMBIENT)
        return trace.set_span_in_context(around, merged), link_to(created, semconv.LINK_CREATION)

    def _tell(self, span: Span, record: Any, handover: Handover | None, start: int, room: int) -> None:
        handover = handover or self._handover_of(record, start)
        wait = wait_of(record, start, handover.time, self.history)
        span.set_attributes(
            {
                **attributes.of_offset(record.offset),
                **self.telemetry.key_attributes(record.key),
                **attributes.of_tombstone(tombstone=attributes.is_tombstone(record)),
                **self.telemetry.header_attributes(record.headers),
                **attributes.of_lag(attributes.lag(record.offset, handover.highwater())),
                **(wait.attributes() if wait else {}),
            }
        )
        if room > 0:
            self._link_predecessor(span, wait)

    def _handover_of(self, record: Any, start: int) -> Handover:
        noted = None if self.history is None else self.history.handover_of(record)
        return noted or Handover(start, lambda: None)

    def _link_predecessor(self, span: Span, wait: Wait | None) -> bool:
        predecessor = self._predecessor
        if predecessor is None or not predecessor.kept_busy(wait):
            return False
        predecessor.link(span)
        return True

    def _open_batch(self, idle: OpenSpan, records: Sequence[Any]) -> OpenSpan:
        if not records:
            return idle
        leave_ended_spans()
        ambient = context_api.get_current()
        traced = [record for record in records if self.telemetry.destination(record.topic).traced]
        about = traced or records
        destination = self.telemetry.destination_of({record.topic for record in about})
        partitions = {(record.topic, record.partition) for record in about}
        partition = about[0].partition if len(partitions) == 1 else None
        work = Work(destination, partition, partitions, time_ns(), None, len(about), INVALID_SPAN)
        created: list[SpanContext] = []
        if traced:
            start, count = work.start, len(traced)
            span = self._operation.start(ambient, destination, partition, start_time=start, message_count=count)
            if span is None:
                return idle
            work.span = span
            if span.is_recording() or self.in_process.instruments is not None:
                created = [context_in(self.telemetry, record) for record in traced]
            if span.is_recording():
                self.telemetry.guard.call("process_batch", None, self._tell_batch, span, traced, created, start)
        if self.in_process.instruments is not None:
            self.telemetry.guard.call("measure", None, self._measure_wait, work, records, created)
        context = trace.set_span_in_context(work.span, ambient) if traced else ambient
        return self._opened(work, context, idle.record)

    def _tell_batch(self, span: Span, records: Sequence[Any], created: Sequence[SpanContext], start: int) -> None:
        handovers = [self._handover_of(record, start) for record in records]
        waits = [
            wait_of(record, start, handover.time, self.history)
            for record, handover in zip(records, handovers, strict=True)
        ]

        def tell(index: int) -> Attributes:
            record, wait = records[index], waits[index]
            return {
                **attributes.of_position(record),
                **self.telemetry.key_attributes(record.key),
                **attributes.of_lag(attributes.lag(record.offset, handovers[index].highwater())),
                **(wait.attributes() if wait else {}),
            }

        longest = max(filter(None, waits), key=lambda wait: wait.queue, default=None)
        if longest is not None:
            span.set_attributes(longest.attributes())
        room = self.options.max_links
        if room > 0 and self._link_predecessor(span, longest):
            room -= 1
        add_creation_links(self.telemetry, span, created, room, tell)
