"""Spans that are current while the application's code runs, and how they give way again."""

from collections.abc import Callable, Iterator
from contextvars import ContextVar, Token
from time import time_ns
from typing import Any

from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span

from otelkafka.telemetry import Telemetry


class OpenSpan:
    """A process span from its start to its end, which may be current in one `contextvars.Context`.

    Args:
        telemetry: of the client whose span it is.
        span: the span; by default one that records nothing and becomes current nowhere.
        record: the record that is processed; None for a batch.
        owner: the dispatcher that ends it; None where a context manager does.
        on_end: called before it ends, with the Unix time in nanoseconds and the error of the processing, if any.
    """

    __slots__ = (
        "_failure",
        "_mark",
        "_on_end",
        "_outside",
        "_telemetry",
        "ended",
        "outer",
        "owner",
        "record",
        "span",
    )

    def __init__(
        self,
        telemetry: Telemetry,
        span: Span = INVALID_SPAN,
        record: Any = None,
        owner: object = None,
        on_end: Callable[[int, BaseException | None], None] | None = None,
    ) -> None:
        self._telemetry = telemetry
        self.span = span
        self.record = record
        self.owner = owner
        self.ended = False
        self.outer: OpenSpan | None = None
        self._on_end = on_end
        self._failure: BaseException | None = None
        self._mark: Token[OpenSpan | None] | None = None
        self._outside = Context()

    def attach(self, context: Context) -> None:
        """Make `context` current, and this the innermost of the open spans here."""
        self.outer = _live(_innermost.get())
        self._mark = _innermost.set(self)
        self._outside = context_api.get_current()
        context_api.attach(_Attached(context, self))

    def end(self, error: BaseException | None = None) -> None:
        """End the span, once, and restore the context where it was attached; with no effect on any other."""
        self.leave()
        self._finish(error)

    def end_here(self) -> None:
        """End the span if it was attached in this very context; one that this context inherited goes on."""
        if self.leave():
            self._finish(None)

    def fail(self, error: BaseException) -> None:
        """Record an error of the processing, once, also where it passes through more than one that would record it."""
        if error is not self._failure:
            self._failure = error
            self._telemetry.fail_span(self.span, error)

    def leave(self) -> bool:
        """Restore the context to what it was before this span; False where it was not attached, or elsewhere."""
        if self._mark is None or (_innermost.get() is not self and all(each is not self for each in _spans_here())):
            return False
        try:
            _innermost.reset(self._mark)
        except ValueError:  # attached in another contextvars.Context, of which this one may be a copy
            return False
        self._mark = None
        # What the application has attached since, or left already, is its own affair.
        if _attached_here() is self:
            self.restore()
        return True

    def restore(self) -> None:
        """Make current what was so before this span."""
        context_api.attach(self._outside)

    def _finish(self, error: BaseException | None) -> None:
        if self.ended:
            return
        self.ended = True
        if error is not None:
            self.fail(error)
        now, failure = time_ns(), self._failure
        self.record = self._failure = self._mark = None
        if self._on_end is not None:
            self._telemetry.guard.call("process", None, self._on_end, now, failure)
        self._telemetry.end_span(self.span, end_time=now)


_innermost: ContextVar[OpenSpan | None] = ContextVar("otelkafka_innermost_span", default=None)


def open_spans() -> Iterator[OpenSpan]:
    """Yield the spans that are open here, the innermost first."""
    return (each for each in _spans_here() if not each.ended)


def is_any_open() -> bool:
    """Tell whether any span is open here, or was inherited."""
    return _innermost.get() is not None


def leave_ended_spans() -> None:
    """Restore the context from spans that ended elsewhere: an iterator dropped in another thread, say."""
    innermost = _innermost.get()
    if innermost is not None and innermost.ended:
        _innermost.set(_live(innermost))
    while (attached := _attached_here()) is not None and attached.ended:
        attached.restore()


class _Attached(Context):
    """A context that a span has made current; what the application derives from it is a plain one."""

    def __init__(self, context: Context, opened: OpenSpan) -> None:
        super().__init__(context)
        self.opened = opened


def _attached_here() -> OpenSpan | None:
    current = context_api.get_current()
    return current.opened if isinstance(current, _Attached) else None


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
