"""The process operation of a consumer: it starts the span of a record or a batch, measures it and ends it."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, TypeAlias

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, NonRecordingSpan, Span, SpanContext, SpanKind, Tracer

from otelkafka._consuming.measures import Measures
from otelkafka._consuming.open_span import (
    BareSpan,
    BareSpanWithRandomId,
    Batch,
    Beginning,
    CarriedSpan,
    Loop,
    OpenSpan,
    Origins,
    RecordSpan,
    idle_span,
    innermost,
)
from otelkafka._consuming.process_span import ProcessSpans, Started
from otelkafka._consuming.wait import SLOW, Handover, Processed, WaitHistory
from otelkafka._context.current import UNPARSED, Attached, attach, get_current, is_suppressed
from otelkafka._context.fastpath import FastPath, SampledRoot
from otelkafka._context.origin import keep_earliest, origin_in, since, with_baggage
from otelkafka._context.propagation import Contexts, merge
from otelkafka._context.traceparent import BAGGAGE_KEY, FLAGS, SPAN_KEY, TRACEPARENT
from otelkafka._protocols import Client, MessageBatch, given_of
from otelkafka._telemetry import attributes, clock, lifetime, semconv
from otelkafka._telemetry.api import PROPAGATE, PROPAGATOR, PROVIDER, TRACE
from otelkafka._telemetry.clock import MILLISECOND, NANOSECONDS, seconds
from otelkafka._telemetry.destination import Destination
from otelkafka._telemetry.metrics import Instruments, Reading
from otelkafka._telemetry.operation import Operation
from otelkafka._telemetry.sampling import is_unsampled
from otelkafka._telemetry.telemetry import LOGGED_OF_UNKNOWN, Telemetry
from otelkafka.options import ConsumerOptions

_MOST_OPTIONS = 64
"""How many options given to calls are remembered."""

_Matches: TypeAlias = Callable[[bytes], object]
_new: Callable[[type[BareSpan]], BareSpan] = object.__new__
_new_open: Callable[[type[RecordSpan]], RecordSpan] = object.__new__
_never: Final[_Matches] = re.compile(rb"(?!)").fullmatch


class _Flat:
    """The patterns of a record's only header by which its span is started without further checks.

    Args:
        is_unrecorded: matches the traceparent of a record that is certainly not recorded.
        is_recorded: matches that of a record that most likely is.
        path: whose propagator and provider these patterns hold for.
        kind: the class of the span of a record that is not recorded.
    """

    __slots__ = ("is_recorded", "is_unrecorded", "kind", "propagator", "provider")

    def __init__(self, is_unrecorded: _Matches, is_recorded: _Matches, path: FastPath, kind: type[BareSpan]) -> None:
        self.is_unrecorded = is_unrecorded
        self.is_recorded = is_recorded
        self.propagator = path.propagator
        self.provider = path.provider
        self.kind = kind


class ProcessOperation:
    """The process operation of one consumer.

    Args:
        contexts: the contexts of the consumer; if the consumer is not known, those of calls without a client.
        options: the options of the consumer.
        history: the history of the consumer's time; None where it is not known.

    Attributes:
        in_process: the spans that are open now, as far as they are measured or recorded.
        measures: the measures of what is processed.
    """

    def __init__(self, contexts: Contexts, options: ConsumerOptions, history: WaitHistory | None) -> None:
        self.contexts = contexts
        self.telemetry = contexts.telemetry
        self.options = options
        self.history = history
        self.in_process: dict[OpenSpan, None] = {}
        self._operation = Operation(self.telemetry, "process", semconv.TYPE_PROCESS, SpanKind.CONSUMER)
        self._spans = ProcessSpans(contexts, options, self._operation, history)
        self.measures = Measures(contexts, self._operation)
        self._may_record_late = self._spans.may_record_late
        self._flat: _Flat | None = None
        self._is_plain = options.relation != "link" and options.on_process is None
        self._is_flat = options.relation == "parent" and options.on_process is None and not options.capture_headers
        self.telemetry.on_refresh(self._refresh)
        self.telemetry.on_instruments(self._watch)
        lifetime.end_at_exit(self)

    def _refresh(self) -> None:
        """Choose the patterns of a record whose span is started without further checks."""
        path, self._flat = self.contexts.fast_path, None
        if path is not None and self._is_plain and (path.is_unrecorded or path.is_continued):
            kind = CarriedSpan if path.carries else BareSpanWithRandomId if path.keeps_random else BareSpan
            is_unrecorded = _never if self._may_record_late else path.is_unrecorded or _never
            is_recorded = path.is_continued or _never if self._is_flat else _never
            self._flat = _Flat(is_unrecorded, is_recorded, path, kind)

    def _watch(self, instruments: Instruments) -> None:
        instruments.process_age.watch(self._read_ages)

    def open(  # noqa: C901, PLR0912, PLR0915 (the fast path reads top to bottom)
        self,
        record: Any,
        dispatcher: Loop | None = None,
        handover: Handover | None = None,
        start: int | None = None,
        is_fresh: bool = False,  # noqa: FBT001, FBT002 (once a record: positional arguments cost less)
    ) -> OpenSpan:
        """Start the process span of a record, and make it current.

        Args:
            record: the consumed record.
            dispatcher: ends the span when the next record is read; None if a context manager does.
            handover: when the client returned it; None if that was noted at the time.
            start: when its processing starts, Unix time in nanoseconds; None for now.
            is_fresh: whether the client returned it just now.

        Returns:
            An open span, which does nothing if telemetry is suppressed or fails.
        """
        try:
            ambient, telemetry = get_current(), self.telemetry
            if ambient and is_suppressed():
                return idle_span(record, dispatcher)
            if start is None:
                start = clock.now()
                telemetry.refresh(start)
            destination, headers, flat = telemetry.destinations[record.topic], record.headers, self._flat
            if is_fresh:
                destination.last_offsets[record.partition] = record.offset
            parent = name = None
            if flat is not None and destination.traced and (type(headers) is list or type(headers) is tuple):
                try:
                    (header,) = headers
                    if type(header) is tuple:
                        name, parent = header
                except ValueError:  # none, or more, or no pair
                    pass
            if (
                name == TRACEPARENT
                and type(parent) is bytes
                and flat is not None
                and PROPAGATE[PROPAGATOR] is flat.propagator
                and TRACE[PROVIDER] is flat.provider
            ):
                if flat.is_unrecorded(parent) is not None:
                    unrecorded = _new(flat.kind)
                    unrecorded.traceparent = parent
                    unrecorded.operation = self
                    unrecorded.record = record
                    unrecorded.dispatcher = dispatcher
                    unrecorded.start = start
                    if telemetry.instruments is not None:
                        unrecorded.is_bare = False
                        try:
                            partition = record.partition
                            place = destination.places.get(partition)
                            if place is None or place.instruments is not telemetry.instruments or place.series.is_stale:
                                place = self.measures.place_of(destination, partition)
                            unrecorded.place = place
                            timestamp = record.timestamp
                            if place.queue is not None and timestamp is not None and timestamp >= 0:
                                wait = start - timestamp * MILLISECOND
                                place.queue.add(wait / NANOSECONDS if wait > 0 else 0.0)
                        except Exception as error:  # noqa: BLE001 (its context goes on)
                            telemetry.guard.contain("measure", error)
                        self.in_process[unrecorded] = None
                    outer = innermost.get()
                    if (outer is not None and (not outer.ended or outer.outer is not None)) or (
                        ambient and type(ambient) is Attached
                    ):
                        return unrecorded.attach({**ambient, SPAN_KEY: unrecorded}, ambient)
                    innermost.set(unrecorded)
                    unrecorded.is_alone = True
                    attached = Attached({**ambient, SPAN_KEY: unrecorded} if ambient else {SPAN_KEY: unrecorded})
                    attached.opened, attached.outside = unrecorded, ambient
                    unrecorded.token = attach(attached)
                    return unrecorded
                if flat.is_recorded(parent) is not None and SPAN_KEY not in ambient and BAGGAGE_KEY not in ambient:
                    return self._open_continued(
                        record, dispatcher, destination, start, ambient, handover, is_fresh, parent
                    )
            return self._open_unless_certain(record, dispatcher, destination, start, ambient, handover, is_fresh)
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            self.telemetry.guard.contain("process", error)
            return idle_span(record, dispatcher)

    def _open_continued(  # noqa: C901 (as `open()`)
        self,
        record: Any,
        dispatcher: Loop | None,
        destination: Destination,
        start: int,
        ambient: Context,
        handover: Handover | None,
        is_fresh: bool,  # noqa: FBT001 (passed on)
        traceparent: bytes,
    ) -> OpenSpan:
        """Start the span of a record that continues a sampled trace: the result of `_open()`, in few calls.

        Args:
            record: the consumed record.
            dispatcher: as for `open()`.
            destination: its topic.
            start: when its processing starts, Unix time in nanoseconds.
            ambient: the context around.
            handover: as for `open()`.
            is_fresh: as for `open()`.
            traceparent: its one header, whose context is valid.
        """
        telemetry, partition, history = self.telemetry, record.partition, self.history
        instruments = telemetry.instruments
        place = destination.places.get(partition)
        if place is None or place.instruments is not instruments or place.series.is_stale:
            place = self.measures.place_of(destination, partition)
        given = dict(place.known.attributes)
        links: Sequence[Link] = ()
        attended = highwater = None
        taken = start if handover is None else handover.time
        try:
            if is_fresh:
                highwater = telemetry.client.highwater(record.topic, partition)
            elif handover is not None or (history is not None and (handover := history.handover_of(record))):
                taken, highwater = handover
            if history is not None:
                attended = history.attended.get((record.topic, partition), history.since)
            links = self._spans.describe(given, record, start, taken, highwater, attended)
        except Exception as error:  # noqa: BLE001 (the span goes on without)
            telemetry.guard.contain("process", error)
        parent = SpanContext(int(traceparent[3:35], 16), int(traceparent[36:52], 16), True, FLAGS[traceparent[53:]])
        around = Context({**ambient, SPAN_KEY: NonRecordingSpan(parent)})
        try:
            span: Span = telemetry.tracer.start_span(
                place.known.span_name, around, SpanKind.CONSUMER, given, links, start
            )
        except Exception as error:  # noqa: BLE001 (likewise)
            telemetry.guard.contain("start_span", error)
            return idle_span(record, dispatcher)
        opened = _new_open(RecordSpan)
        opened.operation, opened.record, opened.dispatcher = self, record, dispatcher
        opened.start, opened.span = start, span
        if instruments is not None:
            try:
                timestamp = record.timestamp
                if place.queue is not None and timestamp is not None and timestamp >= 0:
                    place.queue.record(max(0, start - timestamp * MILLISECOND) / NANOSECONDS, span)
            except Exception as error:  # noqa: BLE001 (likewise)
                telemetry.guard.contain("measure", error)
            opened.place = place
        if self.options.sample_errors and is_unsampled(span.get_span_context()):
            opened.parent = parent
            opened.beginning = Beginning(start, [record], ambient, Handover(taken, highwater))
            self._spans.note_beginning(opened.beginning)
        self.in_process[opened] = None
        return opened.attach({**ambient, SPAN_KEY: span}, ambient)

    def _open_unless_certain(
        self,
        record: Any,
        dispatcher: Loop | None,
        destination: Destination,
        start: int,
        ambient: Context,
        handover: Handover | None,
        is_fresh: bool,  # noqa: FBT001 (passed on)
    ) -> OpenSpan:
        """Start the span of a record without the SDK if it is certainly not recorded, else by `_open()`.

        Args:
            record: the consumed record.
            dispatcher: as for `open()`.
            destination: its topic.
            start: when its processing starts, Unix time in nanoseconds.
            ambient: the context around.
            handover: as for `open()`.
            is_fresh: as for `open()`.
        """
        telemetry, partition = self.telemetry, record.partition
        fast_path = self.contexts.fast_path
        tracer = reason = beginning = None
        if fast_path is not None and self._is_plain and destination.traced:
            span: Any = fast_path.start_process(record.headers, ambient, start)
            if type(span) is SampledRoot:
                tracer = span.tracer()
            elif span is not None:
                if self._may_record_late:
                    reason = self._spans.reason_for(record, start, span)
                    if self.options.sample_errors:
                        beginning = Beginning(start, [record], ambient, handover, is_fresh=is_fresh)
                        self._spans.note_beginning(beginning)
                if reason is None:
                    context: Mapping[str, object] = {**ambient, SPAN_KEY: span} if ambient else {SPAN_KEY: span}
                    origins: Origins = ()
                    if type(span) in UNPARSED and span.origin is not None:
                        origins = ((destination, partition, span.origin),)
                        context = with_baggage(context, span.origin)
                    opened = self._opened(record, dispatcher, destination, partition, start, span)
                    opened.offset, opened.origins, opened.beginning = record.offset, origins, beginning
                    if telemetry.instruments is not None:
                        starts_trace = type(span) not in UNPARSED or type(span.trace_id) is int
                        opened.place = self.measures.begin(
                            destination, partition, span, start, [record], int(starts_trace)
                        )
                        self.in_process[opened] = None
                    return opened.attach(context, ambient)
        return self._open(record, dispatcher, destination, start, ambient, handover, is_fresh, reason, tracer)

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
        """Start the span of a record with all checks.

        Args:
            record: the consumed record.
            dispatcher: as for `open()`.
            destination: its topic.
            start: when its processing starts, Unix time in nanoseconds.
            ambient: the context around.
            handover: as for `open()`.
            is_fresh: as for `open()`.
            reason: why it is recorded although its context was not sampled, if that is known already.
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
        current = started = beginning = place = None
        if destination.traced:
            about = Beginning(start, [record], ambient, handover, is_fresh=is_fresh)
            started = self._spans.start(
                record, destination, start, ambient, created, context, about, reason=reason, tracer=tracer
            )
            if started is None:
                return idle_span(record, dispatcher)
            span = started.span
            try:
                if self.options.sample_errors and is_unsampled(span.get_span_context()):
                    beginning = about
                    self._spans.note_beginning(about)
                if self.options.on_process is not None:
                    telemetry.call_hook("on_process", self.options.on_process, span, given_of(record))
            except BaseException as error:  # an interrupt in the user's code, which passes: no one else has the span
                telemetry.end_span(span, error)
                raise
            context = trace.set_span_in_context(span, context)
        else:
            current = trace.get_current_span(context)
        if telemetry.instruments is not None:
            without = int(not created.is_valid)
            place = self.measures.begin(destination, record.partition, span, start, [record], without)
        opened = self._opened(record, dispatcher, destination, record.partition, start, span)
        opened.offset, opened.origins, opened.beginning, opened.place = record.offset, origins, beginning, place
        opened.current, opened.parent = current, None if started is None else started.parent
        self.in_process[opened] = None
        return opened.attach(context, ambient)

    def open_batch(self, records: Sequence[Any], given: object = None) -> OpenSpan:
        """Start the process span of a batch, and make it current. Its context has no record's baggage.

        Args:
            records: the batch.
            given: the object that the caller uses as the batch; its span is found by it.
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
        partitions = _partitions_of(records)
        traced: Sequence[Any] = records
        if not all(telemetry.destinations[topic].traced for topic, _ in partitions):
            traced = [record for record in records if telemetry.destinations[record.topic].traced]
        shown = traced or records
        if shown is not records:
            partitions = _partitions_of(shown)
        destination = telemetry.destinations.of({topic for topic, _ in partitions})
        partition = next(iter(partitions))[1] if len(partitions) == 1 else None
        origins: Origins = ()
        context = ambient
        if self.options.pipeline_time:
            origins = self._origins_of(records, start)
            around = origin_in(ambient, start, telemetry.drop)
            context = keep_earliest(ambient, around, *(origin for *_, origin in origins))
        span: Span = INVALID_SPAN
        started: Started | None = None
        beginning = place = None
        about = Beginning(start, traced, ambient, is_batch=True)
        if traced:
            started = self._spans.start_batch(destination, partition, start, context, about)
            if started is None:
                return idle_span(given)
            span = started.span
            if self.options.sample_errors and is_unsampled(span.get_span_context()):
                beginning = about
                telemetry.guard.call("process_batch", None, self._spans.note_beginning, about)
            context = trace.set_span_in_context(span, context)
        if telemetry.instruments is not None:
            without = telemetry.guard.call("measure", 0, self.measures.count_without_context, records, about.created)
            place = self.measures.begin(destination, partition, span, start, records, without)
        opened = self._opened(given, None, destination, partition, start, span)
        opened.batch, opened.origins = Batch(len(shown), partitions), origins
        opened.beginning, opened.place = beginning, place
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

    def ended(self, opened: OpenSpan, error: BaseException | None) -> None:  # noqa: C901 (as `open()`)
        """End an open span, and measure it. It is called once for each.

        Args:
            opened: the open span.
            error: how the processing failed, if it did.
        """
        telemetry, history, place = self.telemetry, self.history, opened.place
        self.in_process.pop(opened, None)
        start, end = opened.start, opened.ended_at
        if end < start:  # the clock was set back
            end = opened.ended_at = start
        try:
            if opened.beginning is not None or opened.origins or error is not None:
                self._finish(opened, error)
            elif telemetry.instruments is not None:
                if place is None or place.duration is None or place.instruments is not telemetry.instruments:
                    self.measures.end(opened, None)
                elif type(opened.span) in UNPARSED:
                    place.duration.add((end - start) / NANOSECONDS)
                else:
                    place.duration.record((end - start) / NANOSECONDS, opened.span)
            if history is not None and (
                end - start >= SLOW or end >= history.processes.next or opened.batch is not None
            ):
                self._note(history, opened, end)
            elif history is not None:
                history.processed += 1
        except Exception as failure:  # noqa: BLE001 (whatever it is, the application must not get it)
            telemetry.guard.contain("measure", failure)
        finally:
            if not opened.is_bare:
                try:
                    opened.span.end(end)
                except Exception as failure:  # noqa: BLE001 (likewise)
                    telemetry.guard.contain("end_span", failure)

    def _finish(self, opened: OpenSpan, error: BaseException | None) -> None:
        """Record and measure what failed, or is part of a pipeline."""
        telemetry, beginning = self.telemetry, opened.beginning
        opened.beginning = None
        if beginning is not None and error is not None:
            telemetry.guard.call("process", None, self._record_failure, opened, beginning, error)
        if telemetry.instruments is not None:
            telemetry.guard.call("measure", None, self.measures.end, opened, error)
        if opened.origins:
            took = since(min(origin for *_, origin in opened.origins), opened.ended_at)
            telemetry.set_attributes(opened.span, lambda: {semconv.PIPELINE_DURATION: took})

    def _note(self, history: WaitHistory, opened: OpenSpan, end: int) -> None:
        """Note what was processed, for the records that waited at that time."""
        place = opened.destination, opened.partition, opened.offset
        records = None if opened.batch is None else opened.batch.count
        span = opened.current or opened.span
        if type(span) not in UNPARSED:  # not with its attributes and links
            span = NonRecordingSpan(span.get_span_context())
        history.note_processed(Processed(opened.start, end, span, *place, records))

    def _record_failure(self, opened: OpenSpan, beginning: Beginning, error: BaseException) -> None:
        """Record a failure that was not sampled, in the trace of the record, or of the first record of a batch."""
        if not self._spans.acquire_for_failure(opened.span):
            return
        contexts = [self.contexts.read(record.headers, again=True) for record in beginning.records]
        beginning.created = [trace.get_current_span(context).get_span_context() for context in contexts]
        started = self._spans.start_after_failure(opened, beginning, contexts[0])
        if started is None:
            return
        self.telemetry.end_span(opened.span, end_time=opened.ended_at)
        opened.span = span = started.span
        self.telemetry.record_exception(span, error)
        for event, when in opened.gone:
            span.add_event(event, timestamp=when)

    def end_all(self) -> None:
        """End the open spans at the end of the process, also those of a thread's block that is still running."""
        for opened in list(self.in_process):
            opened.is_held = False
            opened.close()

    def restart(self) -> None:
        """Forget the open spans in the child of a fork: they end in the parent."""
        self.in_process.clear()

    def note_gone(self, partitions: AbstractSet[tuple[str, int]], event: str) -> None:
        """Add an event to the open spans of records from partitions that were revoked or lost.

        Args:
            partitions: topic and number of each.
            event: its name.
        """
        for opened in list(self.in_process):
            if opened.is_of(partitions):
                now = self.telemetry.now()
                opened.gone = [*opened.gone, (event, now)]
                opened.span.add_event(event, timestamp=now)

    def _read_ages(self) -> Iterable[Reading]:
        now = clock.now()
        for opened in list(self.in_process):
            place = attributes.of_place(opened.destination.metric_attributes, opened.partition, self.telemetry.client)
            yield place, seconds(max(0, now - opened.start))


def _partitions_of(records: Sequence[Any]) -> set[tuple[str, int]]:
    """Return topic and number of each partition of a batch."""
    if type(records) is MessageBatch:
        return set(records.places)
    return {(record.topic, record.partition) for record in records}


class ProcessOperations:
    """The process operations of one consumer, or of unknown consumers, by the options that calls give.

    Args:
        client: the consumer; None where it is not known.
        history: the history of its time; None if it is not known.
    """

    def __init__(self, client: Client | None = None, history: WaitHistory | None = None) -> None:
        self._client = client
        self._history = history
        self._made: dict[object, ProcessOperation] = {}

    def under(self, options: ConsumerOptions, logged: set[tuple[str, str]] | None = None) -> ProcessOperation:
        """Return the one operation under these options.

        Args:
            options: the options of a call.
            logged: the kinds of failure that were logged before.
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
