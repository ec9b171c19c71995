"""What both services set up alike: the SDK, exporting by OTLP and, if configured, to Zipkin and Prometheus."""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

ENDPOINTS = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
ZIPKIN = "OTEL_EXPORTER_ZIPKIN_ENDPOINT"
PROMETHEUS_HOST, PROMETHEUS_PORT = "OTEL_EXPORTER_PROMETHEUS_HOST", "OTEL_EXPORTER_PROMETHEUS_PORT"
SAMPLER, SAMPLER_ARGUMENT = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
# Short, because a person waits for the page.
SPANS_EVERY_MS, METRICS_EVERY_MS = 200, 1000


@contextmanager
def telemetry(service: str, instance: str) -> Iterator[None]:
    """Set the global providers up, as the OTEL_ variables say, and export what is left at the end."""
    resource = Resource.create({"service.name": service, "service.instance.id": instance})
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=SPANS_EVERY_MS))
    if ZIPKIN in os.environ:
        from examples.ask.zipkin_exporter import zipkin_exporter  # noqa: PLC0415 - needed with --zipkin only

        tracers.add_span_processor(BatchSpanProcessor(zipkin_exporter(), schedule_delay_millis=SPANS_EVERY_MS))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(), export_interval_millis=METRICS_EVERY_MS)
    with ExitStack() as ends:
        scraped = [_scraped(ends)] if PROMETHEUS_PORT in os.environ else []
        meters = MeterProvider([reader, *scraped], resource=resource)
        trace.set_tracer_provider(tracers)
        metrics.set_meter_provider(meters)
        ends.callback(meters.shutdown)
        ends.callback(tracers.shutdown)
        yield


def _scraped(ends: ExitStack) -> MetricReader:
    """Listen for a Prometheus to the end, and return what answers it."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader  # noqa: PLC0415 - with --prometheus only
    from prometheus_client import start_http_server  # noqa: PLC0415 - the same

    server, thread = start_http_server(int(os.environ[PROMETHEUS_PORT]), os.environ[PROMETHEUS_HOST])
    ends.callback(thread.join)
    ends.callback(server.server_close)
    ends.callback(server.shutdown)
    reader: MetricReader = PrometheusMetricReader()
    return reader


def not_sampled() -> str:
    """Return the header of a caller whose own span was not sampled, as samplers that follow their parent obey it."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


def sampling(environment: Mapping[str, str] = os.environ) -> str:
    """Say in a sentence which traces are sampled, and who decides it."""
    sampler, argument = environment.get(SAMPLER, "").strip().lower(), environment.get(SAMPLER_ARGUMENT, "").strip()
    match sampler.removeprefix("parentbased_"):
        case "" | "always_on":
            what = "Every trace that begins here is sampled"
        case "always_off":
            what = "No trace is sampled"
        case "traceidratio":
            what = f"{_ratio(argument):.0%} of the traces are sampled"
        case _:
            what = "A sampler of its own decides which traces are sampled"
    why = f"{SAMPLER}={sampler}" + (f", {SAMPLER_ARGUMENT}={argument}" if argument else "")
    return f"{what} ({why if sampler else f'{SAMPLER} is not set'})."


def _ratio(argument: str) -> float:
    """Read a ratio as the SDK does, to which what is no number is 1."""
    try:
        return float(argument)
    except ValueError:
        return 1.0


def samples_all(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether no trace is left out."""
    return environment.get(SAMPLER, "").strip().lower() in {"", "always_on", "parentbased_always_on"}


def exported_elsewhere(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return where spans are exported to, if another backend than the page was chosen."""
    return next((environment[name] for name in reversed(ENDPOINTS) if environment.get(name)), None)
