"""librdkafka's own figures as OpenTelemetry metrics, by `stats_cb`."""

import json
import re
from pathlib import Path

import confluent_kafka
import pytest
from opentelemetry import metrics as api

from otelkafka.reporter import statistics_reporter
from otelkafka.testing import MetricRecorder
from tests.support.internals import replace_clock, statistics_names
from tests.support.waiting import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "confluent-kafka.md"
MOCK = {"bootstrap.servers": "mock:9092", "test.mock.num.brokers": 1, "log_level": 0, "statistics.interval.ms": 100}


@pytest.fixture
def recorder():
    return MetricRecorder()


def statistics(name="rdkafka#producer-1", kind="producer", client_id="c", **more):
    return json.dumps({"name": name, "client_id": client_id, "type": kind, **more})


def test_figures_of_a_real_producer(recorder):
    """Names, units, client, broker, topic and partition; windows without a value are left out."""
    producer = confluent_kafka.Producer(
        {**MOCK, "client.id": "c", "stats_cb": statistics_reporter(recorder.meter_provider)}
    )
    for _ in range(100):
        producer.produce("t", b"v" * 10, partition=0)

    def has_sent():
        producer.poll(0.1)
        return recorder.points("librdkafka.producer.sent_messages") == [({"messaging.client.id": "c"}, 100)]

    wait_until(has_sent, "the producer's statistics")
    metrics = recorder.metrics
    queue = metrics["librdkafka.producer.queue.messages"]
    assert (queue.unit, queue.data.data_points[0].value) == ("{message}", 0)
    limit = recorder.points("librdkafka.producer.queue.messages_limit")
    assert limit == [({"messaging.client.id": "c"}, 100_000)]
    of_broker = recorder.points("librdkafka.producer.broker.connects")
    assert of_broker == [({"messaging.client.id": "c", "otelkafka.node.id": "1"}, 1)]
    places = [attributes for attributes, _ in recorder.points("librdkafka.producer.partition.queue")]
    place = {"messaging.client.id": "c", "messaging.destination.name": "t", "messaging.destination.partition.id": "0"}
    assert place in places
    assert all(attributes["messaging.destination.partition.id"] != "-1" for attributes in places)
    assert "librdkafka.consumer.responses" not in metrics


def test_windows_are_in_seconds(recorder):
    """Average and 99th percentile; of a window without a value there is none."""
    reporter = statistics_reporter(recorder.meter_provider)
    window = {"avg": 1500, "p99": 3000, "cnt": 2}
    broker = {"nodeid": 1, "rtt": window, "throttle": {**window, "cnt": 0}, "int_latency": window}
    reporter(statistics(brokers={"b": broker, "boot": {**broker, "nodeid": -1}, "g": {**broker, "source": "logical"}}))
    ((attributes, average),) = recorder.points("librdkafka.producer.broker.request_latency_avg")
    assert (attributes["otelkafka.node.id"], average) == ("1", pytest.approx(0.0015))
    assert recorder.points("librdkafka.producer.broker.queue_latency_p99")[0][1] == pytest.approx(0.003)
    assert recorder.points("librdkafka.producer.broker.throttle_time_avg") == []
    assert recorder.metrics["librdkafka.producer.broker.request_latency_avg"].unit == "s"


def test_lag_and_group_of_a_consumer(recorder):
    """What librdkafka does not know, a negative number, is left out."""
    reporter = statistics_reporter(recorder.meter_provider)
    partitions = {
        str(at): {"partition": at, "consumer_lag": lag, "fetchq_cnt": 7} for at, lag in ((0, 5), (1, -1), (-1, 3))
    }
    topics = {"t": {"topic": "t", "partitions": partitions}}
    group = {"assignment_size": 2, "rebalance_cnt": 3, "rebalance_age": 1500}
    reporter(statistics("rdkafka#consumer-1", "consumer", topics=topics, cgrp=group))
    ((attributes, lag),) = recorder.points("librdkafka.consumer.partition.lag")
    assert (attributes["messaging.destination.partition.id"], lag) == ("0", 5)
    assert len(recorder.points("librdkafka.consumer.partition.fetch_queue.messages")) == 2
    assert recorder.points("librdkafka.consumer.group.rebalances") == [({"messaging.client.id": "c"}, 3)]
    assert recorder.points("librdkafka.consumer.group.rebalance_age") == [({"messaging.client.id": "c"}, 1.5)]


def test_clients_of_one_id_add_up_or_the_largest_stands(recorder):
    """Counts are added, of windows the largest is reported; one function serves several clients."""
    reporter = statistics_reporter(recorder.meter_provider)
    for at, average in ((1, 10), (2, 20)):
        topic = {"topic": "t", "batchsize": {"avg": average, "p99": average, "cnt": 1}}
        reporter(statistics(f"rdkafka#producer-{at}", msg_cnt=average, topics={"t": topic}))
    assert recorder.points("librdkafka.producer.queue.messages")[0][1] == 30
    assert recorder.points("librdkafka.producer.topic.batch_size_avg")[0][1] == 20


def test_gauges_of_a_client_that_is_gone_vanish_and_totals_stay(recorder, monkeypatch):
    """A closed client reports no more: after three intervals its gauges go, its totals never shrink."""
    moment = [0.0]
    replace_clock("monotonic", lambda: moment[0], monkeypatch.setattr)
    reporter = statistics_reporter(recorder.meter_provider)
    for sent in (1, 2):
        moment[0] += 1
        reporter(statistics(msg_cnt=5, txmsgs=sent))
    assert recorder.points("librdkafka.producer.queue.messages")[0][1] == 5
    moment[0] += 5
    assert recorder.points("librdkafka.producer.queue.messages") == []
    assert recorder.points("librdkafka.producer.sent_messages")[0][1] == 2
    moment[0] += 100
    assert recorder.points("librdkafka.producer.sent_messages")[0][1] == 2
    reporter(statistics("rdkafka#producer-2", txmsgs=3))
    assert recorder.points("librdkafka.producer.sent_messages")[0][1] == 5


@pytest.mark.parametrize("text", ["", "nope", '{"name": "rdkafka#producer-1"', '{"name": "rdkafka#producer-1"}', "[]"])
def test_what_cannot_be_read_is_left_out(recorder, text):
    """No exception reaches librdkafka's thread or a collection."""
    reporter = statistics_reporter(recorder.meter_provider)
    reporter(text)
    assert recorder.points("librdkafka.producer.queue.messages") == []


def test_meter_provider_is_checked():
    """As by `metrics_reporter()`."""
    for wrong in (api, MetricRecorder, 5):
        with pytest.raises(TypeError, match="statistics_reporter"):
            statistics_reporter(wrong)
    statistics_reporter()(statistics(msg_cnt=5))


def test_page_names_metrics_that_there_are(recorder):
    """Each of the table of tuning questions."""
    known = statistics_names()
    named = set(re.findall(r"`(librdkafka\.[a-z0-9_.]+)`", PAGE.read_text()))
    assert named <= known, named - known
    assert len(named) > 10
