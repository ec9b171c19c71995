"""The code in README and docs runs as it stands there, against a real Kafka."""

import re
import signal
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path

import aiokafka
import confluent_kafka
import kafka
import pytest
from opentelemetry import trace
from opentelemetry.metrics import _internal as metrics
from opentelemetry.util._once import Once
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from docs.generate import code
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT) for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SITE = ROOT / "docs" / "site"  # files of the repository, as pages of the site
PAGES = [page for page in PAGES if SITE not in (ROOT / page).parents]
FRONT_PAGES = ("README.md", "docs/index.md")
QUESTIONS = 3
UNTIL_SIGTERM = "SIGTERM"


@pytest.fixture(scope="module")
def questions(broker):
    """Fill the topic that the pages speak of."""
    for topic in ("questions", "answers"):
        with suppress(RuntimeError):  # a broker that was given may have it
            broker.create_topic(topic)
    producer = kafka.KafkaProducer(**broker.client_options)
    for number in range(QUESTIONS):
        producer.send("questions", b"question %d" % number)
    producer.close()


@pytest.fixture
def consumers(broker, questions, monkeypatch):
    """Lead the clients of a page to the test's broker; its loops end, and its groups are its own."""
    producers, consumers = [], []

    class KafkaProducer(kafka.KafkaProducer):
        def __init__(self, **config):
            super().__init__(**{**config, **broker.client_options})
            producers.append(self)

    class KafkaConsumer(kafka.KafkaConsumer):
        handed_over = 0

        def __init__(self, *topics, **config):
            forced = {
                **broker.client_options,
                "auto_offset_reset": "earliest",
                "consumer_timeout_ms": int(PATIENCE * 1000),
                "metadata_max_age_ms": 500,
            }
            group = {"group_id": uuid.uuid4().hex} if "group_id" in config else {}
            super().__init__(*topics, **{**config, **forced, **group})
            consumers.append(self)

        def __next__(self):
            if self.handed_over >= QUESTIONS and self.is_at_the_end():  # what it would find out by its timeout, too
                raise StopIteration
            record = super().__next__()
            self.handed_over += 1
            return record

        def is_at_the_end(self):
            return all(self.position(each) >= end for each, end in self.end_offsets(self.assignment()).items())

    class Producer(confluent_kafka.Producer):
        def __init__(self, config):
            super().__init__({**config, "bootstrap.servers": broker.bootstrap_servers})

    class Consumer(confluent_kafka.Consumer):
        handed_over = 0

        def __init__(self, config):
            group = {"bootstrap.servers": broker.bootstrap_servers, "group.id": uuid.uuid4().hex}
            super().__init__({**config, **group})

        def poll(self, _):
            if self.handed_over == QUESTIONS:
                return None
            self.handed_over += 1
            return super().poll(PATIENCE)

        def consume(self, count, timeout):
            return super().consume(1, PATIENCE)

    monkeypatch.setattr(kafka, "KafkaProducer", KafkaProducer)
    monkeypatch.setattr(kafka, "KafkaConsumer", KafkaConsumer)
    servers = {"bootstrap_servers": broker.bootstrap_servers}

    class AIOKafkaProducer(aiokafka.AIOKafkaProducer):
        def __init__(self, **config):
            super().__init__(**{**config, **servers})

    class AIOKafkaConsumer(aiokafka.AIOKafkaConsumer):
        handed_over = 0

        def __init__(self, *topics, **config):
            forced = {**servers, "auto_offset_reset": "earliest", "group_id": uuid.uuid4().hex}
            super().__init__(*topics, **{**config, **forced})

        async def __anext__(self):
            if self.handed_over >= QUESTIONS and await self.is_at_the_end():
                raise StopAsyncIteration
            record = await super().__anext__()
            self.handed_over += 1
            return record

        async def is_at_the_end(self):
            ends = await self.end_offsets(self.assignment())
            return all([await self.position(each) >= end for each, end in ends.items()])

    monkeypatch.setattr(aiokafka, "AIOKafkaProducer", AIOKafkaProducer)
    monkeypatch.setattr(aiokafka, "AIOKafkaConsumer", AIOKafkaConsumer)
    monkeypatch.setattr(confluent_kafka, "Producer", Producer)
    monkeypatch.setattr(confluent_kafka, "Consumer", Consumer)
    yield consumers
    for client in producers + consumers:
        client.close()


