"""The broker that all tests share, and clients on it."""

import uuid

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from otelkafka import ConsumerOptions, ProducerOptions
from otelkafka.testing import FakeClock, MetricRecorder
from testbroker import start_broker
from tests.support import internals
from tests.support.face import FACE, reason_not_to_run, wrap_consumer, wrap_producer
from tests.support.waiting import PATIENCE, PatientRecorder


def pytest_collection_modifyitems(items):
    for item in items:
        reason = reason_not_to_run(item)
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def broker():
    with start_broker() as started:
        yield started


@pytest.fixture(autouse=True)
def _needs_real_kafka(request):
    if request.node.get_closest_marker("real_kafka") and "broker" in request.fixturenames:
        kind = request.getfixturevalue("broker").kind
        if kind == "embedded":
            pytest.skip("the embedded broker has no working groups")


@pytest.fixture(autouse=True)
def _consumers_of_its_own():
    """A record of one test may look as one of another: it was not handed over by a consumer that lives on."""
    internals.forget_consumers()
    yield
    if FACE == "confluent":  # whose consumers go on with the last span of a loop that is left
        internals.forget_current()


@pytest.fixture
def recorder():
    return PatientRecorder()


@pytest.fixture
def metrics():
    return MetricRecorder()


@pytest.fixture
def clock():
    """Time goes on where the test says so, and there alone."""
    with FakeClock() as fake:
        yield fake


@pytest.fixture
def wrap(recorder, metrics):
    def wrap(bare, **options):
        providers = {"tracer_provider": recorder.tracer_provider, "meter_provider": metrics.meter_provider}
        return wrap_consumer(bare, ConsumerOptions(**providers, **options))

    return wrap


@pytest.fixture
def topic(broker):
    name = f"t-{uuid.uuid4().hex}"
    broker.create_topic(name)
    return name


@pytest.fixture
def make_producer(broker, recorder):
    made = []

    def make(config=None, **options):
        bare = KafkaProducer(**broker.client_options, **(config or {}))
        made.append(bare)
        return wrap_producer(bare, ProducerOptions(tracer_provider=recorder.tracer_provider, **options))

    yield make
    for bare in made:
        bare.close()


@pytest.fixture
def bare_producer(broker):
    producer = KafkaProducer(**broker.client_options)
    yield producer
    producer.close()


@pytest.fixture
def make_consumer(broker, recorder, topic):
    made = []

    def make(config=None, **options):
        settings = {
            "auto_offset_reset": "earliest",
            "consumer_timeout_ms": int(PATIENCE * 1000),
            **broker.client_options,
        }
        bare = KafkaConsumer(**{**settings, **(config or {})})
        bare.assign([TopicPartition(topic, 0)])
        made.append(wrap_consumer(bare, ConsumerOptions(tracer_provider=recorder.tracer_provider, **options)))
        return made[-1]

    yield make
    for consumer in made:
        consumer.close()
