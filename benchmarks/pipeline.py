"""Time to glass of a whole pipeline, and a trace for the slow and the failed, on a real Kafka.

A record goes through three topics and one web service: 100,000 of them, one in a thousand of which came late or fails
at the end. Each mode is a pipeline of its own; they take turns, a thousand records each time. Run as a program it
writes the figures into docs/sampling.md, with its JSON beside it.
"""

import argparse
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from statistics import median
from typing import Any, Final

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from opentelemetry import context as context_api
from opentelemetry import propagate
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBasedTraceIdRatio
from opentelemetry.trace import SpanKind

from benchmarks.page import between
from benchmarks.results import Figures
from benchmarks.run import ROOT, about
from benchmarks.tables import spread, table
from otelkafka import ConsumerOptions, ProducerOptions, wrap_consumer, wrap_producer
from testbroker import Broker, start_broker
from testbroker.wait import PATIENCE

COUNT, CHUNK = 100_000, 1_000
ONE_IN: Final = 100_000
LATE_SECONDS, WAITS_OVER = 60, 30
PAGE, RESULTS = ROOT / "docs" / "sampling.md", ROOT / "docs" / "pipeline.json"
NOTHING, SAMPLED, METERED, MATTER, ALL = MODES = (
    "bare clients",
    "1 in 100,000",
    "1 in 100,000, with metrics",
    "the same, time to glass, slow and failed",
    "everything",
)
SLOW, FAILING = "slow", "failing"
LAST = "c"


class FailedError(Exception):
    """What a failing record ends in."""


