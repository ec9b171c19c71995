"""The code in README and docs runs as it stands there, against a real Kafka."""

import uuid
from contextlib import suppress
from pathlib import Path

import aiokafka
import kafka
import pytest
from opentelemetry import trace
from opentelemetry.metrics import _internal as metrics
from opentelemetry.util._once import Once
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT) for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
QUESTIONS = 3


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


@pytest.mark.real_kafka
@pytest.mark.usefixtures("_own_global_providers")
@pytest.mark.parametrize("page", PAGES, ids=str)
def test_code_of_the_page_runs(page, consumers, broker):
    """Every block of Python on a page runs, in one namespace, and answers questions where it says so."""
    document = Sybil(parsers=[PythonCodeBlockParser()], path=str(ROOT)).parse(ROOT / page)
    answered = []

    def answer(record):
        answered.append(record)
        return b"an answer"

    document.namespace.update(answer=answer, consumer=kafka.KafkaConsumer("questions"))
    blocks = list(document.examples())
    assert len(blocks) == (ROOT / page).read_text().count("```python")
    for block in blocks:
        for consumer in consumers:
            if consumer.assignment():
                consumer.seek_to_beginning()
        answered.clear()
        block.evaluate()
        assert len(answered) >= QUESTIONS or "answer(record)" not in block.parsed
