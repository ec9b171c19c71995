"""What a browser sees, and where the services' telemetry comes in; it traces nothing itself."""

import gzip
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, abort, redirect, render_template, request
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from werkzeug.wrappers import Response as AnyResponse

from examples.ask.kafka import Watch
from examples.ask.metrics import Metrics
from examples.ask.page.charts import charts
from examples.ask.telemetry import exported_elsewhere, samples_all, sampling
from examples.ask.traces import Traces
from examples.ask.wall import Wall
from examples.ask.waterfall import Waterfall, name_of, seconds, shortened

PROTOBUF = "application/x-protobuf"
PASSED_ON = "traceparent", "tracestate"
SERVICE_SECONDS = 60.0


class Page:
    """The web application of the page.

    Args:
        traces, metrics, wall: what it shows, and what comes in goes there.
        service: the URL of `kafka-producer`, which the form's questions are passed on to.

    Attributes:
        watch: knows whether Kafka answers; None if that is not known yet.
        zipkin: the URL of a Zipkin that has the traces too.
        targets: the addresses at which a Prometheus may scrape the services, by their names.
    """

    def __init__(self, traces: Traces, metrics: Metrics, wall: Wall, service: str) -> None:
        self.traces, self.metrics, self.wall = traces, metrics, wall
        self.watch: Watch | None = None
        self.zipkin: str | None = None
        self.targets: dict[str, str] = {}
        self._service = service
        self.app = Flask(__name__, static_url_path="/static")
        self.app.jinja_env.filters.update(seconds=seconds, shortened=shortened)
        self.app.context_processor(self._everywhere)
        self._add_pages()
        self._add_inlets()

    def service_answers(self) -> bool:
        """Return whether `kafka-producer` is up."""
        try:
            urllib.request.urlopen(f"{self._service}/health", timeout=SERVICE_SECONDS).close()
        except OSError:
            return False
        return True

    def _everywhere(self) -> dict[str, Any]:
        gone = self.watch is not None and not self.watch.answers
        return {
            "kafka_gone": self.watch.servers if self.watch and gone else None,
            "sampling": sampling(),
            "samples_all": samples_all(),
            "elsewhere": exported_elsewhere(),
            "zipkin": self.zipkin,
        }

    def _add_pages(self) -> None:
        route = self.app.add_url_rule
        route("/", "wall", self._wall)
        # After a refused question the browser is there, and looks again.
        route("/questions", "asked", lambda: redirect("/", code=303))
        route("/questions", "ask", self._ask, methods=["POST"])
        route("/traces", "traces", self._list)
        route("/traces/<trace_id>", "trace", self._trace)
        route("/glass", "glass", self._glass)
        route("/metrics", "metrics", lambda: render_template("metrics.html", charts=charts(self.metrics.intervals())))
        route("/targets", "targets", self._targets)

    def _add_inlets(self) -> None:
        route = self.app.add_url_rule
        spans = _otlp(self.traces.receive, ExportTraceServiceResponse().SerializeToString())
        figures = _otlp(self.metrics.receive, ExportMetricsServiceResponse().SerializeToString())
        route("/v1/traces", "otlp_traces", spans, methods=["POST"])
        route("/v1/metrics", "otlp_metrics", figures, methods=["POST"])
        route("/wall/entries", "entries", lambda: _json(self.wall.put), methods=["POST"])
        route("/wall/members", "members", lambda: _json(lambda members: self.wall.assign(**members)), methods=["POST"])

    def _wall(self, error: str | None = None, **form: str) -> str:
        # One that failed may have a trace although its context says no.
        traced = {entry.trace_id for entry in self.wall.entries if entry.sampled or self.traces.get(entry.trace_id)}
        shown = {"entries": self.wall.entries, "traced": traced, "members": self.wall.members}
        return render_template("wall.html", error=error, form=form, **shown)

    def _ask(self) -> Any:
        status, answer = self._answer_of_service()
        if "error" not in answer:
            self.wall.put(answer)
        if request.accept_mimetypes.best == "application/json":
            return answer, status
        if "error" in answer:
            return self._wall(answer["error"], **request.form.to_dict()), status
        return redirect("/", code=303)

    def _answer_of_service(self) -> tuple[int, dict[str, Any]]:
        if self.watch and not self.watch.answers:
            return 503, {"error": "The question was not sent: Kafka is gone. Ask again when it is back."}
        try:
            return self._pass_on(request.get_data())
        except OSError:
            return 503, {"error": "The service kafka-producer does not answer: end the demo and start it again."}

    def _pass_on(self, form: bytes) -> tuple[int, dict[str, Any]]:
        headers = {"content-type": "application/x-www-form-urlencoded"}
        headers |= {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        passed = urllib.request.Request(f"{self._service}/questions", form, headers)
        try:
            with urllib.request.urlopen(passed, timeout=SERVICE_SECONDS) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, json.load(refusal)

    def _list(self) -> str:
        waterfalls = [Waterfall(trace, self.traces.get) for trace in self.traces.all()]
        return render_template("traces.html", waterfalls=waterfalls)

    def _glass(self) -> str:
        against = [trace for trace in self.traces.all() if trace.reason]
        return render_template("glass.html", topics=self.metrics.glass.topics(), against=against, find=self.traces.get)

    def _targets(self) -> list[dict[str, Any]]:
        """Return them in the form of Prometheus's discovery by HTTP."""
        return [{"targets": [at], "labels": {"instance": name}} for name, at in self.targets.items()]

    def _trace(self, trace_id: str) -> Any:
        trace = self.traces.get(trace_id)
        if trace is None:
            return render_template("no_trace.html"), 404
        waterfall = Waterfall(trace, self.traces.get)
        return render_template("trace.html", waterfall=waterfall, trace=trace, find=self.traces.get, name_of=name_of)


def _otlp(receive: Callable[[bytes], None], answer: bytes) -> Callable[[], AnyResponse]:
    def take() -> AnyResponse:
        if request.mimetype != PROTOBUF:
            abort(415, f"send OTLP as {PROTOBUF}: OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
        body = request.get_data()
        try:
            receive(gzip.decompress(body) if request.content_encoding == "gzip" else body)
        except (DecodeError, OSError, EOFError):
            abort(400, "this is no OTLP")
        return Response(answer, content_type=PROTOBUF)

    return take


def _json(receive: Callable[[dict[str, Any]], None]) -> tuple[str, int]:
    try:
        receive(request.get_json())
    except (TypeError, KeyError):
        abort(400, "this is nothing for the wall")
    return "", 204
