"""The current context: how it is read, replaced and restored, and whether telemetry is suppressed in it."""

from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, Token
from random import getrandbits
from typing import Any, Final, NamedTuple, Protocol

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, SpanContext, TraceFlags

from otelkafka._context.sdk import SUPPRESSED, SUPPRESSED_ELSE, context_variable

_MOST_ENDED = 6


def is_suppressed() -> bool:
    """Return whether OpenTelemetry's `suppress_instrumentation()` is active in the current context."""
    current = get_current()
    return bool(current and (current.get(SUPPRESSED) or current.get(SUPPRESSED_ELSE)))


class UnparsedSpan(NonRecordingSpan):
    """A span that records nothing. Its context is made, and its id drawn, when they are first read.

    Attributes:
        trace_id: a number or hexadecimal digits; 0 for none.
        span_id: the same; None if it is not drawn yet.
        flags: the trace flags.
        is_remote: whether the span belongs to another process.
        origin: when its pipeline began, Unix time in milliseconds; None for no pipeline.
    """

    # Defaults of the class, which the fast path does not set.
    span_id: int | bytes | None = None
    flags = 0
    is_remote = False
    origin: int | None = None
    trace_id: int | bytes

    def __init__(
        self,
        trace_id: int | bytes,
        span_id: int | bytes | None,
        flags: int,
        is_remote: bool = False,  # noqa: FBT001, FBT002 (once a record: positional arguments cost less)
        origin: int | None = None,
    ) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.flags = flags
        if is_remote:
            self.is_remote = True
        if origin is not None:
            self.origin = origin

    def get_span_context(self) -> SpanContext:
        """Return its context."""
        span_id = self.span_id
        if span_id is None:
            span_id = self.span_id = draw_span_id()
        return SpanContext(_number(self.trace_id), _number(span_id), self.is_remote, TraceFlags(self.flags))

    _context = property(get_span_context)  # by which the API's own class knows it


UNPARSED: Final[set[type]] = {UnparsedSpan}
"""The classes of such spans: the API's class is an abstract one, of which to ask for instances costs more."""


def draw_span_id() -> int:
    """Draw the id of a new span, as the SDK's own generator does."""
    while not (drawn := getrandbits(64)):
        pass
    return drawn


def _number(digits: int | bytes) -> int:
    return digits if isinstance(digits, int) else int(digits, 16)


class Opened(Protocol):
    """A span that was made current."""

    ended: bool
    is_held: bool
    is_left: bool
    token: Any

    def leave(self) -> bool:
        """Restore the previous context. Return False if it was not attached in this `contextvars.Context`."""


class Attached(Context):
    """A context that was made current for a span. A context that the application derives from it is a plain one.

    Attributes:
        opened: the span.
        outside: the context that was current before.
    """

    __slots__ = ("opened", "outside")
    opened: Opened
    outside: Context


def restored() -> Context:
    """Detach spans that have ended elsewhere, for example in another thread, and return the current context.

    A span that was attached in another `contextvars.Context`, of which this one is a copy, stays attached.
    """
    current = get_current()
    while type(current) is Attached and (current.opened.ended or current.opened.is_left) and current.opened.leave():
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
    if type(attached.outside) is Attached and attached.outside.opened.ended:
        attached.opened.token = None  # it holds them, too
    while type(attached.outside) is Attached and attached.outside.opened.ended:
        attached.outside = attached.outside.outside


class _Entered(NamedTuple):
    """What is attached under a foreign runtime."""

    attached: "Attached | None"
    api: Any
    mark: Token[Any]
    before: Context


class ForeignRuntime:
    """The current context under a runtime other than OpenTelemetry's context variable, for example that of ddtrace.

    Such a runtime may keep only span and baggage, return another object than was attached, and ignore `detach()`. So a
    context is recognized by its span. If `detach()` had no effect, the previous context is attached again.
    """

    def __init__(self) -> None:
        self._last: ContextVar[Attached | None] = ContextVar("otelkafka_attached", default=None)

    def get_current(self) -> Context:
        """Return the current context. If its span is the current one, this is the object that was attached."""
        current, last = context_api.get_current(), self._last.get()
        return last if last is not None and _ids_of(last) == _ids_of(current) else current

    def attach(self, context: Context) -> _Entered:
        """Make a context current, and return the argument for `reset()`."""
        before, last = self.get_current(), self._last.get()
        api = None
        with suppress(Exception):
            api = context_api.attach(context)
        self._ensure(context)
        attached = context if type(context) is Attached else last
        return _Entered(attached, api, self._last.set(attached), before)

    def reset(self, entered: _Entered) -> None:
        """Make a previous context current again.

        Raises:
            ValueError: it was attached in another `contextvars.Context`.
        """
        self._last.reset(entered.mark)
        if entered.api is not None:
            context_api.detach(entered.api)
        self._ensure(entered.before)

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


_variable: Any = context_variable() or ForeignRuntime()
is_variable: Final = isinstance(_variable, ContextVar)
"""Whether OpenTelemetry keeps the current context in a context variable."""
get_current: Callable[[], Context] = _variable.get if is_variable else _variable.get_current
"""OpenTelemetry's `get_current()`; where it keeps the context in a context variable, that one's own."""
attach: Callable[[Any], Any] = _variable.set if is_variable else _variable.attach
"""OpenTelemetry's `attach()`, likewise."""
reset: Callable[[Any], None] = _variable.reset
"""OpenTelemetry's `detach()`, likewise; it raises ValueError in another `contextvars.Context`."""
