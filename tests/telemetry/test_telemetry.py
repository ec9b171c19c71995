"""What the options make of every span."""

import types

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind

from otelkafka import ConsumerOptions, ProducerOptions
from otelkafka.testing import FakeCluster, SpanRecorder
from tests.support.face import process_of, wrap_consumer, wrap_producer
from tests.support.fakes import (
    TRACE_ID,
    TRACEPARENT,
    FakeConsumer,
    FakeProducer,
    consumer_of,
    current,
    is_nothing_current,
    kinds,
    producer_of,
    record,
)
from tests.support.internals import replace_clock


class Watching(Sampler):
    """Keeps what it is asked."""

    def __init__(self):
        self.asked = []

    def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, links=None, trace_state=None):
        self.asked.append((name, kind, dict(attributes or {})))
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)

    def get_description(self):
        return "watching"


def test_suppression_leaves_everything_alone(recorder):
    """Under suppress_instrumentation there are no spans and no headers."""
    bare = FakeProducer()
    token = context.attach(context.set_value("suppress_instrumentation", True))
    producer_of(recorder, bare).send("t", b"v")
    for _ in consumer_of(recorder, record(0)):
        assert is_nothing_current()
    context.detach(token)
    assert (bare.headers, recorder.spans) == ([None], [])


def test_sampler_gets_at_the_start_what_it_may_want():
    """System, operation, destination, template, partition, server, client and group are there at span start."""
    sampler = Watching()
    recorder = SpanRecorder(sampler)
    named = {"destination_template": lambda topic: f"{topic}-*"}
    bare = FakeProducer(bootstrap_servers="host:9092", client_id="p")
    producer_of(recorder, bare, **named).send("t", b"v", partition=3)
    list(consumer_of(recorder, record(5), **named))
    common = {"messaging.system": "kafka", "messaging.destination.name": "t", "messaging.destination.template": "t-*"}
    server = {"server.address": "host", "server.port": 9092}
    expected = [
        (
            "send t-*",
            SpanKind.PRODUCER,
            {
                **common,
                **server,
                "messaging.operation.name": "send",
                "messaging.operation.type": "send",
                "messaging.client.id": "p",
                "messaging.destination.partition.id": "3",
            },
        ),
        (
            "process t-*",
            SpanKind.CONSUMER,
            {
                **common,
                **server,
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.client.id": "c",
                "messaging.consumer.group.name": "g",
                "messaging.destination.partition.id": "0",
            },
        ),
    ]
    for asked, (name, kind, attributes) in zip(sampler.asked, expected, strict=True):
        assert asked[:2] == (name, kind)
        assert asked[2].items() >= attributes.items()


def test_send_span_names_the_leader_of_the_partition_in_the_acknowledgement(recorder):
    """Before the ack the partition is not known, and the first bootstrap server stands for its leader."""

    class Cluster:
        cluster_id = "of three"

        def leader_for_partition(self, partition):
            return partition.partition

        def broker_metadata(self, node):
            return types.SimpleNamespace(host=f"node{node}", port=9090 + node)

    bare = FakeProducer(cluster=FakeCluster(partitions=3), bootstrap_servers=["first:9092"])
    bare._metadata = Cluster()
    future = producer_of(recorder, bare).send("t", b"v", b"k")
    future.acknowledge()
    (span,) = recorder.spans
    assert (span.attributes["server.address"], span.attributes["server.port"]) == ("node2", 9092)
    assert span.attributes["messaging.kafka.cluster.id"] == "of three"


def test_leader_that_moves_is_named_some_seconds_later(recorder, metrics, clock, monkeypatch):
    """What is known of a partition is asked for again now and then, not at each record."""
    leaders = ["old"]

    class Cluster:
        cluster_id = None

        def leader_for_partition(self, partition):
            return partition.partition

        def broker_metadata(self, node):
            return types.SimpleNamespace(host=leaders[-1], port=9092)

    bare = FakeProducer(bootstrap_servers=["first:9092"])
    bare._metadata = Cluster()
    now = [0.0]
    replace_clock("monotonic", lambda: now[0], monkeypatch.setattr)
    producer = producer_of(recorder, bare, meter_provider=metrics.meter_provider)
    for leader, later in (("old", 0), ("new", 1), ("new", 30)):
        leaders.append(leader)
        now[0] += later
        clock.advance(1)
        producer.send("t", b"v").acknowledge()
    assert [span.attributes["server.address"] for span in recorder.spans] == ["old", "old", "new"]
    sent = metrics.points("messaging.client.sent.messages")
    assert [(shown["server.address"], count) for shown, count in sent] == [("old", 2), ("new", 1)]


