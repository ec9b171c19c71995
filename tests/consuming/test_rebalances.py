"""Rebalances: a span, a count, and an event on what is in process."""

import asyncio

import kafka
import pytest
from kafka import ConsumerRebalanceListener, TopicPartition
from opentelemetry import context
from opentelemetry.trace import SpanKind

from otelkafka import ConsumerOptions, testing
from otelkafka.testing import FakeCluster
from tests.support.face import bare_of, process_of, wrap_consumer
from tests.support.fakes import FakeConsumer, ambient_of, attended_since, current, is_nothing_current, record

PARTITIONS = [TopicPartition("t", 1), TopicPartition("t", 0)]


def listener_of(consumer, theirs=None):
    consumer.subscribe(["t"], listener=theirs)
    return bare_of(consumer).listener


def test_each_turn_has_a_span_and_a_count(wrap, recorder, metrics):
    """assign, revoke, lose: INTERNAL roots that say which partitions, and a counter by kind."""
    listener = listener_of(wrap(FakeConsumer()))
    with ambient_of(recorder):
        listener.on_partitions_assigned(PARTITIONS)
        listener.on_partitions_revoked(PARTITIONS)
        listener.on_partitions_lost(PARTITIONS)
    for span, kind in zip(recorder.spans, ("assign", "revoke", "lose"), strict=False):
        assert (span.name, span.kind, span.parent, span.links) == (f"{kind} t", SpanKind.INTERNAL, None, ())
        assert dict(span.attributes) == {
            "messaging.system": "kafka",
            "messaging.operation.name": kind,
            "messaging.destination.name": "t",
            "messaging.client.id": "c",
            "messaging.consumer.group.name": "g",
            "server.address": "host",
            "server.port": 9092,
            "otelkafka.rebalance.partitions": ("t-0", "t-1"),
        }
    counted = {shown["messaging.operation.name"]: n for shown, n in metrics.points("otelkafka.consumer.rebalances")}
    assert counted == {"assign": 1, "revoke": 1, "lose": 1}


def test_record_in_process_has_an_event_when_its_partition_has_gone(wrap, recorder):
    """An event on the span of what is in process, and on no other."""
    consumer = wrap(FakeConsumer(), process="manual")
    listener = listener_of(consumer)
    with process_of(consumer, record(0)), process_of(consumer, record(0, partition=5)):
        listener.on_partitions_revoked(PARTITIONS)
        listener.on_partitions_lost(PARTITIONS)
    with process_of(consumer, record(1)):
        pass
    events = {
        (span.attributes["messaging.destination.partition.id"], span.attributes["messaging.kafka.offset"]): [
            event.name for event in span.events
        ]
        for span in recorder.named("process t")
    }
    gone = ["otelkafka.partition.revoked", "otelkafka.partition.lost"]
    assert events == {("0", 0): gone, ("5", 0): [], ("0", 1): []}


def test_revocation_of_nothing_is_no_turn(wrap, recorder, metrics):
    """What precedes a first assignment is not recorded; an assignment of nothing is: that member has no work."""
    listener = listener_of(wrap(FakeConsumer()))
    listener.on_partitions_revoked([])
    assert recorder.spans == []
    listener.on_partitions_assigned([])
    assert [span.name for span in recorder.spans] == ["assign"]
    assert [shown["messaging.operation.name"] for shown, _ in metrics.points("otelkafka.consumer.rebalances")] == [
        "assign"
    ]


def test_users_listener_runs_inside_the_span_which_records_its_failure(wrap, recorder, metrics):
    """What the listener raises passes, and the span and the count have it."""

    class Listener(ConsumerRebalanceListener):
        def on_partitions_assigned(self, assigned):
            self.inside = current()
            raise ValueError("mine")

        def on_partitions_revoked(self, revoked):
            pass

    theirs = Listener()
    with pytest.raises(ValueError, match="mine"):
        listener_of(wrap(FakeConsumer()), theirs).on_partitions_assigned(PARTITIONS)
    (span,) = recorder.spans
    assert theirs.inside == span.context
    assert span.attributes["error.type"] == "ValueError"
    assert len(span.events) == 1
    assert [shown["error.type"] for shown, _ in metrics.points("otelkafka.consumer.rebalances")] == ["ValueError"]


