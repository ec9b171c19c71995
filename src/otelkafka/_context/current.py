"""The current context: how it is read, replaced and restored, and whether telemetry is suppressed in it."""

from collections.abc import Callable
from typing import Any, Protocol

from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otelkafka._context.sdk import SUPPRESSED, SUPPRESSED_ELSE, context_variable

_variable = context_variable()
get_current = context_api.get_current if _variable is None else _variable.get
"""OpenTelemetry's `get_current()`; where it keeps the context in a context variable, that one's own."""
attach: Callable[[Any], object] = context_api.attach if _variable is None else _variable.set
"""OpenTelemetry's `attach()`, likewise."""


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


class Attached(Context):
    """A context that a span has made current; what the application derives from it is a plain one.

    Attributes:
        opened: the span.
        outside: the context that was current before.
    """

    __slots__ = ("opened", "outside")
    opened: Opened
    outside: Context


def outside_of(attached: Attached) -> Context:
    """Return the context that was current before, and is not of a span that has ended since."""
    outside = attached.outside
    while type(outside) is Attached and outside.opened.ended:
        outside = outside.outside
    return outside


def release_ended(context: Context) -> None:
    """Drop the ended spans outside of `context`: of consumers that take turns, each inside the other, it would grow."""
    while type(context) is Attached:
        context.outside = outside_of(context)
        context = context.outside
