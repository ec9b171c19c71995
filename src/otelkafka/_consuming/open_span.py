"""A process span from its start to its end, current while the application's code runs."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanContext

from otelkafka._consuming.wait import Handover
from otelkafka._context.current import (
    UNPARSED,
    Attached,
    UnparsedSpan,
    attach,
    forget_ended,
    get_current,
    reset,
    restored,
)
from otelkafka._context.traceparent import RANDOM, RANDOM_DIGITS
from otelkafka._telemetry import clock, lifetime
from otelkafka._telemetry.destination import Destination
from otelkafka._telemetry.telemetry import Telemetry


@dataclass(slots=True)
class Beginning:
    """What is known when processing begins. A span that is made after a failure needs it, when it may be gone.

    Args:
        start: when processing starts, Unix time in nanoseconds.
        records: the record, or the traced records of a batch.
        ambient: the context around the processing.
        handover: when the client returned the record; None if the client noted that at the time.
        is_batch: whether the records are a batch.
        is_fresh: whether the client returned the record a moment ago.

    Attributes:
        handovers: when the client returned each record; set later.
        attended: since when a consumer could fetch each record; None if that is not known.
        created: the creation contexts of the records; set when they have been read.
    """

    start: int
    records: Sequence[Any]
    ambient: Context
    handover: Handover | None = None
    is_batch: bool = False
    is_fresh: bool = False
    handovers: list[Handover] = field(default_factory=list)
    attended: list[int | None] = field(default_factory=list)
    created: Sequence[SpanContext] | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """The count and the partitions of a batch, which has no single partition and offset.

    Args:
        count: how many records it has.
        partitions: all of their partitions, by topic and number.
    """

    count: int
    partitions: AbstractSet[tuple[str, int]]


Origins = Sequence[tuple[Destination, int | None, int]]
"""Destination and partition of each record that has an origin, and the origin, Unix time in milliseconds."""


class Owner(Protocol):
    """The process operation of a consumer, as its open spans see it."""

    telemetry: Telemetry

    def ended(self, span: "OpenSpan", error: BaseException | None) -> None:
        """End the span and measure it; called by `close()` at most once for each span."""


class Loop(Protocol):
    """What hands over the records of a consumer, as its open spans see it."""

    def end_here(self, opened: "OpenSpan", now: int | None = None) -> None:
        """End the span of the record before, if it was attached in this very context."""


class OpenSpan:
    """The process span of a record or of a batch, which may be current in one `contextvars.Context`.

    Attributes:
        operation: the process operation, which ends the span; None if nothing is recorded.
        record: the record that is processed; for a batch, the object that the caller passed.
        dispatcher: ends the span when the next record is requested; None if a context manager ends it.
        destination: the topic of the record.
        partition: the partition; None if a batch has several.
        offset: the offset of the record; None for a batch.
        start: when processing started, Unix time in nanoseconds.
        span: the span of OpenTelemetry.
        current: the span that is current during processing, if that is the one of the headers and not `span`.
        batch: count and partitions; None for a single record.
        origins: the origins of the records, for the time to glass.
        parent: the parent of the span, if known.
        beginning: what is known at the start; None if nothing can be recorded.
        place: the metric points of its partition; None if nothing is measured.
        ended: whether it has ended.
        ended_at: when it ended.
        failure: the last error that was recorded.
        gone: events for partitions that the consumer has lost during processing, with their times.
        is_alone: whether no other span was open in the context where it was attached.
        is_bare: whether its end records and measures nothing.
        is_held: whether a block is around its processing. Then only the block ends the span.
        is_left: whether it is no longer current in the `contextvars.Context` where it was attached.
        outer: the span that was open in this context before.
        token: restores the previous context; None if the span was not attached, or is detached already.
    """

    # Defaults of the class, which an open span of the fast path does not set.
    ended = is_alone = is_bare = is_held = is_left = False
    batch: Batch | None = None
    beginning: Beginning | None = None
    current: Span | None = None
    failure: BaseException | None = None
    gone: Sequence[tuple[str, int]] = ()
    origins: Origins = ()
    outer: "OpenSpan | None" = None
    parent: SpanContext | None = None
    place: Any = None
    token: Any = None

    operation: Owner | None
    record: Any
    dispatcher: Loop | None
    destination: Destination
    partition: int | None
    offset: int | None
    start: int
    ended_at: int = 0
    span: Span

    def attach(self, context: Mapping[str, object], ambient: Context) -> "OpenSpan":
        """Make a context with the span current, and return self.

        Args:
            context: becomes current.
            ambient: the context that is current now.
        """
        attached = Attached(context)
        attached.opened, attached.outside = self, ambient
        if type(ambient) is Attached and ambient.opened.ended:
            forget_ended(ambient)
        outer = innermost.get()
        if outer is not None and (not outer.ended or outer.outer is not None):
            self.outer = _live(outer)
        self.is_alone = self.outer is None and type(ambient) is not Attached
        innermost.set(self)
        self.token = attach(attached)
        return self

    def close(self, error: BaseException | None = None, now: int | None = None) -> None:
        """End the span, once, and restore the context where it was attached; with no effect on any other.

        Where a block holds it, it does not end: it is not current here any more, unless that block is around this.

        Args:
            error: how the processing failed.
            now: Unix time in nanoseconds; None to read the clock.
        """
        if self.is_held:
            if all(each is not self for each in held.get()) and self.leave():
                restored()
            return
        if self.token is not None and self.leave() and type(get_current()) is Attached:
            restored()
        operation = self.operation
        if self.ended or operation is None:
            self.ended, self.record = True, None
            return
        self.ended = True
        self.ended_at = operation.telemetry.now() if now is None else now
        if error is not None:
            self.fail(error)
        self.dispatcher = None
        if self.outer is not None:
            self.outer = _live(self.outer)
        operation.ended(self, self.failure)
        self.record = self.operation = self.failure = None

    def drop(self) -> None:
        """End the span in a finalizer, and restore the context where it was attached here."""
        if not lifetime.is_collecting():
            self.close()
            restored()  # it may have ended before, in another thread
            return
        now = None
        with suppress(Exception):  # who is given no time reads the clock, and contains its failure
            now = clock.now()
        if self.operation is not None:
            self.operation = _EndedLater(self.operation)
        was_attached = self.token is not None
        self.close(None, now)
        if was_attached and self.token is None:  # who is interrupted here may come back to this context
            self.token = attach(get_current())

    def fail(self, error: BaseException) -> None:
        """Record an error of the processing, once, also where it passes through more than one that would record it."""
        if error is not self.failure:
            self.failure = error
            if self.operation is not None:
                self.operation.telemetry.record_exception(self.span, error)

    def leave(self) -> bool:
        """Restore the context from before this span; False where it was not attached, or elsewhere."""
        current = get_current()
        if self.token is None:
            return False
        try:
            reset(self.token)
        except (ValueError, RuntimeError):  # attached in another contextvars.Context; another thread is there just now
            return False
        self.is_left = True
        if type(current) is Attached and current.opened is self:
            self.token = None
            current.outside = _NOTHING  # others may have inherited this one, and a chain of tasks would grow
        else:  # what the application has attached since, or what was opened inside, goes on; it may come back here
            self.token = attach(current)
        return True

    def inside(self) -> Attached | None:
        """Return the context of the span that was opened here right inside this one, if that one is still current."""
        current = get_current()
        while type(current) is Attached:
            outside = current.outside
            if type(outside) is Attached and outside.opened is self:
                return current
            current = outside
        return None

    def is_of(self, partitions: AbstractSet[tuple[str, int]]) -> bool:
        """Return whether any of its records came from one of these partitions."""
        if self.batch is not None:
            return bool(self.batch.partitions & partitions)
        return (self.destination.topic, self.partition) in partitions


class RecordSpan(OpenSpan):
    """The process span of a single record."""

    @property
    def destination(self) -> Destination:  # type: ignore[override]
        """Where the record came from."""
        operation, record = self.operation, self.record
        return _NOWHERE if operation is None or record is None else operation.telemetry.destinations[record.topic]

    @property
    def partition(self) -> int | None:  # type: ignore[override]
        """The record's."""
        return None if self.record is None else int(self.record.partition)

    @property
    def offset(self) -> int | None:  # type: ignore[override]
        """The record's."""
        return None if self.record is None else int(self.record.offset)


