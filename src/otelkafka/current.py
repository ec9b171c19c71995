"""Spans that are current while the application's code runs, and how they give way again."""

from collections.abc import Iterator, Mapping
from contextvars import ContextVar, Token
from typing import Any, Protocol

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span

from otelkafka.ambient import attach, get_current
from otelkafka.in_process import Work
from otelkafka.telemetry import Telemetry


class Processing(Protocol):
    """What hears of the end of an open span."""

    telemetry: Telemetry

    def ended(self, work: Work, error: BaseException | None) -> None:
        """Hear of it, and of how the processing failed, if it did; end the span."""


class OpenSpan(Work):
    """A process span from its start to its end, which may be current in one `contextvars.Context`.

    Args:
        processing: hears of its end; None for an open span that does nothing and becomes current nowhere.
        record: the record that is processed; for a batch, the object that the caller has it in.
        owner: the dispatcher that ends it; None where a context manager does.
    """

    span: Span = INVALID_SPAN
    ended = False
    outer: "OpenSpan | None" = None
    _failure: BaseException | None = None
    _mark: "Token[OpenSpan | None] | None" = None

    def __init__(self, processing: Processing | None, record: Any = None, owner: object = None) -> None:
        self._processing = processing
        self.record = record
        self.owner = owner

    def attach(self, context: Mapping[str, object], ambient: Context) -> None:
        """Make `context` current in the place of `ambient`, and this the innermost of the open spans here."""
        outer = _innermost.get(_UNSET)
        if outer is _UNSET:
            _innermost.set(None)  # to go back to a value costs less than to go back to none
        elif outer is not None:
            self.outer = _live(outer)
        self._mark = _innermost.set(self)
        attached = _Attached(context)
        attached.opened, attached.outside = self, ambient
        if type(ambient) is _Attached:
            _let_go(ambient)
        attach(attached)

    def end(self, error: BaseException | None = None, now: int | None = None) -> None:
        """End the span, once, and restore the context where it was attached; with no effect on any other.

        Args:
            error: how the processing failed.
            now: Unix time in nanoseconds; None to look at the clock.
        """
        if self._mark is not None:
            self.leave()
            self._mark = None
        processing = self._processing
        if self.ended or processing is None:
            self.ended, self.record = True, None
            return
        self.ended = True
        self.ended_at = processing.telemetry.now() if now is None else now
        if error is not None:
            self.fail(error)
        self.record = self.owner = self._processing = None
        if self.outer is not None:
            self.outer = _live(self.outer)
        processing.ended(self, self._failure)
        if self._failure is not None:
            self._failure = None

    def end_here(self) -> None:
        """End the span if it was attached in this very context; one that this context inherited goes on."""
        if self.leave():
            self.end()

    def fail(self, error: BaseException) -> None:
        """Record an error of the processing, once, also where it passes through more than one that would record it."""
        if error is not self._failure:
            self._failure = error
            if self._processing is not None:
                self._processing.telemetry.fail_span(self.span, error)

    def leave(self) -> bool:
        """Restore the context to what it was before this span; False where it was not attached, or elsewhere."""
        mark, innermost = self._mark, _innermost.get()
        if mark is None or (innermost is not self and all(each is not self for each in _spans_here())):
            return False
        try:
            _innermost.reset(mark)
        except ValueError:  # attached in another contextvars.Context, of which this one may be a copy
            return False
        self._mark = None
        if innermost is not self:  # what was opened inside goes on
            _innermost.set(innermost)
        # What the application has attached since, or left already, is its own affair.
        current = get_current()
        if type(current) is _Attached and current.opened is self:
            attach(_outside(current))
        return True


_innermost: ContextVar[OpenSpan | None] = ContextVar("otelkafka_innermost_span", default=None)
_UNSET: Any = object()


def open_spans() -> Iterator[OpenSpan]:
    """Yield the spans that are open here, the innermost first."""
    return (each for each in _spans_here() if not each.ended)


def restore(owner: object = None) -> None:
    """End what `owner` has left open here, and restore the context from spans that ended elsewhere.

    A list whose loop goes on leaves a span open; an iterator that was dropped in another thread ends one elsewhere.
    """
    if _innermost.get() is not None:
        for each in open_spans() if owner is not None else ():
            if each.owner is owner:
                each.end_here()
        innermost = _innermost.get()
        if innermost is not None and innermost.ended:
            _innermost.set(_live(innermost))
    current = get_current()
    if type(current) is _Attached and current.opened.ended:
        attach(_outside(current))


class _Attached(Context):
    """A context that a span has made current; what the application derives from it is a plain one."""

    __slots__ = ("opened", "outside")
    opened: OpenSpan
    outside: Context


def _outside(attached: _Attached) -> Context:
    """Return what was current before, and is not of a span that has ended since."""
    outside = attached.outside
    while type(outside) is _Attached and outside.opened.ended:
        outside = outside.outside
    return outside


def _let_go(context: Context) -> None:
    """Let go of what ended outside of `context`: of consumers that take turns, each inside the other, it would grow."""
    while type(context) is _Attached:
        context.outside = _outside(context)
        context = context.outside


def _spans_here() -> Iterator[OpenSpan]:
    each = _innermost.get()
    while each is not None:
        # Ended ones are let go of here, so that a chain of tasks that each start the next does not grow.
        each.outer = _live(each.outer)
        yield each
        each = each.outer


def _live(span: OpenSpan | None) -> OpenSpan | None:
    while span is not None and span.ended:
        span = span.outer
    return span
