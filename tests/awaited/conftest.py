"""Clients of aiokafka over one cluster in memory; without aiokafka none of these tests can run."""

from importlib.util import find_spec

import pytest

from otelkafka import ConsumerOptions, ProducerOptions
from otelkafka.testing import FakeCluster
from tests.support.face import wrap_consumer, wrap_producer

collect_ignore_glob = [] if find_spec("aiokafka") else ["test_*.py"]


@pytest.fixture
def cluster():
    return FakeCluster()


@pytest.fixture
def producer(cluster, recorder, metrics):
    """Make a traced producer of the cluster."""
    from otelkafka.testing import FakeAIOKafkaProducer

    def make(bare=None, *, config=None, **options):
        providers = {"tracer_provider": recorder.tracer_provider, "meter_provider": metrics.meter_provider}
        bare = FakeAIOKafkaProducer(cluster, **(config or {})) if bare is None else bare
        return wrap_producer(bare, ProducerOptions(**providers, **options))

    return make


@pytest.fixture
def consumer(cluster, recorder, metrics):
    """Make a traced consumer of topic t of the cluster."""
    from otelkafka.testing import FakeAIOKafkaConsumer

    def make(*topics, bare=None, config=None, **options):
        providers = {"tracer_provider": recorder.tracer_provider, "meter_provider": metrics.meter_provider}
        if bare is None:
            settings = {"group_id": "g", "enable_auto_commit": False, **(config or {})}
            bare = FakeAIOKafkaConsumer(*(topics or ("t",)), cluster=cluster, **settings)
        return wrap_consumer(bare, ConsumerOptions(**providers, **options))

    return make
