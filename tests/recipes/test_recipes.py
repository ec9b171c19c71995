"""The programs of the recipes, each in a process of its own, on a real Kafka: what they trace, and that they end well."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml
from kafka import KafkaConsumer, KafkaProducer

from testbroker.ports import free_ports
from tests.support.waiting import PATIENCE, wait_until

pytestmark = [pytest.mark.real_kafka, pytest.mark.once]

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "examples" / "recipes"
DOCS = ROOT / "docs" / "recipes"


class Program:
    """A program of a recipe that runs."""

    def __init__(self, arguments, environment, output):
        self.output = output
        self._file = output.open("w")
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=RECIPES,
            env={**os.environ, "OTEL_TRACES_EXPORTER": "console", **environment},
            stdout=self._file,
            stderr=subprocess.STDOUT,
        )

    @property
    def printed(self):
        return self.output.read_text()

    def wait_for(self, text):
        wait_until(lambda: text in self.printed or self.process.poll() is not None, text, lambda: self.printed[-2000:])
        assert text in self.printed, self.printed[-4000:]

    def end(self, number=signal.SIGTERM):
        """Return the exit status after a signal; without one, when it has ended by itself."""
        if number is not None:
            self.process.send_signal(number)
        status = self.process.wait(PATIENCE)
        self._file.close()
        return status

    def stop(self):
        self.process.kill()
        self.process.wait()
        self._file.close()

    @property
    def spans(self):
        """What the exporter to the console printed, by name; a line that is no span is left out."""
        found, decoder, text = {}, json.JSONDecoder(), self.printed
        for start in [each.start() for each in re.finditer(r'^\{\n    "name"', text, re.MULTILINE)]:
            span, _ = decoder.raw_decode(text[start:])
            found.setdefault(span["name"], []).append(span)
        return found


@pytest.fixture
def run(broker, topic, tmp_path):
    running = []

    def run(*arguments, **environment):
        settings = {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers, "TOPIC": topic, **environment}
        running.append(Program(arguments, settings, tmp_path / f"{len(running)}.out"))
        return running[-1]

    yield run
    for each in running:
        each.stop()


@pytest.fixture
def port():
    (free,) = free_ports(1)
    return str(free)


def request(url, *, data=None):
    """Ask until the server answers."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, method="POST")) as answer:
                return answer.status, json.load(answer)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def fill(broker, topic, *values):
    with KafkaProducer(**broker.client_options) as producer:
        for value in values:
            producer.send(topic, value).get(PATIENCE)


def is_child(child, parent):
    return (child["parent_id"], child["context"]["trace_id"]) == (
        parent["context"]["span_id"],
        parent["context"]["trace_id"],
    )


def test_fastapi(run, topic, port):
    program = run("-m", "uvicorn", "fastapi_app:app", "--port", port)
    assert request(f"http://127.0.0.1:{port}/questions?question=why") == (201, {"offset": 0})
    assert program.end(signal.SIGINT) in (0, -signal.SIGINT), program.printed
    (sent,) = program.spans[f"send {topic}"]
    assert is_child(sent, program.spans["POST /questions"][0])


def test_flask_under_gunicorn(run, topic, port):
    program = run(
        "-m", "gunicorn", "--config", "gunicorn_conf.py", "--bind", f"127.0.0.1:{port}", "flask_app:create_app()"
    )
    form = urllib.parse.urlencode({"question": "why"}).encode()
    assert request(f"http://127.0.0.1:{port}/questions", data=form) == (201, {"offset": 0})
    assert program.end() == 0, program.printed
    (sent,) = program.spans[f"send {topic}"]
    assert is_child(sent, program.spans["POST /questions"][0])


