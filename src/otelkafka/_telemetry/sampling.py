"""Records that waited too long, and failures, which are recorded although their context is not sampled."""

import itertools
from collections.abc import Iterator

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags

from otelkafka._telemetry import clock, semconv
from otelkafka._telemetry.attributes import Attributes
from otelkafka._telemetry.telemetry import Telemetry


class Limit:
    """Admits a limited number in each second.

    Args:
        most: the maximum for one second.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._seconds: dict[int, Iterator[int]] = {}

    def acquire(self) -> bool:
        """Count one, and return whether it is within the limit. Called from any thread."""
        now = int(clock.monotonic())
        counted = self._seconds.get(now)
        if counted is None:
            for before in list(self._seconds):
                self._seconds.pop(before, None)
            counted = self._seconds.setdefault(now, itertools.count())  # of several threads one is the first
        return next(counted) < self._most


class Sampling:
    """Decides what one client records although its context is not sampled.

    Args:
        telemetry: the telemetry of the client.

    Attributes:
        errors: whether failures are recorded.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self.errors = telemetry.options.sample_errors
        self._telemetry = telemetry
        limit = telemetry.options.sample_limit
        self._limits = {reason: Limit(limit) for reason in (semconv.REASON_WAIT, semconv.REASON_ERROR)}

    def acquire(self, reason: str) -> bool:
        """Count one for this reason, and return whether it is within the limit. If not, count it as dropped."""
        if not self._telemetry.may_record:
            return False
        if self._limits[reason].acquire():
            return True
        self._telemetry.drop(semconv.DROPPED_SAMPLE_LIMIT)
        return False

    def acquire_for_failure(self, span: Span) -> bool:
        """Return whether a failure gets an additional span, because its own is not sampled. If so, count it."""
        return self.errors and is_unsampled(span.get_span_context()) and self.acquire(semconv.REASON_ERROR)

    def keep(self, span: Span | None) -> bool:
        """Return whether the sampler followed its parent. If not, end a span that only its processors would see."""
        if span is None or not span.is_recording():
            return False
        if span.get_span_context().trace_flags.sampled:
            return True
        self._telemetry.end_span(span)
        return False

    def count(self, attributes: Attributes, reason: str, records: int = 1) -> None:
        """Count records that were recorded although they are not sampled.

        Args:
            attributes: the attributes of the metric.
            reason: `wait` or `error`.
            records: the number of records that the span covers.
        """
        instruments = self._telemetry.instruments
        if instruments is not None:
            instruments.sampled.of({**attributes, semconv.SAMPLED_REASON: reason}).add(records)


def is_unsampled(context: SpanContext) -> bool:
    """Return whether a context is of a trace that is not sampled."""
    return context.is_valid and not context.trace_flags.sampled


def sampled(context: SpanContext, around: Context | None = None) -> Context:
    """Return a copy of a context with the sampled flag, so that a parent-based sampler records its children.

    Args:
        context: the context to copy.
        around: the context to put it into.
    """
    flags = TraceFlags(context.trace_flags | TraceFlags.SAMPLED)
    parent = SpanContext(context.trace_id, context.span_id, context.is_remote, flags, context.trace_state)
    return trace.set_span_in_context(NonRecordingSpan(parent), Context() if around is None else around)


def why_failed(original: Span) -> Attributes:
    """Return the attributes of a span that was made after a failure and replaces the span `original`."""
    span_id = trace.format_span_id(original.get_span_context().span_id)
    return {semconv.SAMPLED_REASON: semconv.REASON_ERROR, semconv.ORIGINAL_SPAN_ID: span_id}
