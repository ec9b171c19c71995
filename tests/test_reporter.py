"""kafka-python's own figures as OpenTelemetry metrics."""

import gc
import os
import re
import signal
import threading
import weakref
from pathlib import Path

import kafka
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.metrics import KafkaMetric, Metrics
from kafka.metrics.stats.total import Total
from opentelemetry import metrics as api
from opentelemetry.sdk.metrics import MeterProvider

from otelkafka.reporter import metrics_reporter
from otelkafka.testing import MetricRecorder
from tests.support.internals import forget_global_reporter
from tests.support.waiting import PATIENCE

PAGE = Path(__file__).parents[1] / "docs" / "client-metrics.md"


@pytest.fixture
def recorder():
    return MetricRecorder()


def metrics_of(recorder):
    return Metrics(reporters=[metrics_reporter(recorder.meter_provider)()])


def add(metrics, value, name="records-lag-max", group="consumer-fetch-manager-metrics", tags=None):
    class Measured:
        def measure(self, config, now):
            if isinstance(value, Exception):
                raise value
            return value

    metrics.add_metric(metrics.metric_name(name, group, "What it is.", tags or {"client-id": "c"}), Measured())


@pytest.mark.real_kafka
def test_figures_of_real_clients_reach_opentelemetry(broker, topic, recorder):
    """Producer and consumer: name, unit, client, topic and node, and no figure without a finite value."""
    reporters = {"metric_reporters": [metrics_reporter(recorder.meter_provider)]}
    producer = KafkaProducer(client_id="writer", **reporters, **broker.client_options)
    for _ in range(20):
        producer.send(topic, b"v" * 100)
    producer.flush()
    consumer = KafkaConsumer(
        client_id="reader",
        auto_offset_reset="earliest",
        consumer_timeout_ms=int(PATIENCE * 1000),
        **reporters,
        **broker.client_options,
    )
    consumer.assign([TopicPartition(topic, 0)])
    next(consumer)
    found = recorder.metrics
    units = {name: metric.unit for name, metric in found.items()}
    assert units["kafka.producer.batch_size_avg"] == "By"
    assert units["kafka.producer.record_queue_time_avg"] == "s"
    assert units["kafka.producer.compression_rate_avg"] == "1"
    assert units["kafka.producer.record_send_rate"] == "{record}/s"
    assert units["kafka.consumer.fetch_manager.records_lag_max"] == "{record}"
    of_client, of_topic, of_node = (
        found[name].data.data_points
        for name in (
            "kafka.producer.record_send_rate",
            "kafka.producer.topic.record_send_rate",
            "kafka.producer.node.request_latency_avg",
        )
    )
    assert [dict(point.attributes) for point in of_client] == [{"messaging.client.id": "writer"}]
    assert [dict(point.attributes)["messaging.destination.name"] for point in of_topic] == [topic]
    assert {dict(point.attributes)["otelkafka.node.id"] for point in of_node} >= {"1"}
    assert all(0 <= point.value < 10 for point in of_node)
    # The page's table names what is there, with the current release.
    named = set(re.findall(r"`(kafka\.[a-z_.]+)`", PAGE.read_text()))
    consumers = KafkaConsumer(topic, group_id="g", **reporters, **broker.client_options)
    consumers.poll(timeout_ms=100)
    assert named
    assert kafka.__version__ < "3" or named <= set(recorder.metrics) | {"kafka.consumer.coordinator.commit_latency_max"}
    for client in (producer, consumer, consumers):
        client.close()
    gauges = {name for name, metric in recorder.metrics.items() if metric.data.data_points}
    assert gauges == set()


def test_what_has_no_value_is_left_out(recorder):
    """NaN, infinities, None, and a figure that raises: the others are there."""
    metrics = metrics_of(recorder)
    for at, value in enumerate((float("nan"), float("inf"), float("-inf"), None, "text", OSError(), 5)):
        add(metrics, value, tags={"client-id": f"c{at}"})
    points = recorder.points("kafka.consumer.fetch_manager.records_lag_max")
    assert points == [({"messaging.client.id": "c6"}, 5)]


def test_equal_attributes_are_one_observation(recorder):
    """Two clients of one id: rates add up, of the rest the largest stands for both."""
    clients = [metrics_of(recorder) for _ in range(2)]
    for value, metrics in zip((3, 4), clients, strict=True):
        add(metrics, value)
        add(metrics, value, name="records-consumed-rate")
    assert recorder.points("kafka.consumer.fetch_manager.records_lag_max") == [({"messaging.client.id": "c"}, 4)]
    assert recorder.points("kafka.consumer.fetch_manager.records_consumed_rate") == [({"messaging.client.id": "c"}, 7)]


def test_levels_have_names_of_their_own(recorder):
    """A sum over a name counts nothing twice: client, topic and partition are different names."""
    metrics = metrics_of(recorder)
    of_topic = {"client-id": "c", "topic": "a.b"}
    for tags in ({"client-id": "c"}, of_topic, {**of_topic, "partition": "3"}):
        add(metrics, 1, name="fetch-size-avg", tags=tags)
    add(metrics, 1, name="byte-rate", group="producer-topic-metrics.a.b")
    shown = {"messaging.client.id": "c", "messaging.destination.name": "a.b"}
    assert recorder.points("kafka.consumer.fetch_manager.topic.fetch_size_avg") == [(shown, 1)]
    assert recorder.points("kafka.producer.topic.byte_rate") == [(shown, 1)]
    ((partition, _),) = recorder.points("kafka.consumer.fetch_manager.partition.fetch_size_avg")
    assert partition["messaging.destination.partition.id"] == "3"