def test_django(run, topic):
    client = (
        "from telemetry import set_up; provider = set_up('web'); import django_app; from django.test import Client; "
        "answer = Client().post('/questions?question=why'); print(answer.status_code, answer.json()); "
        "django_app.producer().close(); provider.shutdown()"
    )
    program = run("-c", client)
    assert program.end(None) == 0, program.printed
    assert "201 {'offset': 0}" in program.printed
    (sent,) = program.spans[f"send {topic}"]
    assert is_child(sent, program.spans["POST questions"][0])


def test_celery(run, topic, tmp_path):
    """A worker whose pool forks; its broker is a folder."""
    (tmp_path / "tasks_by_folder.py").write_text(
        f"broker_transport_options = {dict.fromkeys(('data_folder_in', 'data_folder_out'), str(tmp_path))}"
    )
    settings = {
        "CELERY_BROKER_URL": "filesystem://",
        "CELERY_CONFIG_MODULE": "tasks_by_folder",
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{RECIPES}",
    }
    worker = run(
        "-m", "celery", "--app", "celery_app", "worker", "--concurrency", "1", "--loglevel", "info", **settings
    )
    assert run("-c", "import celery_app; celery_app.ask.delay('why')", **settings).end(None) == 0
    worker.wait_for("succeeded")
    assert worker.end() == 0, worker.printed
    (sent,) = worker.spans[f"send {topic}"]
    assert is_child(sent, worker.spans["ask"][0])


def test_gevent(run, broker, topic):
    pytest.importorskip("gevent")
    fill(broker, topic, b"1", b"2", b"3")
    program = run("gevent_app.py")
    assert program.end(None) == 0, program.printed
    assert len(program.spans[f"process {topic}"]) == 3


def test_shutdown(run, broker, topic):
    """The last spans are exported, and the offset is committed."""
    fill(broker, topic, b"why")
    program = run("shutdown.py")
    program.wait_for("answered why")
    assert program.end() == 0
    (sent,) = program.spans[f"send {topic}.answers"]
    (processed,) = program.spans[f"process {topic}"]
    assert is_child(sent, processed)
    assert committed(broker, topic, "answers") == 1


def committed(broker, topic, group):
    from kafka import TopicPartition

    consumer = KafkaConsumer(group_id=group, **broker.client_options)
    found = consumer.committed(TopicPartition(topic, 0))
    consumer.close()
    return found


def test_batch_consumer(run, broker, topic):
    fill(broker, topic, b'{"order": 1}', b"not json", b'{"order": 2}')
    program = run("batch_consumer.py")
    program.wait_for('{"order": 2}')
    assert program.end() == 0, program.printed
    batches = program.spans[f"process {topic}"]
    assert [event["name"] for batch in batches for event in batch["events"]] == ["exception"]
    assert any(is_child(program.spans[f"send {topic}.dead"][0], batch) for batch in batches)
    assert any(is_child(program.spans[f"commit {topic}"][0], batch) for batch in batches)
    assert committed(broker, topic, "store") == 3


def test_dead_letter(run, broker, topic):
    """The failure is on the span of the record, and the dead letter and the commit are its children."""
    fill(broker, topic, b"1", b"one", b"2")
    program = run("dead_letter.py")
    program.wait_for("ordered 2")
    wait_until(lambda: committed(broker, topic, "stock") == 3, "the last commit", lambda: program.printed[-2000:])
    assert program.end() == 0, program.printed
    failed = [span for span in program.spans[f"process {topic}"] if span["status"]["status_code"] == "ERROR"]
    assert [span["attributes"]["error.type"] for span in failed] == ["ValueError"]
    assert is_child(program.spans[f"send {topic}.dead"][0], failed[0])
    assert any(is_child(commit, failed[0]) for commit in program.spans[f"commit {topic}"])


def test_thread_pool(run, broker, topic):
    fill(broker, topic, b"1", b"2", b"3")
    program = run("thread_pool.py")
    for number in "123":
        program.wait_for(f"answered {number}")
    assert program.end() == 0, program.printed
    assert len(program.spans[f"process {topic}"]) == 3
    assert committed(broker, topic, "pool") == 3