@pytest.mark.skipif(not hasattr(kafka, "AsyncConsumerRebalanceListener"), reason="no async listeners in this release")
def test_span_of_an_async_listener_lasts_as_long(wrap, recorder, clock):
    """An async listener is awaited inside the span."""

    class Listener(kafka.AsyncConsumerRebalanceListener):
        async def on_partitions_assigned(self, assigned):
            await asyncio.sleep(0)
            clock.advance(0.02)
            self.inside = current()

        async def on_partitions_revoked(self, revoked):
            pass

        async def on_partitions_lost(self, lost):
            pass

    theirs = Listener()
    asyncio.run(listener_of(wrap(FakeConsumer()), theirs).on_partitions_assigned(PARTITIONS))
    (span,) = recorder.spans
    assert theirs.inside == span.context
    assert span.end_time - span.start_time == 20_000_000


@pytest.mark.parametrize("options", [{"rebalance_spans": False}, {"trace_topic": lambda _: False}])
def test_spans_can_be_left_out(wrap, recorder, metrics, options):
    """rebalance_spans=False, or a topic left out: no span, and the count nevertheless."""
    listener_of(wrap(FakeConsumer(), **options)).on_partitions_assigned(PARTITIONS)
    assert recorder.spans == []
    assert [count for _, count in metrics.points("otelkafka.consumer.rebalances")] == [1]


def test_suppression_records_nothing_and_calls_the_listener(wrap, recorder, metrics, clock):
    """suppress_instrumentation(): no span, no count; what is assigned is noted nevertheless."""
    consumer = wrap(FakeConsumer())
    listener = listener_of(consumer)
    clock.advance(10)
    token = context.attach(context.set_value("suppress_instrumentation", True))
    try:
        listener.on_partitions_assigned(PARTITIONS)
    finally:
        context.detach(token)
    assert recorder.spans == []
    assert metrics.points("otelkafka.consumer.rebalances") == []
    assigned = clock.now
    clock.advance(10)
    assert [attended_since(recorder, consumer, partition) for partition in (0, 1)] == [assigned, assigned]


def test_wrapping_again_leaves_one_listener_with_the_new_options(wrap, recorder, metrics):
    """A consumer that is wrapped again records each rebalance once."""

    bare = FakeConsumer()
    bare.subscribe(["t"])
    wrap(wrap(bare, rebalance_spans=False))
    bare.listener.on_partitions_assigned(PARTITIONS)
    assert [span.name for span in recorder.spans] == ["assign t"]
    assert [count for _, count in metrics.points("otelkafka.consumer.rebalances")] == [1]


def test_assignments_are_not_compared_where_there_is_a_listener(recorder):
    """A consumer that subscribes after it was wrapped has our listener."""

    class Counting(FakeConsumer):
        asked = 0

        def assignment(self):
            self.asked += 1
            return super().assignment()

    bare = Counting(record(0), record(1))
    consumer = wrap_consumer(bare, ConsumerOptions(tracer_provider=recorder.tracer_provider))
    consumer.subscribe(["t"])
    bare.asked = 0
    assert len(list(consumer)) == 2
    assert isinstance(bare.listener, ConsumerRebalanceListener)
    assert bare.asked == 0
    assert is_nothing_current()


@pytest.mark.parametrize("spans", [True, False], ids=["with a span", "without"])
def test_listener_runs_inside_of_what_is_around_it(recorder, spans):
    """Where rebalances have no spans, what the listener does is the child that it would be without us."""
    tracer = recorder.tracer_provider.get_tracer("app")

    class Loads(ConsumerRebalanceListener):
        def on_partitions_assigned(self, assigned):
            tracer.start_span("load").end()

        def on_partitions_revoked(self, revoked):
            pass

    cluster = FakeCluster()
    cluster.create_topic("t")
    options = ConsumerOptions(tracer_provider=recorder.tracer_provider, rebalance_spans=spans)
    consumer = wrap_consumer(testing.FakeConsumer(cluster=cluster), options)
    consumer.subscribe(["t"], listener=Loads())
    with tracer.start_as_current_span("job") as job:
        consumer.poll()
    consumer.close()
    (load,) = recorder.named("load")
    (assign,) = recorder.named("assign t") if spans else [job]
    assert load.parent.span_id == assign.get_span_context().span_id
