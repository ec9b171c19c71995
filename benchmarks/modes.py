"""How a service configures OpenTelemetry: the modes under which everything is measured."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

MODES = ("no-sdk", "never", "ratio", "always")
ONE_IN = 10_000
OF_AIOKAFKA = {"send": 10_000, "async for": 30_000, "getmany": 30_000}
"""What is measured of aiokafka, and the records of a round on a Kafka."""


def configure(mode: str) -> Callable[[], Any]:
    """Configure tracing, with a batch processor and an exporter that drops all; nothing in mode "no-sdk".

    Returns:
        What waits until the processor has exported what it has.
    """
    if mode == "no-sdk":
        return lambda: None
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 (the first mode is without an SDK)
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import (  # noqa: PLC0415
        ALWAYS_OFF,
        ALWAYS_ON,
        ParentBased,
        ParentBasedTraceIdRatio,
    )

    class Nowhere(SpanExporter):
        """Exports nothing."""

        def export(self, spans: Sequence[Any]) -> SpanExportResult:
            """Take them."""
            return SpanExportResult.SUCCESS

    samplers = {"never": ParentBased(ALWAYS_OFF), "ratio": ParentBasedTraceIdRatio(1 / ONE_IN), "always": ALWAYS_ON}
    provider = TracerProvider(sampler=samplers[mode])
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    trace.set_tracer_provider(provider)
    return provider.force_flush


def meters() -> "tuple[MeterProvider, InMemoryMetricReader]":
    """Return a meter provider, and what reads it when it is asked."""
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 (not where metrics are off)
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415

    reader = InMemoryMetricReader()
    return MeterProvider([reader]), reader