class BareSpan(UnparsedSpan, RecordSpan):
    """An open span that is also the OpenTelemetry span. Nothing of it is recorded or measured.

    The fast path makes one for each record that is not sampled.

    Attributes:
        traceparent: the header of the record, which is valid.
    """

    is_bare = True
    traceparent: bytes

    @property
    def span(self) -> Span:  # type: ignore[override]
        """Itself."""
        return self

    @property
    def trace_id(self) -> bytes:  # type: ignore[override]
        """The record's."""
        return self.traceparent[3:35]


class BareSpanWithRandomId(BareSpan):
    """A `BareSpan` for an SDK whose trace flags say whether a trace id is random."""

    @property
    def flags(self) -> int:  # type: ignore[override]
        """Whether the trace id is random."""
        return RANDOM if self.traceparent[54] in RANDOM_DIGITS else 0


class CarriedSpan(BareSpan):
    """A `BareSpan` without an SDK. Its ids are those of the record's header."""

    is_remote = True

    @property
    def span_id(self) -> bytes:  # type: ignore[override]
        """The record's."""
        return self.traceparent[36:52]

    @property
    def flags(self) -> int:  # type: ignore[override]
        """The record's."""
        return int(self.traceparent[-2:], 16)


UNPARSED.update((BareSpan, BareSpanWithRandomId, CarriedSpan))