def test_totals_are_counters_and_outlive_their_client(recorder):
    """What only grows is a counter, which does not shrink when a client is closed, and goes on with the next."""
    for _ in range(2):
        metrics = metrics_of(recorder)
        total = Total()
        metrics.add_metric(metrics.metric_name("record-send-total", "producer-metrics", "", {"client-id": "p"}), total)
        total.record(None, 5, 0)
        metrics.close()
    (point,) = recorder.metrics["kafka.producer.record_send_total"].data.data_points
    assert recorder.metrics["kafka.producer.record_send_total"].data.is_monotonic
    assert point.value == 10


def test_gauges_go_with_their_figure_and_their_client(recorder):
    """A figure that was removed, a client that was closed or dropped: no value any more."""
    metrics = metrics_of(recorder)
    add(metrics, 1)
    add(metrics, 1, name="fetch-rate")
    metrics.remove_metric(metrics.metric_name("fetch-rate", "consumer-fetch-manager-metrics", "", {"client-id": "c"}))
    assert recorder.points("kafka.consumer.fetch_manager.fetch_rate") == []
    gone = weakref.ref(metrics)
    del metrics
    gc.collect()
    assert gone() is None
    assert recorder.points("kafka.consumer.fetch_manager.records_lag_max") == []


def test_figures_that_cannot_be_read_cost_nothing(recorder):
    """What kafka-python hands over that we do not understand is left out."""
    reporter = metrics_reporter(recorder.meter_provider)()
    reporter.configure({})
    reporter.init([object()])
    reporter.metric_removal(KafkaMetric(Metrics().metric_name("a", "b"), Total(), None))
    reporter.close()


def test_one_provider_has_one_set_of_instruments(recorder, monkeypatch, caplog):
    """Asked for twice, by name or as the global one: the same class, and no instrument twice."""
    assert metrics_reporter(recorder.meter_provider) is metrics_reporter(recorder.meter_provider)
    monkeypatch.setattr(api, "get_meter_provider", lambda: recorder.meter_provider)
    assert metrics_reporter() is metrics_reporter(recorder.meter_provider)
    late = MetricRecorder()
    monkeypatch.setattr(api, "get_meter_provider", lambda: late.meter_provider)
    forget_global_reporter(monkeypatch.setattr)
    assert metrics_reporter() is metrics_reporter(late.meter_provider)
    assert caplog.records == []


def test_what_is_no_meter_provider_is_refused():
    """A clear error at once."""
    with pytest.raises(TypeError, match=r"give an object with get_meter\(\)"):
        metrics_reporter(5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_child_of_a_fork_reports_nothing_of_its_parent(recorder):
    """The parent's clients are not the child's."""
    metrics = metrics_of(recorder)
    add(metrics, 1)
    child = os.fork()
    if child == 0:
        os._exit(len(recorder.points("kafka.consumer.fetch_manager.records_lag_max")))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(recorder.points("kafka.consumer.fetch_manager.records_lag_max")) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_child_of_a_fork_waits_for_no_thread_of_its_parent(recorder):
    """One that is about to make a reporter while another forks holds a lock that the child must not wait for."""
    inside, go_on = threading.Event(), threading.Event()

    class Slow(MeterProvider):
        def get_meter(self, *args, **kwargs):
            inside.set()
            go_on.wait()
            return super().get_meter(*args, **kwargs)

    thread = threading.Thread(target=metrics_reporter, args=(Slow(shutdown_on_exit=False),))
    thread.start()
    inside.wait()
    child = os.fork()
    if not child:
        signal.alarm(10)
        metrics_reporter(recorder.meter_provider)
        os._exit(0)
    go_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class Late(MeterProvider):
    """Its meter calls `before` with the name of each gauge that it is to make."""

    def __init__(self, recorder, before):
        super().__init__(shutdown_on_exit=False)
        self._recorder, self._before = recorder, before

    def get_meter(self, *args, **kwargs):
        meter = self._recorder.meter_provider.get_meter(*args, **kwargs)
        create, before = meter.create_observable_gauge, self._before

        def create_observable_gauge(name, *args, **kwargs):
            before(name)
            return create(name, *args, **kwargs)

        meter.create_observable_gauge = create_observable_gauge
        return meter


def test_figure_whose_instrument_was_interrupted_has_one_of_the_next_client(recorder):
    """A KeyboardInterrupt reaches the application, and what it has cut off is made by the next client."""
    interrupts = [KeyboardInterrupt()]

    def interrupt(_):
        if interrupts:
            raise interrupts.pop()

    reporter = metrics_reporter(Late(recorder, interrupt))
    with pytest.raises(KeyboardInterrupt):
        add(Metrics(reporters=[reporter()]), 1)
    metrics = Metrics(reporters=[reporter()])
    add(metrics, 2)
    assert recorder.points("kafka.consumer.fetch_manager.records_lag_max") == [({"messaging.client.id": "c"}, 2)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_child_of_a_fork_makes_the_instrument_that_its_parent_was_making(recorder):
    """It waits for no thread of the parent, and lacks no figure."""
    inside, go_on = threading.Event(), threading.Event()
    parent = os.getpid()

    def wait(_):
        if os.getpid() == parent:
            inside.set()
            go_on.wait()

    reporter = metrics_reporter(Late(recorder, wait))
    thread = threading.Thread(target=add, args=(Metrics(reporters=[reporter()]), 1))
    thread.start()
    inside.wait()
    child = os.fork()
    if not child:
        signal.alarm(10)
        metrics = Metrics(reporters=[reporter()])
        add(metrics, 2)
        os._exit(len(recorder.points("kafka.consumer.fetch_manager.records_lag_max")))
    go_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
