"""What a test of traced code needs: recorders of spans and metrics, and a tree as text. It needs the extra `sdk`."""

from collections.abc import Sequence
from time import monotonic, sleep
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, Metric
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

_POLL_SECONDS = 0.01
_MILLISECOND = 1_000_000


class SpanRecorder:
    """Keeps the spans that end: give its `tracer_provider` to the options.

    Args:
        sampler: decides which spans are recorded; None for all.
    """

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, in that order."""
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans of this name that have ended."""
        return [span for span in self.spans if span.name == name]

    def wait_for(self, name: str, count: int = 1, timeout: float = 10) -> list[ReadableSpan]:
        """Wait until so many spans of this name have ended: a send's ends on the producer's own thread.

        Args:
            name: the name of the spans.
            count: how many.
            timeout: how long to wait for them, in seconds.

        Raises:
            AssertionError: they did not end in time; the message has the tree of those that did.
        """
        until = monotonic() + timeout
        while len(found := self.named(name)) < count:
            if monotonic() > until:
                there = span_tree(self.spans)
                msg = f"{len(found)} of {count} spans {name!r} ended within {timeout} s; there are:\n{there}"
                raise AssertionError(msg)
            sleep(_POLL_SECONDS)
        return found

    def clear(self) -> None:
        """Forget the spans recorded so far."""
        self._exporter.clear()


class MetricRecorder:
    """Collects metrics when it is asked: give its `meter_provider` to the options."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics that have data now, by name."""
        data = self._reader.get_metrics_data()
        scopes = [scope for resource in (data.resource_metrics if data else ()) for scope in resource.scope_metrics]
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name: str) -> list[tuple[dict[str, Any], float]]:
        """Return the attributes and the value of each data point of a metric; of a histogram, its count."""
        metric = self.metrics.get(name)
        points: Any = metric.data.data_points if metric else ()
        return [
            (dict(point.attributes or {}), point.count if isinstance(point, HistogramDataPoint) else point.value)
            for point in points
        ]


def span_tree(spans: Sequence[ReadableSpan]) -> str:
    """Return spans as an indented tree, each with when it started in its trace and how long it took.

    Args:
        spans: of one or more traces.

    Returns:
        A line a span; a trace's spans below their parents, in order of their start.
    """
    ordered = sorted(spans, key=lambda span: span.start_time or 0)
    known = {span.context.span_id for span in ordered}
    roots = [span for span in ordered if span.parent is None or span.parent.span_id not in known]
    return "\n".join(line for root in roots for line in _branch(root, ordered, root.start_time or 0, 0))


def _branch(span: ReadableSpan, spans: Sequence[ReadableSpan], origin: int, depth: int) -> list[str]:
    start, end = span.start_time or 0, span.end_time or 0
    times = f"{(start - origin) / _MILLISECOND:9.1f} ms {(end - start) / _MILLISECOND:9.1f} ms"
    failed = "" if span.status.is_ok else f"  ERROR {span.status.description or ''}"
    lines = [f"{times}  {'  ' * depth}{span.name}{failed}"]
    for child in spans:
        if child.parent is not None and child.parent.span_id == span.context.span_id:
            lines += _branch(child, spans, origin, depth + 1)
    return lines
