"""Groups, rebalances and transactions, as Apache Kafka does them."""

import threading
import time
import uuid

import kafka
import pytest
from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition

from otelkafka import ConsumerOptions, wrap_consumer
from tests.fakes import FakeConsumer, record

PATIENCE = 30


@pytest.fixture
def topic(broker):
    name = f"g-{uuid.uuid4().hex}"
    broker.create_topic(name, partitions=4)
    return name


@pytest.fixture
def member(broker, recorder, topic):
    made = []

    def make(*topics, listener=None, subscribe=False, **options):
        bare = KafkaConsumer(*topics, group_id=f"of {topic}", auto_offset_reset="earliest", **broker.client_options)
        made.append(wrap_consumer(bare, ConsumerOptions(tracer_provider=recorder.tracer_provider, **options)))
        if subscribe:
            made[-1].subscribe([topic], listener=listener)
        return made[-1]

    yield make
    for consumer in made:
        consumer.close()


def fill(make_producer, topic, count, per=4):
    producer = make_producer()
    for at in range(count):
        producer.send(topic, b"%d" % at, partition=at % per)
    producer.flush()


def poll_until(consumers, count):
    """Poll members in turn, as the threads of a service would, and return what each got."""
    got = {id(consumer): [] for consumer in consumers}
    until = time.monotonic() + PATIENCE
    while sum(map(len, got.values())) < count and time.monotonic() < until:
        for consumer in consumers:
            for records in consumer.poll(timeout_ms=200).values():
                got[id(consumer)] += list(records)
    return list(got.values())


@pytest.mark.real_kafka
@pytest.mark.parametrize("subscribed_in", ["constructor", "subscribe"])
def test_two_members_share_the_partitions_and_every_record_is_processed_once(
    make_producer, member, recorder, topic, subscribed_in
):
    """A second member joins: both are assigned anew, and no record is lost or processed twice by our doing."""
    how = {"subscribe": True} if subscribed_in == "subscribe" else {}
    topics = [topic] if subscribed_in == "constructor" else []
    first = member(*topics, **how)
    fill(make_producer, topic, 8)
    assert len(poll_until([first], 8)[0]) == 8
    first.commit()
    assigned_alone = dict(first._self_history._assigned)
    assert set(assigned_alone) == {(topic, partition) for partition in range(4)}
    second = member(*topics, **how)
    until = time.monotonic() + PATIENCE
    while len(second.assignment()) != 2 or len(first.assignment()) != 2:
        assert time.monotonic() < until, "the group did not share its partitions"
        joining = threading.Thread(target=second.poll, kwargs={"timeout_ms": 500})
        joining.start()
        assert first.poll(timeout_ms=500) == {}
        joining.join()
    for consumer in (first, second):
        noted = {(each.topic, each.partition) for each in consumer.assignment()}
        assert set(consumer._self_history._assigned) == noted
    recorder.clear()
    fill(make_producer, topic, 8)
    got = poll_until([first, second], 8)
    assert sorted(map(len, got)) == [4, 4]
    processed = recorder.named(f"process {topic}")
    assert (
        len(
            {
                (s.attributes["messaging.destination.partition.id"], s.attributes["messaging.kafka.offset"])
                for s in processed
            }
        )
        == 8
    )
    assert len(processed) == 8
    assert {span.attributes["messaging.consumer.group.name"] for span in processed} == {f"of {topic}"}


@pytest.mark.real_kafka
def test_record_that_waited_for_its_assignment_was_not_waited_for(make_producer, member, recorder, topic):
    """What lies before the assignment of a partition is neither busy nor fetch."""
    fill(make_producer, topic, 1)
    time.sleep(0.5)
    consumer = member(topic)
    poll_until([consumer], 1)
    (span,) = recorder.named(f"process {topic}")
    told = span.attributes
    attended = consumer._self_history.attended_since(topic, 0)
    parts = told["otelkafka.queue.busy_duration"] + told["otelkafka.queue.fetch_duration"]
    assert told["otelkafka.queue.duration"] >= 0.5
    assert parts == pytest.approx((span.start_time - attended) / 1e9, abs=1e-6)


class Listener(ConsumerRebalanceListener):
    def __init__(self):
        self.heard = []

    def on_partitions_assigned(self, assigned):
        self.heard.append(("assigned", len(assigned)))

    def on_partitions_revoked(self, revoked):
        self.heard.append(("revoked", len(revoked)))

    def on_partitions_lost(self, lost):
        self.heard.append(("lost", len(lost)))


@pytest.mark.real_kafka
def test_listener_of_the_user_hears_the_rebalance(make_producer, member, topic):
    """A listener given to subscribe() hears what it would hear without us."""
    listener = Listener()
    consumer = member(subscribe=True, listener=listener)
    fill(make_producer, topic, 1)
    poll_until([consumer], 1)
    assert ("assigned", 4) in listener.heard
    consumer.close()
    if int(kafka.__version__.split(".")[0]) >= 3:
        assert listener.heard[-1] == ("revoked", 4)


@pytest.mark.real_kafka
@pytest.mark.skipif(kafka.__version__.startswith("2.0"), reason="kafka-python 2.0 has no transactions")
def test_transaction_is_committed_and_aborted_through_the_wrapper(make_producer, make_consumer, recorder, topic):
    """Sends of a transaction stay children of the ambient span; what was aborted is never processed."""
    producer = make_producer({"transactional_id": topic})
    producer.init_transactions()
    tracer = recorder.tracer_provider.get_tracer("test")
    with tracer.start_as_current_span("transfer") as ambient:
        producer.begin_transaction()
        producer.send(topic, b"aborted", partition=0).get(PATIENCE)
        producer.abort_transaction()
        producer.begin_transaction()
        producer.send(topic, b"committed", partition=0)
        producer.commit_transaction()
    consumer = make_consumer({"isolation_level": "read_committed"})
    consumer.assign([TopicPartition(topic, 0)])
    assert next(consumer).value == b"committed"
    consumer.close()
    sends = recorder.wait_for(f"send {topic}", 2)
    assert {span.parent.span_id for span in sends} == {ambient.get_span_context().span_id}
    (processed,) = recorder.named(f"process {topic}")
    assert processed.parent.span_id == sends[1].context.span_id


class NoListener(FakeConsumer):
    """A consumer whose subscribe() takes no listener."""

    assigned = ()

    def subscribe(self, topics):
        self.subscribed = topics

    def assignment(self):
        return {TopicPartition("t", partition) for partition in self.assigned}


def test_assignments_are_compared_where_no_listener_tells(recorder):
    """Without a listener, assignments are learned by comparing assignment() after poll()."""
    bare = NoListener(record(0))
    consumer = wrap_consumer(bare, ConsumerOptions(tracer_provider=recorder.tracer_provider))
    consumer.subscribe(["t"])
    assert bare.subscribed == ["t"]
    for assigned in ([0, 1], [1, 2], []):
        bare.assigned = assigned
        consumer.poll()
        assert set(consumer._self_history._assigned) == {("t", partition) for partition in assigned}


class Closed(NoListener):
    """A consumer whose subscribe() cannot be looked into."""

    subscribe = property(lambda self: dict)


def test_subscribe_that_cannot_be_looked_into_is_called_as_it_is(recorder):
    """Where it cannot be told whether a listener is taken, none is given."""
    assert wrap_consumer(Closed()).subscribe([("a", 1)]) == {"a": 1}