class Kept(SpanExporter):
    """Keeps of each trace which keys its records had, and why it is there."""

    def __init__(self) -> None:
        self.spans = 0
        self.reasons: dict[int, set[str]] = {}
        self.keys: dict[int, set[str]] = {}

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Note the traces."""
        for span in spans:
            self.spans += 1
            attributes, context = span.attributes or {}, span.get_span_context()
            trace_id = context.trace_id if context else 0
            self.reasons.setdefault(trace_id, set()).update(_of(attributes.get("otelkafka.sampled.reason")))
            self.keys.setdefault(trace_id, set()).update(_of(attributes.get("messaging.kafka.message.key")))
        return SpanExportResult.SUCCESS

    def keys_of(self, *reasons: str) -> set[str]:
        """Return the keys of what has a trace for just these reasons."""
        found = [self.keys[trace_id] for trace_id, why in self.reasons.items() if why == set(reasons)]
        return set().union(*found)


class Telemetry:
    """What a mode configures.

    Args:
        mode: which.
    """

    def __init__(self, mode: str) -> None:
        self.kept = Kept()
        sampler = ALWAYS_ON if mode == ALL else ParentBasedTraceIdRatio(1 / ONE_IN)
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(BatchSpanProcessor(self.kept, max_queue_size=100_000))
        self.tracer = self.provider.get_tracer("service")
        self._reader: InMemoryMetricReader | None = None
        self.options: dict[str, Any] = {"tracer_provider": self.provider}
        self.consuming: dict[str, Any] = {}
        if mode in (METERED, MATTER):
            self._reader = InMemoryMetricReader()
            self.options["meter_provider"] = MeterProvider([self._reader], shutdown_on_exit=False)
        if mode == MATTER:
            self.options |= {"pipeline_time": True, "sample_errors": True}
            self.consuming = {"sample_waits_over": WAITS_OVER}

    def measured(self) -> dict[str, int]:
        """Return how many pipelines were measured, by the topic that they had come to."""
        data, found = self._reader and self._reader.get_metrics_data(), Counter[str]()
        scopes = [scope for resource in (data.resource_metrics if data else ()) for scope in resource.scope_metrics]
        for metric in (metric for scope in scopes for metric in scope.metrics):
            if metric.name == "otelkafka.pipeline.duration":
                points: Any = metric.data.data_points
                for point in points:
                    found[str(point.attributes["messaging.destination.name"])[-1]] += point.count
        return dict(found)


class Pipeline:
    """Topics a, b and c, and a web service between the first two.

    Args:
        mode: the mode of its clients.
        broker: has the topics.
        port: the port of the web service.
        stack: closes what it opens.
    """

    def __init__(self, mode: str, broker: Broker, port: int, stack: ExitStack) -> None:
        self.at = MODES.index(mode)
        self.is_bare = mode == NOTHING
        self.telemetry = Telemetry(mode)
        self._web = HTTPConnection("127.0.0.1", port)
        stack.callback(self._web.close)
        self._producer: Any = KafkaProducer(**broker.client_options)
        if not self.is_bare:
            self._producer = wrap_producer(self._producer, ProducerOptions(**self.telemetry.options))
        stack.callback(self._producer.close)
        self._consumers = {}
        for topic in ("a", "b", LAST):
            broker.create_topic(self.name(topic))
            self._consumers[topic] = self._consumer(topic, broker)
            stack.callback(self._consumers[topic].close)

    def name(self, topic: str) -> str:
        """Return the whole name of a topic."""
        return f"pipeline-{self.at}-{topic}"

    def _consumer(self, topic: str, broker: Broker) -> Any:
        bare = KafkaConsumer(
            consumer_timeout_ms=int(PATIENCE * 1000), auto_offset_reset="earliest", **broker.client_options
        )
        bare.assign([TopicPartition(self.name(topic), 0)])
        if self.is_bare:
            return bare
        process: Any = "manual" if topic == LAST else "auto"
        return wrap_consumer(
            bare, ConsumerOptions(process=process, **self.telemetry.options, **self.telemetry.consuming)
        )

    def pass_through(self, first: int) -> None:
        """Let a thousand records go all the way."""
        for number in range(first, first + CHUNK):
            self._send("a", *_record(number))
        self._producer.flush()
        for record in self._records("a"):
            self._post(record)
        self._producer.flush()
        for record in self._records("b"):
            self._send(LAST, record.key)
        self._producer.flush()
        consumer = self._consumers[LAST]
        for record in self._records(LAST):
            with suppress(FailedError), nullcontext() if self.is_bare else consumer.process(record):
                if record.key and record.key.startswith(FAILING.encode()):
                    raise FailedError

    def serve(self, headers: Any) -> None:
        """Answer the request of a record by sending it on."""
        with self._span("POST", SpanKind.SERVER, None if self.is_bare else propagate.extract(headers)):
            self._send("b", headers["key"].encode() or None)

    def _post(self, record: Any) -> None:
        headers = {"key": (record.key or b"").decode(), "pipeline": str(self.at)}
        with self._span("POST", SpanKind.CLIENT, None):
            if not self.is_bare:
                propagate.inject(headers)
            self._web.request("POST", "/", b"", headers)
            self._web.getresponse().read()

    @contextmanager
    def _span(self, name: str, kind: SpanKind, context: Any) -> Iterator[None]:
        """Do what the instrumentation of a web service does."""
        if self.is_bare:
            yield
            return
        token = None if context is None else context_api.attach(context)
        try:
            with self.telemetry.tracer.start_as_current_span(name, kind=kind):
                yield
        finally:
            if token is not None:
                context_api.detach(token)

    def _send(self, topic: str, key: bytes | None, timestamp: int | None = None) -> None:
        self._producer.send(self.name(topic), b"v" * 100, key, timestamp_ms=timestamp)

    def _records(self, topic: str) -> Iterator[Any]:
        found = 0
        for record in islice(self._consumers[topic], CHUNK):
            yield record
            found += 1
        if found < CHUNK:
            msg = f"waited {PATIENCE:.0f} s for {CHUNK} records of {self.name(topic)}; seen: {found}"
            raise TimeoutError(msg)


def _record(number: int) -> tuple[bytes | None, int | None]:
    """Return key and timestamp of a record: one in a thousand came late, or fails, in turns."""
    turn, left = divmod(number, CHUNK)
    if left != CHUNK // 2:
        return None, None
    if turn % 2:
        return f"{FAILING}-{turn}".encode(), None
    return f"{SLOW}-{turn}".encode(), int((time.time() - LATE_SECONDS) * 1000)


def _of(value: object) -> set[str]:
    return set() if value is None else {str(value)}


@contextmanager
def web_service() -> Iterator[tuple[int, list[Pipeline]]]:
    """Yield the port of a web service, and the pipelines that it is a part of, to be filled."""
    pipelines: list[Pipeline] = []

    class Service(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            pipelines[int(self.headers["pipeline"])].serve(self.headers)
            self.send_response(204)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1], pipelines
        finally:
            server.shutdown()
            thread.join()


def measure(broker: Broker, count: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Return, for each mode, the CPU time a record by turn in microseconds, and what was recorded of the records."""
    with ExitStack() as stack, web_service() as (port, pipelines):
        pipelines += [Pipeline(mode, broker, port, stack) for mode in MODES]
        taken: dict[str, list[float]] = {mode: [] for mode in MODES}
        for first in range(0, count, CHUNK):
            for mode, pipeline in zip(MODES, pipelines, strict=True):
                start = time.process_time()
                pipeline.pass_through(first)
                pipeline.telemetry.provider.force_flush()  # what is left to export is its own cost
                taken[mode].append(round((time.process_time() - start) / CHUNK * 1e6, 2))
            say(f"{first + CHUNK} records")
        stack.close()
        return {mode: {"cpu": taken[mode], **_found(pipeline)} for mode, pipeline in zip(MODES, pipelines, strict=True)}


