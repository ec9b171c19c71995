"""What happens when Kafka is gone, and when telemetry goes elsewhere."""

import http.server
import threading

import pytest

from examples.ask.__main__ import QUESTIONS, ask_all
from examples.ask.options import Options
from examples.ask.system import Question, System
from examples.ask.traces import Traces
from testbroker import start_broker
from tests.ask.user import fetch
from tests.support.waiting import PATIENCE, wait_until


@pytest.mark.usefixtures("kafka_itself")
def test_kafka_is_gone_and_comes_back():
    """The page says so in words, refuses questions meanwhile, and goes on by itself."""
    with start_broker("kafka") as kafka, System(Options(work=0.01, fail_every=0), kafka) as system:
        asked = system.ask(Question("Franz", "Before?"))
        assert system.wall.wait_for_answers([(asked["partition"], asked["offset"])], PATIENCE)
        kafka.kill()
        gone = f"Kafka at {kafka.bootstrap_servers} is gone."
        page = lambda: fetch(system.page_url)[1]
        wait_until(lambda: gone in page(), f"{gone!r} on the page", page)
        shown = system.ask(Question("Franz", "Meanwhile?"))
        assert shown == {"error": "The question was not sent: Kafka is gone. Ask again when it is back."}
        kafka.restart()
        wait_until(lambda: gone not in page(), "Kafka on the page", page)
        asks = lambda: [system.ask(Question("Franz", "After?"))]
        wait_until(lambda: [shown for shown in asks() if "error" not in shown], "a question that is taken", asks)
        entries = lambda: system.wall.entries
        wait_until(lambda: any(e.question == "After?" and e.done for e in entries()), "the answer", entries)
        assert system.dead_service is None


class Receiver(http.server.BaseHTTPRequestHandler):
    """A small OTLP receiver."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/v1/traces":
            self.server.traces.receive(body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def elsewhere(monkeypatch):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.traces = Traces()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()
        thread.join()


def test_spans_go_where_the_standard_variable_says(elsewhere):
    """Both services export there, and the page says so."""
    with System(Options(work=0.01)) as system:
        ask_all(system)
        system.stop_services()
        assert f"http://127.0.0.1:{elsewhere.server_port}" in fetch(f"{system.page_url}/traces")[1]
        assert system.traces.all() == []
    found = [trace for trace in elsewhere.traces.all() if trace.processed]
    assert len(found) == len(QUESTIONS)
    assert {service for trace in found for service in trace.services} == {"kafka-producer", "kafka-consumer"}


@pytest.mark.parametrize(
    ("sampler", "says"), [("always_off", "No trace is"), ("traceidratio", "100% of the traces are")]
)
def test_head_sampling(monkeypatch, sampler, says):
    """The standard variables decide for both services, and the page says so, and why there is no trace."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    with System(Options(work=0.01)) as system:
        ask_all(system)
        system.stop_services()
        count = sum(trace.processed for trace in system.traces.all())
        assert count == (0 if sampler == "always_off" else len(QUESTIONS))
        page = fetch(f"{system.page_url}/traces")[1]
        assert f"{says} sampled" in page
        assert ("No traces sampled." in page) == (count == 0)
        assert ("not sampled, so no trace" in fetch(system.page_url)[1]) == (count == 0)


def test_what_fails_has_a_trace_though_nothing_is_sampled(monkeypatch):
    """It was made when it failed, and all pages that show the question lead to it; it waited for nobody."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    with System(Options(work=1.0, fail_every=1)) as system:
        asked = system.ask(Question("Franz", "Does it fail?"))
        assert system.wall.wait_for_answers([(asked["partition"], asked["offset"])], PATIENCE)
        (trace,) = system.wait_for_traces(1, PATIENCE)
        assert trace.trace_id == asked["trace_id"]
        assert trace.reason == "failed"
        for page in ("/", "/traces", "/glass"):
            assert f'href="/traces/{trace.trace_id}"' in fetch(system.page_url + page)[1]
        page = fetch(f"{system.page_url}/traces/{trace.trace_id}")[1]
        assert "Not sampled, but recorded: it failed." in page
