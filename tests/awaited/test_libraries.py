"""Each client library can be had without the other, and none is imported before it is asked for."""

import subprocess
import sys

import pytest

SEND = """
import asyncio
async def main():
    traced = otelkafka.wrap_producer(testing.FakeAIOKafkaProducer())
    await traced.send_and_wait("t", b"v")
    consumer = otelkafka.wrap_consumer(testing.FakeAIOKafkaConsumer("t", cluster=traced.cluster, group_id="g"))
    async for record in consumer:
        print(type(traced).__name__, record.value, len(record.headers) or otelkafka.__version__ is None)
asyncio.run(main())
"""
SEND_KAFKA = """
traced = otelkafka.wrap_producer(testing.FakeProducer())
traced.send("t", b"v")
print(type(traced).__name__, [record.value for record in testing.FakeConsumer("t", cluster=traced.cluster)])
"""
WITHOUT = """
import sys
sys.modules[{library!r}] = None
import otelkafka
from otelkafka import testing
"""


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.once
def test_import_imports_no_client_library():
    """Neither the package nor the instrumentor: what the application imports is patched when it is."""
    done = run(
        "import sys, otelkafka, otelkafka.instrumentor; otelkafka.wrap_consumer, otelkafka.process;"
        "print([name for name in sys.modules if name.split('.')[0] in ('kafka', 'aiokafka')])"
    )
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.once
def test_aiokafka_works_without_kafka_python():
    """Clients, fakes and the classes of the wrappers; kafka-python's own are missing with the reason."""
    done = run(WITHOUT.format(library="kafka") + SEND)
    assert done.stdout.startswith("TracedAIOKafkaProducer b'v'"), done.stderr
    done = run(WITHOUT.format(library="kafka") + "otelkafka.TracedProducer")
    assert "AttributeError: module 'otelkafka' has no attribute 'TracedProducer': " in done.stderr
    done = run(WITHOUT.format(library="kafka") + "testing.FakeProducer")
    assert "AttributeError: module 'otelkafka.testing' has no attribute 'FakeProducer': " in done.stderr


@pytest.mark.once
def test_kafka_python_works_without_aiokafka():
    """As ever; aiokafka's classes are missing."""
    done = run(WITHOUT.format(library="aiokafka") + SEND_KAFKA)
    assert done.stdout.startswith("TracedProducer [b'v']"), done.stderr
    done = run(WITHOUT.format(library="aiokafka") + "otelkafka.TracedAIOKafkaProducer")
    assert "AttributeError: module 'otelkafka' has no attribute 'TracedAIOKafkaProducer': " in done.stderr