def _found(pipeline: Pipeline) -> dict[str, Any]:
    telemetry = pipeline.telemetry
    telemetry.provider.force_flush(120_000)
    kept = telemetry.kept
    by_reason = {"wait": kept.keys_of("wait"), "error": kept.keys_of("error")}
    return {
        "measured": telemetry.measured().get(LAST, 0),
        "slow": len([key for key in by_reason["wait"] if key.startswith(SLOW)]),
        "failed": len([key for key in by_reason["error"] if key.startswith(FAILING)]),
        "others": sum(not why for why in kept.reasons.values()),
        "spans": kept.spans,
    }


def part(found: dict[str, Any]) -> str:
    """Return the table of a run, in Markdown."""
    modes, least = found["modes"], found["modes"][NOTHING]["cpu"]
    head = ("mode", "CPU a record, us", "more than bare", "counted", "traces: slow", "failed", "others", "spans")

    def row(mode: str) -> Iterator[str]:
        figures = modes[mode]
        yield mode
        yield spread(figures["cpu"], 0)
        yield f"{median([own - bare for own, bare in zip(figures['cpu'], least, strict=True)]):.0f}"
        yield from (f"{figures[name]:,}" for name in ("measured", "slow", "failed", "others", "spans"))

    known = found["about"]
    return (
        f"{found['records']:,} records of each mode, {CHUNK:,} in turn, on {known['cores']} cores with Python "
        f"{known['python']}, kafka-python {known['kafka-python']}, opentelemetry-sdk {known['opentelemetry-sdk']}:\n\n"
        f"{table(head, (tuple(row(mode)) for mode in modes))}"
    )


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=COUNT, help="of each mode")
    parser.add_argument("--page", action="store_true", help="write the page from the figures that are there")
    given = parser.parse_args()
    kept = Figures.load(RESULTS)
    if not given.page:
        with start_broker(kind="kafka") as broker:
            modes = measure(broker, given.records, print)
        kept.found = {"records": given.records, "modes": modes, "about": about()}
    print(part(kept.found))
    if given.records == COUNT:
        kept.save(RESULTS)
        PAGE.write_text(between(PAGE.read_text(), "pipeline", part(kept.found), "benchmarks.pipeline"))


if __name__ == "__main__":
    main()
