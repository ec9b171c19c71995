"""What is recorded against its context, which was not sampled: what waited too long, and what failed."""

import itertools
from collections.abc import Iterator
from time import monotonic

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags

from otelkafka import semconv
from otelkafka.attributes import Attributes
from otelkafka.options import Options
from otelkafka.telemetry import Telemetry


class Limit:
    """Admits so many in each second.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._seconds: dict[int, Iterator[int]] = {}

    def admits(self) -> bool:
        """Tell whether there is room for one more, from any thread."""
        now = int(monotonic())
        counted = self._seconds.get(now)
        if counted is None:
            for before in list(self._seconds):
                self._seconds.pop(before, None)
            counted = self._seconds.setdefault(now, itertools.count())  # of several threads one is the first
        return next(counted) < self._most


class Sampling:
    """Decides what one client records against its context.

    Args:
        telemetry: of the client.
        options: of the client.

    Attributes:
        errors: whether what fails is recorded.
    """

    def __init__(self, telemetry: Telemetry, options: Options) -> None:
        self.errors = options.sample_errors
        self._telemetry = telemetry
        self._limits = {reason: Limit(options.sample_limit) for reason in (semconv.REASON_WAIT, semconv.REASON_ERROR)}

    def admits(self, reason: str) -> bool:
        """Tell whether there is room for one more; where there is none, that is counted."""
        if not self._telemetry.records:
            return False
        if self._limits[reason].admits():
            return True
        self._telemetry.drop(semconv.DROPPED_SAMPLE_LIMIT)
        return False

    def admits_failure(self, span: Span) -> bool:
        """Tell whether what has failed is to be told by a span of its own, as the one that it had is not sampled."""
        return self.errors and is_unsampled(span.get_span_context()) and self.admits(semconv.REASON_ERROR)

    def accepts(self, span: Span | None) -> bool:
        """Tell whether the sampler followed its parent; a span that it records for its processors alone is ended."""
        if span is None or not span.is_recording():
            return False
        if span.get_span_context().trace_flags.sampled:
            return True
        self._telemetry.end_span(span)
        return False

    def count(self, attributes: Attributes, reason: str, records: int = 1) -> None:
        """Count what has been recorded.

        Args:
            attributes: of its metrics.
            reason: why: `wait` or `error`.
            records: how many the span is of.
        """
        instruments = self._telemetry.instruments
        if instruments is not None:
            instruments.sampled.of({**attributes, semconv.SAMPLED_REASON: reason}).add(records)


def is_unsampled(context: SpanContext) -> bool:
    """Tell whether a context is of a trace that is not sampled."""
    return context.is_valid and not context.trace_flags.sampled


def sampled(context: SpanContext, around: Context | None = None) -> Context:
    """Return the same context as if it were sampled: a sampler that follows its parent records what continues it.

    Args:
        context: whose flag is set.
        around: what else is in the context.
    """
    flags = TraceFlags(context.trace_flags | TraceFlags.SAMPLED)
    parent = SpanContext(context.trace_id, context.span_id, context.is_remote, flags, context.trace_state)
    return trace.set_span_in_context(NonRecordingSpan(parent), Context() if around is None else around)


def why_failed(original: Span) -> Attributes:
    """Return why a span is there that was made after the failure of what another one stood for."""
    span_id = trace.format_span_id(original.get_span_context().span_id)
    return {semconv.SAMPLED_REASON: semconv.REASON_ERROR, semconv.ORIGINAL_SPAN_ID: span_id}
