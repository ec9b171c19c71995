"""The process operation of a consumer: it opens the span of a record or a batch, measures it and ends it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanContext, SpanKind, Tracer

from otelkafka._consuming.open_span import (
    BareSpan,
    BareSpanWithRandomId,
    Batch,
    Beginning,
    CarriedSpan,
    Loop,
    OpenSpan,
    Origins,
    idle_span,
    innermost,
)
from otelkafka._consuming.process_span import ProcessSpans, Started
from otelkafka._consuming.wait import Handover, WaitHistory, queue_of
from otelkafka._context.current import UNPARSED, Attached, attach, get_current, is_suppressed
from otelkafka._context.fastpath import SampledRoot
from otelkafka._context.origin import keep_earliest, origin_in, since, with_baggage
from otelkafka._context.propagation import Contexts, merge
from otelkafka._context.traceparent import SPAN_KEY, TRACEPARENT
from otelkafka._protocols import Client
from otelkafka._telemetry import attributes, clock, lifetime, semconv
from otelkafka._telemetry.api import PROPAGATE, PROPAGATOR, PROVIDER, TRACE
from otelkafka._telemetry.clock import seconds
from otelkafka._telemetry.destination import Destination
from otelkafka._telemetry.metrics import Instruments, Reading
from otelkafka._telemetry.operation import Operation, Series
from otelkafka._telemetry.telemetry import LOGGED_OF_UNKNOWN, Telemetry
from otelkafka.options import ConsumerOptions

_MOST_OPTIONS = 64
"""How many options given to calls are remembered."""

_new: Callable[[type[BareSpan]], BareSpan] = object.__new__


class _Bare(NamedTuple):
    """What a record must look like of which nothing is recorded or measured, and what its open span is.

    Args:
        matches: matches its traceparent, its only header.
        propagator: the global one then.
        provider: the global one then.
        kind: of its open span.
    """

    matches: Callable[[bytes], object]
    propagator: Any
    provider: Any
    kind: type[BareSpan]


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
        self._bare: _Bare | None = None
        self._is_plain = options.relation != "link" and options.on_process is None
        self.telemetry.on_refresh(self._refresh)
        self.telemetry.on_instruments(self._watch)
        lifetime.end_at_exit(self)

    def _refresh(self) -> None:
        """Find out what a record must look like of which nothing is recorded or measured for certain."""
        path, bare = self.contexts.fast_path, None
        is_quiet = self._is_plain and not self._may_record_late and self.telemetry.instruments is None
        if is_quiet and path is not None and path.is_unrecorded is not None:
            kind = CarriedSpan if path.carries else BareSpanWithRandomId if path.keeps_random else BareSpan
            bare = _Bare(path.is_unrecorded, path.propagator, path.provider, kind)
        self._bare = bare

    def _watch(self, instruments: Instruments) -> None:
        self._bare = None
        instruments.process_age.watch(self._read_ages)

    def open(  # noqa: C901, PLR0912, PLR0915 (the fast path reads top to bottom)
        self,
        record: Any,
        dispatcher: Loop | None = None,
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
            destination, bare = telemetry.destinations[record.topic], self._bare
            partition, offset = record.partition, record.offset
            if is_fresh:
                destination.last_offsets[partition] = offset
            if (
                bare is not None
                and destination.traced
                and (type(headers := record.headers) is list or type(headers) is tuple)
                and len(headers) == 1
                and type(header := headers[0]) is tuple
                and len(header) == 2  # noqa: PLR2004 (key and value)
                and header[0] == TRACEPARENT
                and type(parent := header[1]) is bytes
                and bare.matches(parent) is not None
                and PROPAGATE[PROPAGATOR] is bare.propagator
                and TRACE[PROVIDER] is bare.provider
            ):
                unrecorded = _new(bare.kind)
                unrecorded.traceparent = parent
                unrecorded.operation = self
                unrecorded.record = record
                unrecorded.dispatcher = dispatcher
                unrecorded.destination = destination
                unrecorded.partition = partition
                unrecorded.offset = offset
                unrecorded.start = start
                outer = innermost.get()
                if outer is not None and (not outer.ended or outer.outer is not None or type(ambient) is Attached):
                    return unrecorded.attach({**ambient, SPAN_KEY: unrecorded}, ambient)
                innermost.set(unrecorded)
                attached = Attached({**ambient, SPAN_KEY: unrecorded})
                attached.opened, attached.outside = unrecorded, ambient
                unrecorded.token = attach(attached)
                return unrecorded
            fast_path = self.contexts.fast_path
            tracer = reason = beginning = series = None
            if fast_path is not None and self._is_plain and destination.traced:
                span: Any = fast_path.start_process(record.headers, ambient, start)
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
                        if type(span) in UNPARSED and span.origin is not None:
                            origins = ((destination, partition, span.origin),)
                            context = with_baggage(context, span.origin)
                        if telemetry.instruments is not None:
                            starts_trace = type(span) not in UNPARSED or type(span.trace_id) is int
                            place = destination, partition, span, start
                            series = self._measure_begin(*place, [record], int(starts_trace))
                        opened = self._opened(record, dispatcher, destination, partition, start, span)
                        opened.offset, opened.origins, opened.beginning, opened.series = (
                            offset,
                            origins,
                            beginning,
                            series,
                        )
                        if telemetry.instruments is not None:
                            self.in_process[opened] = None
                        return opened.attach(context, ambient)
            return self._open(record, dispatcher, destination, start, ambient, handover, is_fresh, reason, tracer)
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            self.telemetry.guard.contain("process", error)
            return idle_span(record, dispatcher)

    def _open(
        self,
        record: Any,
        dispatcher: Loop | None,
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
            try:
                is_recording = span.is_recording()
                if is_recording or self.options.sample_errors:
                    place = start, [record], ambient, self.predecessor, handover
                    beginning = self._spans.begin(*place, is_fresh=is_fresh)
                    if is_recording:
                        self._spans.set_attributes(span, start, beginning, started.links)
                if self.options.on_process is not None:
                    telemetry.call_hook("on_process", self.options.on_process, span, record)
            except BaseException as error:  # an interrupt in the user's code, which passes: nobody else has the span
                telemetry.end_span(span, error)
                raise
            context = trace.set_span_in_context(span, context)
        else:
            current = trace.get_current_span(context)
        if telemetry.instruments is not None:
            without = int(not created.is_valid)
            series = self._measure_begin(destination, record.partition, span, start, [record], without)
        opened = self._opened(record, dispatcher, destination, record.partition, start, span)
        opened.offset, opened.origins, opened.beginning, opened.series = record.offset, origins, beginning, series
        opened.current, opened.parent = current, None if started is None else started.parent
        self.in_process[opened] = None
        return opened.attach(context, ambient)

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
            try:
                is_recording = span.is_recording()
                if is_recording or self.options.sample_errors:
                    beginning = self._spans.begin(start, traced, ambient, self.predecessor)
                if is_recording and beginning is not None:
                    created = [self.contexts.creation_context(record) for record in traced]
                    self._spans.set_batch_attributes(span, start, beginning, started, created)
            except BaseException as error:  # as for one record
                telemetry.end_span(span, error)
                raise
            context = trace.set_span_in_context(span, context)
        if telemetry.instruments is not None:
            without = telemetry.guard.call("measure", 0, self._count_without_context, records, created)
            series = self._measure_begin(destination, partition, span, start, records, without)
        opened = self._opened(given, None, destination, partition, start, span)
        opened.batch, opened.origins = Batch(len(about), partitions), origins
        opened.beginning, opened.series = beginning, series
        opened.parent = None if started is None else started.parent
        self.in_process[opened] = None
        return opened.attach(context, ambient)

    def _opened(
        self,
        record: object,
        dispatcher: Loop | None,
        destination: Destination,
        partition: int | None,
        start: int,
        span: Span,
    ) -> OpenSpan:
        opened = OpenSpan()
        opened.operation, opened.record, opened.dispatcher = self, record, dispatcher
        opened.destination, opened.partition, opened.offset = destination, partition, None
        opened.start = opened.ended_at = start
        opened.span = span
        return opened

    def _origins_of(self, records: Sequence[Any], start: int) -> Origins:
        found = []
        for record in records:
            origin = self.contexts.origin_of(record, start)
            if origin is not None:
                found.append((self.telemetry.destinations[record.topic], record.partition, origin))
        return found

    def ended(self, opened: OpenSpan, error: BaseException | None) -> None:
        """End the span of what was open, and measure it; `OpenSpan.close()` calls it, once.

        Args:
            opened: what has ended.
            error: how the processing failed, if it did.
        """
        telemetry, beginning = self.telemetry, opened.beginning
        self.in_process.pop(opened, None)
        opened.ended_at = end = max(opened.start, opened.ended_at)  # the clock may have been set back
        try:
            if beginning is not None:
                opened.beginning = None
                if error is not None:
                    telemetry.guard.call("process", None, self._record_failure, opened, beginning, error)
            if telemetry.instruments is not None:
                telemetry.guard.call("measure", None, self._measure_end, opened, error)
            if opened.origins:
                earliest = min(origin for *_, origin in opened.origins)
                telemetry.set_attributes(opened.span, lambda: {semconv.PIPELINE_DURATION: since(earliest, end)})
        finally:
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
            opened.close()

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

    def _read_ages(self) -> Iterable[Reading]:
        now = clock.now()
        for opened in list(self.in_process):
            place = attributes.of_place(opened.destination.metric_attributes, opened.partition, self.telemetry.client)
            yield place, seconds(max(0, now - opened.start))


class ProcessOperations:
    """The process operations of one consumer's records, or of records of unknown ones, under options that calls give.

    Args:
        client: the consumer; None where it is not known.
        history: of its time; None likewise.
    """

    def __init__(self, client: Client | None = None, history: WaitHistory | None = None) -> None:
        self._client = client
        self._history = history
        self._made: dict[object, ProcessOperation] = {}

    def under(self, options: ConsumerOptions, logged: set[tuple[str, str]] | None = None) -> ProcessOperation:
        """Return the one operation under these options.

        Args:
            options: of a call.
            logged: the kinds of failure that were logged of them before.
        """
        key: object = options
        try:
            hash(options)
        except TypeError:  # a propagator or provider of the user's that cannot be hashed: it is known by its identity
            key, logged = id(options), LOGGED_OF_UNKNOWN
        found = self._made.get(key)
        if found is None:
            if len(self._made) >= _MOST_OPTIONS:
                self._made.clear()
            made = ProcessOperation(Contexts(Telemetry(options, self._client, logged)), options, self._history)
            found = self._made.setdefault(key, made)
        return found

    def clear(self) -> None:
        """Forget them."""
        self._made.clear()