@pytest.mark.parametrize("name", ["{destination}: {operation}", lambda operation, topic: f"{topic}: {operation}"])
def test_span_names_are_the_users(recorder, name):
    """A template or a function names the spans."""
    list(consumer_of(recorder, record(0), span_name=name))
    assert recorder.spans[0].name == "t: process"


def test_without_an_sdk_everything_passes(monkeypatch):
    """With the API alone nothing is recorded, and the context still propagates."""
    api_only = trace.NoOpTracerProvider()
    bare = FakeProducer()
    wrap_producer(bare, ProducerOptions(tracer_provider=api_only)).send("t", b"v", headers=[TRACEPARENT])
    assert bare.headers == [[TRACEPARENT]]
    for _ in wrap_consumer(FakeConsumer(record(0)), ConsumerOptions(tracer_provider=api_only)):
        assert f"{current().trace_id:032x}" == TRACE_ID


def test_context_is_carried_on_by_spans_that_are_none(recorder):
    """Without an SDK the oldest OpenTelemetry answers with an invalid span: the parent's context goes on."""

    class Oldest(trace.NoOpTracer):
        def start_span(self, *_, **__):
            return trace.INVALID_SPAN

    class OldestProvider(trace.TracerProvider):
        def get_tracer(self, *_, **__):
            return Oldest()

    bare = FakeProducer()
    wrap_producer(bare, ProducerOptions(tracer_provider=OldestProvider())).send("t", b"v", headers=[TRACEPARENT])
    assert bare.headers == [[TRACEPARENT]]


OLD = {
    "messaging.destination": "t",
    "messaging.kafka.partition": 0,
    "messaging.url": '["host:9092", "other:9093"]',
}


@pytest.mark.parametrize(("opted_in", "shown"), [("http, messaging/dup", True), ("messaging", False), ("", False)])
def test_old_names_stand_beside_the_new_ones_where_asked_for(recorder, monkeypatch, opted_in, shown):
    """OTEL_SEMCONV_STABILITY_OPT_IN=messaging/dup: what dashboards know today, on send and process; no password."""
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", opted_in)
    bare = FakeProducer(bootstrap_servers=["host:9092", "SASL://user:secret@other:9093"])
    producer_of(recorder, bare).send("t", b"v", partition=2).acknowledge()
    consumer = consumer_of(recorder, record(0))
    list(consumer)
    sent, processed = recorder.spans
    expected = {**OLD, "messaging.kafka.partition": 2} if shown else {}
    assert {name: value for name, value in sent.attributes.items() if name in OLD} == expected
    expected = {**OLD, "messaging.url": '["host:9092"]'} if shown else {}
    assert {name: value for name, value in processed.attributes.items() if name in OLD} == expected
    assert ("messaging.destination.name", "t") in sent.attributes.items()


def test_function_of_a_topic_that_failed_is_asked_again(recorder):
    """A failure is not what the options say of the topic."""
    answers = [OSError(), False]

    def trace_topic(_):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    producer = producer_of(recorder, FakeProducer(), trace_topic=trace_topic, max_in_flight=0)
    for _ in range(3):
        producer.send("t", b"v")
    assert len(recorder.spans) == 1


def test_link_that_max_links_leaves_out_is_counted(recorder, metrics):
    """max_links=0: the span says how many were left out, and so does the counter."""
    options = {"max_links": 0, "relation": "link", "meter_provider": metrics.meter_provider}
    list(consumer_of(recorder, record(0), **options))
    (span,) = recorder.spans
    assert kinds(span) == []
    assert span.attributes["otelkafka.links.dropped"] == 1
    assert metrics.points("otelkafka.telemetry.dropped") == [({"otelkafka.drop.reason": "links"}, 1)]


@pytest.mark.parametrize("style", ["iterate", "process"])
def test_clock_that_is_set_back_makes_no_negative_duration(recorder, metrics, clock, caplog, style):
    """A span does not end before it starts; its duration counts, as nothing."""
    providers = {"meter_provider": metrics.meter_provider}
    bare = FakeProducer()
    producer_of(recorder, bare, **providers).send("t", b"v")
    clock.advance(-10)
    bare.futures[0].acknowledge()
    consumer = consumer_of(recorder, record(0), **providers)
    if style == "iterate":
        for _ in consumer:
            clock.advance(-10)
    else:
        with process_of(consumer, record(0)):
            clock.advance(-10)
    assert [span.end_time - span.start_time for span in recorder.spans] == [0, 0]
    assert metrics.points("messaging.client.operation.duration")
    assert metrics.points("messaging.process.duration")
    assert not caplog.text
