"""Bounds: whatever comes, and however long, what is kept of it has an end."""

import gc

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from otelkafka import ConsumerOptions, ProducerOptions, process_batch
from otelkafka.reporter import metrics_reporter
from otelkafka.testing import FakeFuture, MetricRecorder, SpanRecorder
from tests.support.face import wrap_consumer, wrap_producer
from tests.support.fakes import FakeConsumer, FakeProducer, options_of, record, traceparent
from tests.support.internals import (
    Figure,
    Handover,
    WaitHistory,
    face_of,
    instruments_of_provider,
    note_lags,
    registry_of,
)
from tests.support.memory import largest_within

pytestmark = pytest.mark.per_telemetry

MOST = 5000
MOST_SETS, OVERFLOW = 2000, {"otel.metric.overflow": True}  # as docs/metrics.md has it
TOPICS = 100_000


def unsampled():
    return TracerProvider(sampler=ParentBased(ALWAYS_OFF), resource=Resource.get_empty(), shutdown_on_exit=False)


def observed(metrics):
    """How many attribute sets each metric has."""
    return {name: len(metric.data.data_points) for name, metric in metrics.metrics.items()}


class Forgetful(FakeProducer):
    """A producer that keeps nothing, so that the test does not pay for what a fake keeps."""

    def send(self, topic, *args, **kwargs):
        return FakeFuture(topic)


def test_a_hundred_thousand_topics_are_not_kept_by_a_producer(metrics):
    """Neither by what is remembered of topics, nor by the SDK as series of metrics: the rest is in the overflow."""
    options = ProducerOptions(tracer_provider=unsampled(), meter_provider=metrics.meter_provider)
    producer = wrap_producer(Forgetful(), options)
    for at in range(TOPICS):
        producer.send(f"t{at}", b"v").acknowledge()
    assert max(observed(metrics).values()) == MOST_SETS + 1
    assert largest_within(face_of(producer), metrics) <= MOST
    for name in ("messaging.client.operation.duration", "messaging.client.sent.messages"):
        assert sum(count for _, count in metrics.points(name)) == TOPICS
        assert OVERFLOW in [attributes for attributes, _ in metrics.points(name)]


def test_a_hundred_thousand_topics_are_not_kept_by_a_consumer(metrics):
    """The same for what is handed over and processed."""
    first = record(0, headers=[])
    consumed = (first._replace(topic=f"t{at}") for at in range(TOPICS))

    class Endless(FakeConsumer):
        def __next__(self):
            return next(consumed)

        def highwater(self, partition):
            return None

    options = ConsumerOptions(tracer_provider=unsampled(), meter_provider=metrics.meter_provider)
    consumer = wrap_consumer(Endless(), options)
    assert sum(1 for _ in consumer) == TOPICS
    assert max(observed(metrics).values()) <= MOST_SETS + 1
    assert largest_within(face_of(consumer), metrics) <= MOST


def test_lag_of_a_hundred_thousand_partitions_is_bounded(metrics):
    """The gauge has a set for each of 2000 partitions, and the largest of the others."""
    options = ConsumerOptions(tracer_provider=unsampled(), meter_provider=metrics.meter_provider)
    consumer = wrap_consumer(FakeConsumer(), options)
    note_lags(consumer, {("t", at): at for at in range(TOPICS)})
    points = metrics.points("otelkafka.consumer.lag")
    assert len(points) == MOST_SETS + 1
    assert points[-1] == (OVERFLOW, TOPICS - 1)


def test_history_of_waits_is_bounded():
    """A consumer that polls for years remembers as much as one that does for a minute."""
    history, first = WaitHistory(0), 0
    for at in range(100_000):
        start = first + at * 5_000_000
        history.note_fetch(start, start + 2_000_000)
        history.note_handover("t", 0, at, at, Handover(start, None))
    assert largest_within(history) <= MOST
    whole = 100_000 * 5_000_000
    assert history.fetched(first, first + whole) == 100_000 * 2_000_000


def test_sends_that_are_never_acknowledged_are_bounded(metrics):
    """Beyond `max_in_flight` a span ends when send() returns; none is lost, none ends twice."""
    recorder, options = SpanRecorder(), {"meter_provider": metrics.meter_provider, "max_in_flight": 1000}
    producer = wrap_producer(FakeProducer(), ProducerOptions(tracer_provider=recorder.tracer_provider, **options))
    for _ in range(3000):
        producer.send("t", b"v")
    assert len(recorder.spans) == 2000
    assert metrics.points("otelkafka.spans.in_flight")[0][1] == 1000
    producer.close()
    assert len({span.context.span_id for span in recorder.spans}) == len(recorder.spans) == 3000


@pytest.mark.parametrize("poll_spans", [True, False])
def test_links_of_ten_thousand_records_are_bounded(poll_spans):
    """A batch says how many of its links were left out."""
    recorder = SpanRecorder()
    records = [record(at, headers=[traceparent(at)]) for at in range(10_000)]
    options = options_of(recorder, poll_spans=poll_spans)
    polled = wrap_consumer(FakeConsumer(*records, max_poll_records=10_000), options).poll()
    with process_batch(polled, options):
        pass
    for span in recorder.spans:
        assert len(span.links) == 128
        assert span.attributes["otelkafka.links.dropped"] == 10_000 - 128
    assert len(recorder.spans) == 1 + poll_spans


def test_clients_that_come_and_go_leave_nothing():
    """What a client counted outlives it; the client, its engine and what is asked of it do not."""
    metrics = MetricRecorder()
    for at in range(MOST + 1):
        producing = {"tracer_provider": unsampled(), "meter_provider": metrics.meter_provider}
        producer = wrap_producer(FakeProducer(), ProducerOptions(**producing))
        if not at % 100:
            producer.send("t", b"v")
            producer.close()
        del producer
    gc.collect()
    assert largest_within(metrics, instruments_of_provider(metrics.meter_provider)) <= MOST
    assert metrics.points("messaging.client.sent.messages")[0][1] == MOST // 100 + 1


def test_figures_of_clients_that_come_and_go_are_bounded(metrics):
    """kafka-python gives each client an id of its own, and what only grows is kept when a client has gone."""
    registry = registry_of(metrics_reporter(metrics.meter_provider))
    for at in range(3 * MOST_SETS):
        figure = Figure("kafka.x", "1", 1, "", {"messaging.client.id": f"c{at}"}, summed=True, monotonic=True)
        registry.ensure(figure)
        registry.keep(figure, 1)
    points = metrics.points("kafka.x")
    assert len(points) == MOST_SETS + 1
    assert sum(value for _, value in points) == 3 * MOST_SETS
    assert largest_within(registry) <= MOST
