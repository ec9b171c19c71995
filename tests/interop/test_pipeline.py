"""Time to glass across services that know nothing of it: the origin goes through them as any baggage does."""

import time
import uuid

import pytest
from kafka import KafkaConsumer, KafkaProducer

from otelkafka import ConsumerOptions, ProducerOptions, wrap_consumer, wrap_producer
from otelkafka.testing import MetricRecorder
from tests.interop.contexts import baggage_of
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.real_kafka


@pytest.fixture
def options(recorder):
    metrics = MetricRecorder()
    return metrics, {
        "tracer_provider": recorder.tracer_provider,
        "meter_provider": metrics.meter_provider,
        "pipeline_time": True,
    }


@pytest.fixture
def measured(broker, options):
    """Process the first record of a topic, and return its baggage and how long its pipeline took."""
    metrics, shown = options

    def measured(topic):
        settings = {
            "auto_offset_reset": "earliest",
            "consumer_timeout_ms": int(PATIENCE * 1000),
            "group_id": uuid.uuid4().hex,
        }
        bare = KafkaConsumer(topic, **settings, **broker.client_options)
        with wrap_consumer(bare, ConsumerOptions(**shown)) as consumer:
            (record,) = (record for _, record in zip([None], consumer, strict=False))
        (point,) = metrics.metrics["otelkafka.pipeline.duration"].data.data_points
        assert point.count == 1
        return baggage_of({key: value.decode() for key, value in record.headers}), point.sum

    return measured


def test_origin_passes_through_a_peer(peer, drive, broker, topics, options, measured):
    """It is sent by otelkafka, forwarded by the peer, and measured by otelkafka, from the first send to the last body."""
    first, second, _ = topics
    began = time.time()
    with wrap_producer(KafkaProducer(**broker.client_options), ProducerOptions(**options[1])) as producer:
        producer.send(first, b"from otelkafka").get(PATIENCE)
    sent = time.time()
    drive.forward(broker.bootstrap_servers, first, second)
    baggage, took = measured(second)
    origin = int(baggage["otelkafka.origin"]) / 1000
    assert int(began * 1000) / 1000 <= origin <= sent
    assert 0 < took <= time.time() - origin