def test_logs_are_those_of_the_page(run):
    program = run("logs.py")
    assert program.end(None) == 0
    (shown,) = re.findall(r"```text\n(.*?)```", (DOCS / "logs.md").read_text(), re.DOTALL)
    assert program.printed == shown


@pytest.mark.parametrize(("in_flight", "has_send"), [("0", True), ("100", False)])
def test_sentry(run, topic, in_flight, has_send):
    """The page's option is what brings the send into the transaction: it ends before its acknowledgement."""
    pytest.importorskip("sentry_sdk")
    program = run("-c", SENTRY % in_flight)
    assert program.end(None) == 0, program.printed
    assert (f"POST /questions: ['send {topic}']" in program.printed) == has_send
    assert "POST /questions: [" in program.printed


SENTRY = """
import sentry, otelkafka
from sentry_sdk.transport import Transport

class Printed(Transport):
    def capture_envelope(self, envelope):
        for item in envelope.items:
            event = item.payload.json or {}
            if event.get("type") == "transaction":
                print(event["transaction"] + ":", [span["description"] for span in event["spans"]])

options = sentry.ProducerOptions
sentry.ProducerOptions = lambda max_in_flight: options(max_in_flight=%s)
sentry.main(dsn="http://key@127.0.0.1:1/1", transport=Printed)
"""


def test_logfire(run, topic):
    pytest.importorskip("logfire")
    program = run("-c", "import logfire_app; logfire_app.main(send_to_logfire=False, distributed_tracing=True)")
    assert program.end(None) == 0, program.printed
    assert f"process {topic}" in program.printed
    assert "answered Why?" in program.printed


def test_ddtrace(run):
    pytest.importorskip("ddtrace")
    program = run("ddtrace_app.py", DD_TRACE_OTEL_ENABLED="true", DD_TRACE_AGENT_URL="http://127.0.0.1:1")
    assert program.end(None) == 0, program.printed
    assert "answered Why? <ddtrace." in program.printed


def test_settings_of_secured_clusters_are_those_of_the_client():
    """kafka-python knows each of them."""
    namespace = {}
    for block in re.findall(r"```python\n(.*?)```", (DOCS / "secured-clusters.md").read_text(), re.DOTALL):
        exec(block, namespace)
    for name in ("sasl_ssl", "mutual_tls", "confluent_cloud", "amazon_msk"):
        assert set(namespace[name]) <= set(KafkaProducer.DEFAULT_CONFIG), name


def test_files_of_the_deployment_fit_together():
    """What scrapes and exports goes where something listens, and each mounted file is one of the page."""
    text = (DOCS / "deployment.md").read_text()
    compose, collector, prometheus, kubernetes = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", text, re.DOTALL))
    hosts = set(compose["services"])
    (target,) = prometheus["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target.split(":")[0] in hosts
    assert target.split(":")[1] == collector["exporters"]["prometheus"]["endpoint"].split(":")[1]
    assert collector["exporters"]["otlp/jaeger"]["endpoint"].split(":")[0] in hosts
    for pipeline in collector["service"]["pipelines"].values():
        for kind, names in pipeline.items():
            assert set(names) <= set(collector[kind])
    mounted = {mount.split(":")[0][2:] for each in compose["services"].values() for mount in each.get("volumes", ())}
    assert all(f"`{name}`" in text for name in mounted)
    (container,) = kubernetes["spec"]["template"]["spec"]["containers"]
    names = {variable["name"] for variable in container["env"]}
    assert {"OTELKAFKA_SAMPLE_ERRORS", "OTELKAFKA_SAMPLE_WAITS_OVER"} <= names


def test_every_program_is_on_a_page():
    """And each page shows it as it is: `python -m docs.generate.code`."""
    shown = "\n".join(page.read_text() for page in DOCS.glob("*.md"))
    assert [path.name for path in RECIPES.glob("*.py") if f"examples/recipes/{path.name} " not in shown] == []
