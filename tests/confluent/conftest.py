"""Clients of confluent-kafka over one cluster in memory; without confluent-kafka none of these tests can run."""

import weakref
from importlib.util import find_spec

import pytest

from otelkafka import ConsumerOptions, ProducerOptions
from otelkafka.testing import FakeCluster
from tests.support.face import wrap_consumer, wrap_producer

collect_ignore_glob = [] if find_spec("confluent_kafka") else ["test_*.py"]


@pytest.fixture
def cluster():
    return FakeCluster()


@pytest.fixture
def producer(cluster, recorder, metrics):
    """Make a traced producer of the cluster."""
    from otelkafka.testing import FakeConfluentProducer

    def make(bare=None, *, config=None, auto_complete=True, **options):
        providers = {"tracer_provider": recorder.tracer_provider, "meter_provider": metrics.meter_provider}
        if bare is None:
            bare = FakeConfluentProducer(config, cluster=cluster, auto_complete=auto_complete)
        return wrap_producer(bare, ProducerOptions(**providers, **options))

    return make


@pytest.fixture
def consumer(cluster, recorder, metrics):
    """Make a traced consumer that is subscribed to topic t of the cluster."""
    from otelkafka.testing import FakeConfluentConsumer

    made = []

    def make(*topics, bare=None, config=None, **options):
        providers = {"tracer_provider": recorder.tracer_provider, "meter_provider": metrics.meter_provider}
        if bare is None:
            bare = FakeConfluentConsumer({"group.id": "g", **(config or {})}, cluster=cluster)
        traced = wrap_consumer(bare, ConsumerOptions(**providers, **options))
        traced.subscribe(list(topics or ("t",)))
        made.append(weakref.ref(traced))
        return traced

    yield make
    for traced in [reference() for reference in made]:
        if traced is not None:  # an exception that a test has caught may hold it
            traced.close()