class _EndedLater:
    """The process operation of a span that ends during a garbage collection. It takes no lock until that is over."""

    def __init__(self, operation: Owner) -> None:
        self.telemetry = operation.telemetry
        self._operation = operation

    def ended(self, span: OpenSpan, error: BaseException | None) -> None:
        """End the span and measure it, as soon as the collection is over."""
        lifetime.finish(partial(self._end, span, span.record, error))

    def _end(self, span: OpenSpan, record: Any, error: BaseException | None) -> None:
        span.record, span.operation = record, self._operation
        try:
            self._operation.ended(span, error)
        finally:
            span.record = span.operation = None


innermost: ContextVar[OpenSpan | None] = ContextVar("otelkafka_innermost_span", default=None)
"""The span that was opened last in this context; it may have ended."""
held: ContextVar[tuple[OpenSpan, ...]] = ContextVar("otelkafka_held_spans", default=())
"""The spans that a block around the current code has joined: they were open before it."""
_NOWHERE = Destination(None, None)
_NOTHING = Context()


def idle_span(record: Any = None, dispatcher: Loop | None = None) -> OpenSpan:
    """Return an open span that records nothing and is current nowhere."""
    opened = OpenSpan()
    opened.operation = opened.partition = opened.offset = None
    opened.record, opened.dispatcher, opened.destination = record, dispatcher, _NOWHERE
    opened.start = opened.ended_at = 0
    opened.span = INVALID_SPAN
    return opened


def open_spans() -> Iterator[OpenSpan]:
    """Yield the spans that are open here, the innermost first."""
    return (each for each in _spans_here() if not each.ended)


def start_beside(inside: Attached) -> None:
    """Go on in the context from before a span that has ended, though `inside` was opened inside it and is open still.

    Of consumers that take turns each would open the next span inside the other's, in one trace without an end. It
    stays where a block holds a span since, or the application has attached a context.
    """
    current = get_current()
    while type(current) is Attached and not current.opened.is_held:
        if current is inside:
            around = inside.outside
            if inside.opened.leave():  # else it was attached in another contextvars.Context, of which this is a copy
                inside.opened.token = inside.opened.token or attach(get_current())  # its own loop asks once more
                attach(around)
                restored()
            return
        current = current.outside


def _spans_here() -> Iterator[OpenSpan]:
    each = innermost.get()
    while each is not None:
        # Ended ones are dropped here, so that a chain of tasks that each start the next does not grow.
        each.outer = _live(each.outer)
        yield each
        each = each.outer


def _live(span: OpenSpan | None) -> OpenSpan | None:
    while span is not None and span.ended:
        span = span.outer
    return span
