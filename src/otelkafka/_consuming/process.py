"""The process operation of a consumer: it opens the span of a record or a batch, measures it and ends it."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanContext, SpanKind, Tracer

from otelkafka._consuming.open_span import Batch, Beginning, OpenSpan, Origins, idle_span
from otelkafka._consuming.process_span import ProcessSpans, Started
from otelkafka._consuming.wait import Handover, WaitHistory, queue_of
from otelkafka._context.current import UnparsedSpan, get_current, is_suppressed
from otelkafka._context.fastpath import SampledRoot
from otelkafka._context.origin import keep_earliest, origin_in, since, with_baggage
from otelkafka._context.propagation import Contexts, merge
from otelkafka._context.traceparent import SPAN_KEY
from otelkafka._telemetry import attributes, clock, lifetime, semconv
from otelkafka._telemetry.attributes import Attributes
from otelkafka._telemetry.clock import seconds
from otelkafka._telemetry.destination import Destination
from otelkafka._telemetry.metrics import Instruments, Reading
from otelkafka._telemetry.operation import Operation, Series
from otelkafka.options import ConsumerOptions


class ProcessOperation:
    """The process operation of one consumer.

    Args:
        contexts: of the consumer; for records of an unknown one, of calls without a client.
        options: of the consumer.
        history: of the consumer's time; None where it is not known.

    Attributes:
        predecessor: what ended last.
        in_process: what is open now, where anybody asks for it.
    """

    def __init__(self, contexts: Contexts, options: ConsumerOptions, history: WaitHistory | None) -> None:
        self.contexts = contexts
        self.telemetry = contexts.telemetry
        self.options = options
        self.history = history
        self.predecessor: OpenSpan | None = None
        self.in_process: dict[OpenSpan, None] = {}
        self._operation = Operation(self.telemetry, "process", semconv.TYPE_PROCESS, SpanKind.CONSUMER)
        self._spans = ProcessSpans(contexts, options, self._operation, history)
        self._may_record_late = self._spans.samples_waits or options.sample_errors
        self._is_plain = options.relation == "parent" and options.on_process is None
        self.telemetry.on_instruments(self._watch)
        lifetime.end_at_exit(self)

    def _watch(self, instruments: Instruments) -> None:
        instruments.process_age.watch(self._read_ages)
        if self.history is not None:
            instruments.consumer_lag.watch(self._read_lags)
            group = attributes.of_group(self.telemetry.client)
            known: Attributes = {semconv.MESSAGING_SYSTEM: semconv.SYSTEM_KAFKA, **group}
            instruments.follow(self.history, self.history.spent, known)

    def open(  # noqa: C901 (the fast path reads top to bottom)
        self,
        record: Any,
        dispatcher: object = None,
        handover: Handover | None = None,
        start: int | None = None,
        *,
        is_fresh: bool = False,
    ) -> OpenSpan:
        """Start the process span of a record, and make it current.

        Args:
            record: the consumed record.
            dispatcher: ends it where the next record is asked for; None where a context manager does.
            handover: when it came out of its client; None where it was noted then.
            start: when its processing starts, Unix time in nanoseconds; None for now.
            is_fresh: whether it came out of its client this moment.

        Returns:
            An open span, which does nothing where telemetry is suppressed or fails.
        """
        try:
            ambient, telemetry = get_current(), self.telemetry
            if ambient and is_suppressed():
                return idle_span(record, dispatcher)
            if start is None:
                start = clock.now()
                telemetry.refresh(start)
            destination, fast_path = telemetry.destinations[record.topic], self.contexts.fast_path
            tracer = reason = beginning = series = None
            if fast_path is not None and self._is_plain and destination.traced:
                span = fast_path.start_process(record.headers, ambient, start)
                if type(span) is SampledRoot:
                    tracer = span.tracer()
                elif span is not None:
                    if self._may_record_late:
                        reason = self._spans.reason_for(record, start, span)
                        if self.options.sample_errors:
                            beginning = self._spans.begin(
                                start, [record], ambient, self.predecessor, handover, is_fresh=is_fresh
                            )
                    if reason is None:
                        context: Mapping[str, object] = {**ambient, SPAN_KEY: span} if ambient else {SPAN_KEY: span}
                        origins: Origins = ()
                        if type(span) is UnparsedSpan and span.origin is not None:
                            origins = ((destination, record.partition, span.origin),)
                            context = with_baggage(context, span.origin)
                        if telemetry.instruments is not None:
                            starts_trace = type(span) is not UnparsedSpan or type(span.trace_id) is int
                            place = destination, record.partition, span, start
                            series = self._measure_begin(*place, [record], int(starts_trace))
                        opened = OpenSpan(
                            self,
                            record,
                            dispatcher,
                            destination,
                            record.partition,
                            record.offset,
                            start,
                            span,
                            context,
                            ambient,
                            origins,
                            beginning,
                            series,
                        )
                        if telemetry.instruments is not None:
                            self.in_process[opened] = None
                        return opened
            return self._open(record, dispatcher, destination, start, ambient, handover, is_fresh, reason, tracer)
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            self.telemetry.guard.contain("process", error)
            return idle_span(record, dispatcher)

    def _open(
        self,
        record: Any,
        dispatcher: object,
        destination: Destination,
        start: int,
        ambient: Context,
        handover: Handover | None,
        is_fresh: bool,  # noqa: FBT001 (passed on)
        reason: str | None,
        tracer: Tracer | None,
    ) -> OpenSpan:
        """Open a record on the general path: as `open()`.

        Args:
            record: the consumed record.
            dispatcher: as for `open()`.
            destination: its topic.
            start: when its processing starts, Unix time in nanoseconds.
            ambient: the context around.
            handover: as for `open()`.
            is_fresh: as for `open()`.
            reason: why it is recorded although its context was not sampled, where the fast path found it so.
            tracer: starts its span; None for the one of the options.
        """
        telemetry = self.telemetry
        creation = self.contexts.read(record.headers)
        context = merge(creation, under=ambient) if ambient else creation
        created = trace.get_current_span(creation).get_span_context()
        origins: Origins = ()
        if self.options.pipeline_time:
            origin = origin_in(creation, start, telemetry.drop)
            context = keep_earliest(context, origin, origin_in(ambient, start, telemetry.drop))
            origins = () if origin is None else ((destination, record.partition, origin),)
        span: Span = INVALID_SPAN
        current = started = beginning = series = None
        if destination.traced:
            started = self._spans.start(
                record, destination, start, ambient, created, context, reason=reason, tracer=tracer
            )
            if started is None:
                return idle_span(record, dispatcher)
            span = started.span
            is_recording = span.is_recording()
            if is_recording or self.options.sample_errors:
                beginning = self._spans.begin(start, [record], ambient, self.predecessor, handover, is_fresh=is_fresh)
                if is_recording:
                    self._spans.set_attributes(span, start, beginning, started.links)
            if self.options.on_process is not None:
                telemetry.call_hook("on_process", self.options.on_process, span, record)
            context = trace.set_span_in_context(span, context)
        else:
            current = trace.get_current_span(context)
        if telemetry.instruments is not None:
            without = int(not created.is_valid)
            series = self._measure_begin(destination, record.partition, span, start, [record], without)
        opened = OpenSpan(
            self,
            record,
            dispatcher,
            destination,
            record.partition,
            record.offset,
            start,
            span,
            context,
            ambient,
            current=current,
            origins=origins,
            parent=None if started is None else started.parent,
            beginning=beginning,
            series=series,
        )
        self.in_process[opened] = None
        return opened

    def open_batch(self, records: Sequence[Any], given: object = None) -> OpenSpan:
        """Start the process span of a batch, and make it current; it carries no record's baggage.

        Args:
            records: the batch.
            given: the object that the caller has it in, by which its span is found again.
        """
        if not records or is_suppressed():
            return idle_span(given)
        try:
            return self._open_batch(records, given)
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            self.telemetry.guard.contain("process_batch", error)
            return idle_span(given)

    def _open_batch(self, records: Sequence[Any], given: object) -> OpenSpan:
        ambient, start, telemetry = get_current(), clock.now(), self.telemetry
        telemetry.refresh(start)
        traced = [record for record in records if telemetry.destinations[record.topic].traced]
        about = traced or records
        destination = telemetry.destinations.of({record.topic for record in about})
        partitions = {(record.topic, record.partition) for record in about}
        partition = about[0].partition if len(partitions) == 1 else None
        origins: Origins = ()
        context = ambient
        if self.options.pipeline_time:
            origins = self._origins_of(records, start)
            around = origin_in(ambient, start, telemetry.drop)
            context = keep_earliest(ambient, around, *(origin for *_, origin in origins))
        span: Span = INVALID_SPAN
        created: Sequence[SpanContext] | None = None
        started: Started | None = None
        beginning = series = None
        if traced:
            started = self._spans.start_batch(traced, destination, partition, start, context)
            if started is None:
                return idle_span(given)
            span = started.span
            is_recording = span.is_recording()
            if is_recording or self.options.sample_errors:
                beginning = self._spans.begin(start, traced, ambient, self.predecessor)
            if is_recording and beginning is not None:
                created = [self.contexts.creation_context(record) for record in traced]
                self._spans.set_batch_attributes(span, start, beginning, started, created)
            context = trace.set_span_in_context(span, context)
        if telemetry.instruments is not None:
            without = telemetry.guard.call("measure", 0, self._count_without_context, records, created)
            series = self._measure_begin(destination, partition, span, start, records, without)
        opened = OpenSpan(
            self,
            given,
            None,
            destination,
            partition,
            None,
            start,
            span,
            context,
            ambient,
            batch=Batch(len(about), partitions),
            origins=origins,
            parent=None if started is None else started.parent,
            beginning=beginning,
            series=series,
        )
        self.in_process[opened] = None
        return opened

    def _origins_of(self, records: Sequence[Any], start: int) -> Origins:
        found = []
        for record in records:
            origin = self.contexts.origin_of(record, start)
            if origin is not None:
                found.append((self.telemetry.destinations[record.topic], record.partition, origin))
        return found

    def ended(self, opened: OpenSpan, error: BaseException | None) -> None:
        """End the span of what was open, and measure it; `OpenSpan.end()` calls it, once.

        Args:
            opened: what has ended.
            error: how the processing failed, if it did.
        """
        telemetry, beginning = self.telemetry, opened.beginning
        if beginning is not None:
            opened.beginning = None
            if error is not None:
                telemetry.guard.call("process", None, self._record_failure, opened, beginning, error)
        self.in_process.pop(opened, None)
        opened.ended_at = end = max(opened.start, opened.ended_at)  # the clock may have been set back
        if telemetry.instruments is not None:
            telemetry.guard.call("measure", None, self._measure_end, opened, error)
        if opened.origins:
            earliest = min(origin for *_, origin in opened.origins)
            telemetry.set_attributes(opened.span, lambda: {semconv.PIPELINE_DURATION: since(earliest, end)})
        telemetry.end_span(opened.span, end_time=end)

    def _record_failure(self, opened: OpenSpan, beginning: Beginning, error: BaseException) -> None:
        """Record what has failed and was not sampled, in the trace of the record, or of the first of a batch."""
        if not self._spans.acquire_for_failure(opened.span):
            return
        contexts = [self.contexts.read(record.headers, again=True) for record in beginning.records]
        created = [trace.get_current_span(context).get_span_context() for context in contexts]
        started = self._spans.start_after_failure(opened, beginning.around, created, contexts[0])
        if started is None:
            return
        self.telemetry.end_span(opened.span, end_time=opened.ended_at)
        opened.span = span = started.span
        self.telemetry.record_exception(span, error)
        for event, when in opened.gone:
            span.add_event(event, timestamp=when)
        if opened.batch is not None:
            self._spans.set_batch_attributes(span, opened.start, beginning, started, created)
        else:
            self._spans.set_attributes(span, opened.start, beginning, started.links)

    def end_all(self) -> None:
        """End what is open at the end of the process, also inside a block of a thread that goes on until then."""
        for opened in list(self.in_process):
            opened.is_held = False
            opened.end()

    def restart(self) -> None:
        """Forget what is open, in the child of a fork: it ends in the parent."""
        self.in_process.clear()

    def note_gone(self, partitions: AbstractSet[tuple[str, int]], event: str) -> None:
        """Add an event to the spans of what is in process and was read from partitions that have gone.

        Args:
            partitions: topic and number of each.
            event: its name.
        """
        for opened in list(self.in_process):
            if opened.is_of(partitions):
                now = self.telemetry.now()
                opened.gone = [*opened.gone, (event, now)]
                opened.span.add_event(event, timestamp=now)

    def _measure_begin(
        self,
        destination: Destination,
        partition: int | None,
        span: Span,
        start: int,
        records: Sequence[Any],
        without_context: int,
    ) -> Series | None:
        """Measure how long the record waited that did longest, and return what the metrics carry.

        Args:
            destination: of the records.
            partition: the one partition; None for several.
            span: of their processing.
            start: of it, Unix time in nanoseconds.
            records: one, or a batch.
            without_context: how many of them carry no context.
        """
        try:
            instruments = self.telemetry.instruments
            if instruments is None:
                return None
            series = self._operation.series(destination, partition)
            queues = [queue for queue in (queue_of(record, start) for record in records) if queue is not None]
            if queues:
                series.tally(instruments.queue_duration).record(seconds(max(queues)), span)
            if without_context:
                series.total(instruments.without_context).add(without_context)
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            self.telemetry.guard.contain("measure", error)
            return None
        return series

    def _count_without_context(self, records: Sequence[Any], created: Sequence[SpanContext] | None) -> int:
        """Return how many records of a batch carry no context.

        Args:
            records: the batch.
            created: the creation contexts of those that are traced, where they are known.
        """
        destinations = self.telemetry.destinations
        rest = [record for record in records if created is None or not destinations[record.topic].traced]
        known = sum(not context.is_valid for context in created or ())
        return known + sum(self.contexts.is_without_context(record) for record in rest)

    def _measure_end(self, opened: OpenSpan, error: BaseException | None) -> None:
        """Measure how long the processing took, and how long the pipeline of each record did."""
        instruments = self.telemetry.instruments
        if instruments is None:
            return
        series = opened.series
        if series is None or error is not None:
            series = self._operation.series(opened.destination, opened.partition, error)
        duration = seconds(max(0, opened.ended_at - opened.start))
        series.tally(instruments.process_duration).record(duration, opened.span)
        for destination, partition, origin in opened.origins:
            of_record = self._operation.series(destination, partition, error)
            pipeline = of_record.tally(instruments.pipeline_duration)
            pipeline.record(since(origin, opened.ended_at), opened.span)

    def _read_lags(self) -> Iterable[Reading]:
        if self.history is not None:
            for (topic, partition), lag in list(self.history.lags.items()):
                yield self._place(self.telemetry.destinations[topic], partition), lag

    def _read_ages(self) -> Iterable[Reading]:
        now = clock.now()
        for opened in list(self.in_process):
            yield self._place(opened.destination, opened.partition), seconds(max(0, now - opened.start))

    def _place(self, destination: Destination, partition: int | None) -> Attributes:
        return {
            semconv.MESSAGING_SYSTEM: semconv.SYSTEM_KAFKA,
            **destination.metric_attributes,
            **attributes.of_partition(partition),
            **attributes.of_group(self.telemetry.client),
        }