@pytest.fixture
def _own_global_providers(monkeypatch):
    """A page sets up OpenTelemetry for itself alone."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(metrics, "_METER_PROVIDER", None)
    monkeypatch.setattr(metrics, "_METER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(metrics, "_PROXY_METER_PROVIDER", metrics._ProxyMeterProvider())  # it would go on to the page's
    yield
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        if hasattr(provider, "shutdown"):
            provider.shutdown()


def is_of_an_example(block):
    """Whether it is shown from an example, whose own tests run it."""
    return (
        block.document.text[: block.region.start].rstrip().endswith("-->")
        and "<!-- code: " in (block.document.text[: block.region.start].rstrip().splitlines()[-1])
    )


@pytest.fixture
def _end_by_sigterm():
    """A program of a page that has no handler for it must not end the tests."""

    def refuse(*_):
        pytest.fail("this block does not handle SIGTERM")

    before = signal.signal(signal.SIGTERM, refuse)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("page", code.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_page_shows_the_code_of_the_example(page):
    """`python -m docs.generate.code` puts it there."""
    assert page.read_text() == code.with_code(page.read_text())


def test_pages_are_plain_markdown():
    """A page reads well where the repository is browsed: code and tables stand in it, and no directive includes them."""
    special = {
        str(page) for page in PAGES if re.search(r"\{(literalinclude|eval-rst|include)\}", (ROOT / page).read_text())
    }
    assert special == {"docs/reference.md"}  # which is made from docstrings


@pytest.mark.real_kafka
@pytest.mark.parametrize("page", FRONT_PAGES)
def test_front_page_runs_as_a_program_of_its_own(page, broker, tmp_path):
    """Each block in a fresh process, on a fresh topic, in a fresh group: what a reader does first."""
    document = Sybil(parsers=[PythonCodeBlockParser()], path=str(ROOT)).parse(ROOT / page)
    blocks = [block.parsed for block in document.examples()]
    assert blocks
    for block in blocks:
        fresh = uuid.uuid4().hex
        program = block.replace("localhost:9092", broker.bootstrap_servers)
        program = program.replace('"questions"', f'"questions-{fresh}"').replace('"wall"', f'"wall-{fresh}"')
        ended = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=PATIENCE, cwd=tmp_path
        )
        assert ended.returncode == 0, ended.stderr
        assert f"send questions-{fresh}" in ended.stdout
        assert f"process questions-{fresh}" in ended.stdout
        assert "Why is Kafka called Kafka?" in ended.stdout


@pytest.mark.real_kafka
@pytest.mark.usefixtures("_own_global_providers", "_end_by_sigterm")
@pytest.mark.parametrize("page", PAGES, ids=str)
def test_code_of_the_page_runs(page, consumers, broker):
    """Every block of Python on a page runs, in one namespace, and answers questions where it says so.

    A program that runs until SIGTERM gets it with its last question.
    """
    document = Sybil(parsers=[PythonCodeBlockParser()], path=str(ROOT)).parse(ROOT / page)
    answered = []

    def answer(record):
        answered.append(record)
        if len(answered) == QUESTIONS and UNTIL_SIGTERM in block.parsed:
            signal.raise_signal(signal.SIGTERM)
        return b"an answer"

    document.namespace.update(answer=answer, consumer=kafka.KafkaConsumer("questions"))
    blocks = list(document.examples())
    assert len(blocks) == (ROOT / page).read_text().count("```python")
    for block in blocks:
        if is_of_an_example(block):
            continue
        for consumer in consumers:
            if consumer.assignment():
                consumer.seek_to_beginning()
        answered.clear()
        block.evaluate()
        assert len(answered) >= QUESTIONS or "answer(record)" not in block.parsed
