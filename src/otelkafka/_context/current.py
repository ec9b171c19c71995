"""The current context: how it is read, replaced and restored, and whether telemetry is suppressed in it."""

from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Final, Protocol

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, SpanContext, TraceFlags

from otelkafka._context.sdk import SUPPRESSED, SUPPRESSED_ELSE, context_variable

_MOST_ENDED = 3


def is_suppressed() -> bool:
    """Return whether OpenTelemetry's `suppress_instrumentation()` is in force here."""
    current = get_current()
    return bool(current and (current.get(SUPPRESSED) or current.get(SUPPRESSED_ELSE)))


class UnparsedSpan(NonRecordingSpan):
    """A span that records nothing, and whose context is made only when somebody asks for it.

    Args:
        trace_id: as a number or as hexadecimal digits; 0 where there is none.
        span_id: likewise.
        flags: of its context.
        is_remote: whether it is of another process.
        origin: when the pipeline began that it is part of, Unix time in milliseconds; None for no pipeline.
    """

    __slots__ = ("flags", "is_remote", "origin", "span_id", "trace_id")

    def __init__(
        self,
        trace_id: int | bytes,
        span_id: int | bytes,
        flags: int,
        is_remote: bool = False,  # noqa: FBT001, FBT002 (once a record: positional arguments cost less)
        origin: int | None = None,
    ) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.flags = flags
        self.is_remote = is_remote
        self.origin = origin

    def get_span_context(self) -> SpanContext:
        """Return its context."""
        return SpanContext(_number(self.trace_id), _number(self.span_id), self.is_remote, TraceFlags(self.flags))

    _context = property(get_span_context)  # by which the API's own class knows it


def _number(digits: int | bytes) -> int:
    return digits if isinstance(digits, int) else int(digits, 16)


class Opened(Protocol):
    """A span that was made current."""

    ended: bool
    is_held: bool

    def leave(self) -> bool:
        """Restore the context from before it; False where it was not attached, or in another `contextvars.Context`."""


class Attached(Context):
    """A context that a span has made current; what the application derives from it is a plain one.

    Attributes:
        opened: the span.
        outside: the context that was current before.
    """

    __slots__ = ("opened", "outside")
    opened: Opened
    outside: Context


def restored() -> Context:
    """Return the current context, after those are left whose spans ended elsewhere, in another thread for example.

    What was attached in another `contextvars.Context`, of which this one is a copy, stays.
    """
    current = get_current()
    while type(current) is Attached and current.opened.ended and current.opened.leave():
        current = get_current()
    return current


def forget_ended(attached: Attached) -> None:
    """Forget spans outside of a context that have ended long ago: a chain of tasks that each start the next would grow.

    Those that ended last are kept, for the contexts that inherited them.
    """
    for _ in range(_MOST_ENDED):
        outside = attached.outside
        if type(outside) is not Attached or not outside.opened.ended:
            return
        attached = outside
    while type(attached.outside) is Attached and attached.outside.opened.ended:
        attached.outside = attached.outside.outside


class ForeignRuntime:
    """The current context where OpenTelemetry does not keep it in a context variable: ddtrace has a runtime of its own.

    Such a one may keep the span and the baggage alone, hand out another object than it was given, and ignore
    `detach()`: what is current is known by its span, and attached again where leaving had no effect.
    """

    def __init__(self) -> None:
        self._attached: ContextVar[tuple[tuple[Attached, Any], ...]] = ContextVar("otelkafka_attached", default=())

    def get_current(self) -> Context:
        """Return the current context: the object that was attached, where its span is the current one."""
        current, attached = context_api.get_current(), self._attached.get()
        return attached[-1][0] if attached and _ids_of(attached[-1][0]) == _ids_of(current) else current

    def attach(self, context: Context) -> object:
        """Make a context current, or the one current again that was so before, and return what `detach()` wants."""
        attached = self._attached.get()
        while attached and attached[-1][0].opened.ended and attached[-1][0].outside is not context:
            attached = attached[:-1]
        if any(context is each or context is each.outside for each, _ in attached):
            while attached and attached[-1][0] is not context:
                (left, token), attached = attached[-1], attached[:-1]
                context_api.detach(token)
                if left.outside is context:
                    break
            self._attached.set(attached)
            self._ensure(context)
            return None
        with suppress(Exception):
            token = context_api.attach(context)
            if type(context) is Attached:
                self._attached.set((*attached, (context, token)))
            return token
        return None

    def detach(self, token: Any, outside: Context) -> None:
        """Make a context current again that was so before one that is not of an open span."""
        context_api.detach(token)
        self._ensure(outside)

    @staticmethod
    def _ensure(context: Context) -> None:
        if _ids_of(context_api.get_current()) == _ids_of(context):
            return
        if not trace.get_current_span(context).get_span_context().is_valid:  # the API's own object counts as none
            context = trace.set_span_in_context(NonRecordingSpan(INVALID_SPAN_CONTEXT), context)
        with suppress(Exception):
            context_api.attach(context)


def _ids_of(context: Context) -> tuple[int, int]:
    span = trace.get_current_span(context).get_span_context()
    return span.trace_id, span.span_id


_variable, _foreign = context_variable(), ForeignRuntime()
is_variable: Final = _variable is not None
"""Whether OpenTelemetry keeps the current context in a context variable."""
get_current: Callable[[], Context] = _foreign.get_current if _variable is None else _variable.get
"""OpenTelemetry's `get_current()`; where it keeps the context in a context variable, that one's own."""
attach: Callable[[Any], Any] = _foreign.attach if _variable is None else _variable.set
"""OpenTelemetry's `attach()`, likewise."""
detach: Callable[[Any, Any], None] = _foreign.detach
"""Make a context current again where `is_variable` is false; elsewhere it is attached."""
