"""What is recorded although its context was not sampled: what waited too long, and what failed."""

import itertools
from collections.abc import Iterator

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags

from otelkafka._telemetry import clock, semconv
from otelkafka._telemetry.attributes import Attributes
from otelkafka._telemetry.telemetry import Telemetry


class Limit:
    """Admits so many in each second.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._seconds: dict[int, Iterator[int]] = {}

    def acquire(self) -> bool:
        """Count one more, from any thread, and return whether there was room for it."""
        now = int(clock.monotonic())
        counted = self._seconds.get(now)
        if counted is None:
            for before in list(self._seconds):
                self._seconds.pop(before, None)
            counted = self._seconds.setdefault(now, itertools.count())  # of several threads one is the first
        return next(counted) < self._most


class Sampling:
    """Decides what one client records although its context was not sampled.

    Args:
        telemetry: of the client.

    Attributes:
        errors: whether what fails is recorded.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self.errors = telemetry.options.sample_errors
        self._telemetry = telemetry
        limit = telemetry.options.sample_limit
        self._limits = {reason: Limit(limit) for reason in (semconv.REASON_WAIT, semconv.REASON_ERROR)}

    def acquire(self, reason: str) -> bool:
        """Count one more for this reason, and return whether there was room for it; where not, that is counted, too."""
        if not self._telemetry.may_record:
            return False
        if self._limits[reason].acquire():
            return True
        self._telemetry.drop(semconv.DROPPED_SAMPLE_LIMIT)
        return False

    def acquire_for_failure(self, span: Span) -> bool:
        """Return whether a failure gets a span of its own, as its span is not sampled; if so, it is counted."""
        return self.errors and is_unsampled(span.get_span_context()) and self.acquire(semconv.REASON_ERROR)

    def keep(self, span: Span | None) -> bool:
        """Return whether the sampler followed its parent; a span that it records for its processors alone is ended."""
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
    """Return whether a context is of a trace that is not sampled."""
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
    """Return the attributes of a span that was made after a failure, in the place of `original`."""
    span_id = trace.format_span_id(original.get_span_context().span_id)
    return {semconv.SAMPLED_REASON: semconv.REASON_ERROR, semconv.ORIGINAL_SPAN_ID: span_id}
