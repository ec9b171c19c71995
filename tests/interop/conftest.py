"""The peers, each prepared once, and the table of what was seen."""

import os
import uuid

import pytest
from kafka import KafkaConsumer
from opentelemetry import baggage, propagate, trace
from opentelemetry import context as context_api
from opentelemetry.context import Context

from otelkafka import ConsumerOptions
from tests.interop.contexts import CONTEXT
from tests.interop.peers import PEERS
from tests.interop.running import Missing
from tests.interop.table import Table, write
from tests.support.face import wrap_consumer
from tests.support.waiting import PATIENCE

DEMANDED = "OTELKAFKA_INTEROP_TOOLS"
TABLE = pytest.StashKey[Table]()


def pytest_addoption(parser):
    parser.addoption("--page", action="store_true", help="write the table of what was seen into docs/interop.md")


def pytest_configure(config):
    config.stash[TABLE] = Table()


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    table = config.stash[TABLE]
    terminalreporter.write_sep("=", "what was seen of the peers")
    terminalreporter.write_line(table.text())
    if config.getoption("--page"):
        _write(terminalreporter, table, exitstatus)


def _write(terminalreporter, table, exitstatus):
    if exitstatus == 0 and table.is_whole():
        write(table)
    else:
        terminalreporter.write_line(
            "docs/interop.md is left as it was: run all of it, with every tool, without a failure"
        )


@pytest.fixture(scope="session")
def table(request):
    return request.config.stash[TABLE]


@pytest.fixture(scope="session", params=PEERS, ids=[peer.name for peer in PEERS])
def peer(request):
    return request.param


@pytest.fixture(scope="session")
def drive(peer, table, tmp_path_factory):
    """What makes the peer do something; without it the tests are skipped, or fail where all tools are demanded."""
    try:
        driver = peer.prepare(tmp_path_factory.mktemp("peer"))
    except Missing as error:
        table.skipped(peer.name, str(error))
        (pytest.fail if os.environ.get(DEMANDED) else pytest.skip)(f"{peer.name}: {error}")
    table.prepared(peer.name, driver.versions)
    return driver


@pytest.fixture
def topics(broker):
    made = [f"t-{uuid.uuid4().hex}" for _ in range(3)]
    for name in made:
        broker.create_topic(name)
    return made


@pytest.fixture
def send(make_producer, recorder):
    """Send a record in a context, and return that of its span."""

    def send(topic, headers=CONTEXT):
        token = context_api.attach(propagate.extract(headers, Context()))
        try:
            make_producer().send(topic, b"from otelkafka").get(PATIENCE)
        finally:
            context_api.detach(token)
        return recorder.wait_for(f"send {topic}")[0].context

    return send


@pytest.fixture
def take(broker, recorder):
    """Process the first record of a topic; return it, its span, and the baggage that was current."""

    def take(topic):
        settings = {
            "auto_offset_reset": "earliest",
            "consumer_timeout_ms": int(PATIENCE * 1000),
            "group_id": uuid.uuid4().hex,
        }
        bare = KafkaConsumer(topic, **settings, **broker.client_options)
        consumer = wrap_consumer(bare, ConsumerOptions(tracer_provider=recorder.tracer_provider))
        try:
            for taken in consumer:
                record, body = taken, dict(baggage.get_all())
                break
            else:
                pytest.fail(f"no record came of {topic}")
        finally:
            consumer.close()
        return record, recorder.wait_for(f"process {topic}")[0], body

    return take


@pytest.fixture
def send_on(make_producer, recorder):
    """Forward a record within its span, headers and all, and return the span of that send."""

    def send_on(record, topic, process):
        with trace.use_span(trace.NonRecordingSpan(process.context)):
            make_producer().send(topic, record.value, headers=list(record.headers)).get(PATIENCE)
        return recorder.wait_for(f"send {topic}")[0]

    return send_on
