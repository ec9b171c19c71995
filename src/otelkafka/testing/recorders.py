"""Recorders of spans and of metrics."""

import concurrent.futures.thread  # noqa: F401 (see _RESOURCE)
from itertools import count
from time import monotonic, sleep
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, Metric
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler

from otelkafka.testing.tree import span_tree

_POLL_SECONDS = 0.01
_RESOURCE = Resource.get_empty()
"""Given to providers, as to detect one takes longer than many tests.

In the child of a fork a provider detects one nevertheless, in a pool of threads, whose module must have been imported
before: then its lock, which is held while the process forks, is free again by then.
"""


class CountingIdGenerator(IdGenerator):
    """Counts trace ids and span ids from 1, instead of drawing them."""

    def __init__(self) -> None:
        self._traces, self._spans = count(1), count(1)

    def generate_trace_id(self) -> int:
        """Return the number of the next trace."""
        return next(self._traces)

    def generate_span_id(self) -> int:
        """Return the number of the next span."""
        return next(self._spans)


class SpanRecorder:
    """Keeps the spans that have ended. Pass its `tracer_provider` in the options.

    Args:
        sampler: decides which spans are recorded. None for all.
        deterministic: whether trace ids and span ids are counted from 1 instead of being random.

    Attributes:
        tracer_provider: the SDK's, without a resource.
    """

    def __init__(self, sampler: Sampler | None = None, *, deterministic: bool = False) -> None:
        self._exporter = InMemorySpanExporter()
        ids = CountingIdGenerator() if deterministic else None
        self.tracer_provider = TracerProvider(sampler, _RESOURCE, shutdown_on_exit=False, id_generator=ids)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, in that order."""
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans of this name that have ended."""
        return [span for span in self.spans if span.name == name]

    def wait_for(self, name: str, count: int = 1, timeout: float = 10) -> list[ReadableSpan]:
        """Wait until a number of spans with this name have ended. A send span ends in the producer's own thread.

        Args:
            name: the name of the spans.
            count: how many.
            timeout: how long to wait for them, in seconds.

        Raises:
            AssertionError: they did not end in time. The message has the tree of the spans that did.
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
        """Remove the spans recorded so far."""
        self._exporter.clear()


class MetricRecorder:
    """Collects metrics on request. Pass its `meter_provider` in the options.

    Attributes:
        meter_provider: the SDK's, without a resource.
    """

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self._reader], _RESOURCE, shutdown_on_exit=False)

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
