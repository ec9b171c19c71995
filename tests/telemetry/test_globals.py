"""A global provider or propagator that is replaced, as OpenTelemetry's own test utilities do between tests, is followed."""

import gc

import pytest
from kafka import TopicPartition
from opentelemetry import metrics as metrics_api
from opentelemetry import propagate, trace
from opentelemetry.propagators.b3 import B3MultiFormat
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.test.globals_test import reset_metrics_globals, reset_trace_globals
from opentelemetry.test.test_base import TestBase

from otelkafka import ConsumerOptions, process, process_batch, wrap_handler
from otelkafka.testing import (
    FakeClock,
    FakeCluster,
    FakeConsumer,
    FakeProducer,
    MetricRecorder,
    SpanRecorder,
    fake_record,
)
from tests.support.face import wrap_consumer, wrap_producer

SPANS = {"send t": 1, "process t": 2, "process u": 1, "process v": 1, "process w": 1, "commit t": 2}


@wrap_handler
def handle(_):
    return trace.get_current_span()


@pytest.fixture(autouse=True)
def _globals():
    gc.collect()  # what other tests have dropped ends now, and not by the providers of these
    propagator = propagate.get_global_textmap()
    reset_trace_globals()
    reset_metrics_globals()
    yield
    reset_trace_globals()
    reset_metrics_globals()
    propagate.set_global_textmap(propagator)


class Clients:
    """Clients, made once, and everything that makes spans without options, done again and again."""

    def __init__(self):
        self.cluster = FakeCluster()
        self.sent = FakeProducer(self.cluster)
        self.producer = wrap_producer(self.sent)
        self.consumer = wrap_consumer(FakeConsumer("t", cluster=self.cluster, group_id="g"))

    def act(self):
        """Return the headers that were sent."""
        self.producer.send("t", b"v")
        for _ in self.consumer:
            self.consumer.commit()
        self.cluster.write(fake_record(offset=self.cluster.end_of(TopicPartition("t", 0))))
        for records in self.consumer.poll().values():
            for record in records:
                with process(record):
                    self.consumer.commit()
        handle(fake_record("u"))
        with process(fake_record("v")):
            pass
        with process_batch([fake_record("w"), fake_record("w", offset=1)]):
            pass
        return [key for key, _ in self.sent.history[-1].headers]


def counted(recorder):
    return {name: len(recorder.named(name)) for name in SPANS}


def set_globals(sampler=None):
    recorder, metrics = SpanRecorder(sampler), MetricRecorder()
    reset_trace_globals()
    reset_metrics_globals()
    trace.set_tracer_provider(recorder.tracer_provider)
    metrics_api.set_meter_provider(metrics.meter_provider)
    return recorder, metrics


def test_clients_handlers_and_blocks_follow_the_global_providers():
    """Without a provider, with one, with one that samples nothing, with none again: each has what happened in its time."""
    clients = Clients()
    with FakeClock() as clock:
        clients.act()
        rounds = []
        for sampler in (None, ParentBased(ALWAYS_OFF), None, None):
            clock.advance(0.001)
            rounds.append(set_globals(sampler))
            assert clients.act() == ["traceparent"]
        reset_trace_globals()
        reset_metrics_globals()
        clock.advance(0.001)
        assert clients.act() == []
    for (recorder, metrics), samples in zip(rounds, (True, False, True, True), strict=True):
        assert counted(recorder) == {name: count * samples for name, count in SPANS.items()}
        assert sum(count for _, count in metrics.points("messaging.client.sent.messages")) == 1
        assert sum(count for _, count in metrics.points("messaging.client.consumed.messages")) == 2
        assert sum(count for _, count in metrics.points("messaging.process.duration")) == 5


@pytest.mark.parametrize("kind", ["tracer", "meter"])
def test_one_global_provider_is_followed_without_the_other(kind):
    """What one records does not depend on the other."""
    clients = Clients()
    with FakeClock() as clock:
        before, metrics_before = set_globals()
        clients.act()
        clock.advance(0.001)
        after, metrics = SpanRecorder(), MetricRecorder()
        if kind == "tracer":
            reset_trace_globals()
            trace.set_tracer_provider(after.tracer_provider)
            metrics = metrics_before
        else:
            reset_metrics_globals()
            metrics_api.set_meter_provider(metrics.meter_provider)
            after = before
        clients.act()
    assert len(after.named("send t")) == (1 if kind == "tracer" else 2)
    sent = sum(count for _, count in metrics.points("messaging.client.sent.messages"))
    assert sent == (2 if kind == "tracer" else 1)


def test_time_of_a_consumer_is_counted_once_where_both_meter_providers_are_collected():
    """By the last one, from when it was set: what the one before it still collects takes nothing away from it."""
    clients = Clients()
    with FakeClock() as clock:
        _, before = set_globals()
        clients.act()
        clock.advance(1)
        assert busy(before) == 1
        _, after = set_globals()
        clients.act()
        clock.advance(2)
        assert busy(before) == 1
        assert busy(after) == 2


def busy(metrics):
    totals = metrics.points("otelkafka.consumer.time")
    return sum(total for attributes, total in totals if attributes["otelkafka.consumer.state"] == "busy")


def test_own_providers_stay_when_global_ones_are_replaced():
    """What the options name is what is used."""
    own, metrics = SpanRecorder(), MetricRecorder()
    options = ConsumerOptions(tracer_provider=own.tracer_provider, meter_provider=metrics.meter_provider)
    for _ in range(2):
        recorder, others = set_globals()
        with process(fake_record(), options):
            pass
        assert recorder.spans == []
        assert others.metrics == {}
    assert len(own.spans) == 2
    assert sum(count for _, count in metrics.points("messaging.process.duration")) == 2


def test_global_propagator_is_followed():
    """Also between two sends on the fast path."""
    set_globals(ParentBased(ALWAYS_OFF))
    clients, propagator = Clients(), propagate.get_global_textmap()
    assert clients.act() == ["traceparent"]
    propagate.set_global_textmap(B3MultiFormat())
    assert "x-b3-traceid" in clients.act()
    propagate.set_global_textmap(propagator)
    assert clients.act() == ["traceparent"]


class TestWithOpenTelemetrysTestBase(TestBase):
    """A suite that is built on `opentelemetry-test-utils`, which gives each test providers of its own."""

    clients = Clients()

    def check(self):
        self.clients.act()
        names = [span.name for span in self.memory_exporter.get_finished_spans()]
        self.assertEqual({name: names.count(name) for name in SPANS}, SPANS)

    def test_first(self):
        """The spans are in this test's exporter."""
        self.check()

    def test_second(self):
        """And in this one's."""
        self.check()
