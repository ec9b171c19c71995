"""Groups, rebalances and transactions, as Apache Kafka does them."""

import threading
import time
import uuid

import kafka
import pytest
from kafka import KafkaConsumer, TopicPartition

from examples import group_of_three
from otelkafka import ConsumerOptions
from otelkafka.testing import MetricRecorder
from otelkafka.testing.subscription import Subscription
from tests.support import internals
from tests.support.face import INSTRUMENTED, wrap_consumer
from tests.support.fakes import FakeConsumer, Listener, attended_since, record
from tests.support.internals import noted_partitions
from tests.support.waiting import PATIENCE, wait_until, wait_until_known


@pytest.fixture
def topic(broker):
    name = f"g-{uuid.uuid4().hex}"
    broker.create_topic(name, partitions=4)
    return name


@pytest.fixture
def member(broker, recorder, topic):
    made = []

    def make(*topics, listener=None, subscribe=False, **options):
        # One that joins before it knows a topic that is new looks again soon, and soon gets the others that join.
        config = {"auto_offset_reset": "earliest", "metadata_max_age_ms": 500, "heartbeat_interval_ms": 300}
        bare = KafkaConsumer(*topics, group_id=f"of {topic}", **config, **broker.client_options)
        wait_until_known(topic, bare)
        made.append(wrap_consumer(bare, ConsumerOptions(tracer_provider=recorder.tracer_provider, **options)))
        if subscribe:
            made[-1].subscribe([topic], listener=listener)
        return made[-1]

    yield make
    for consumer in made:
        consumer.close()


def fill(make_producer, topic, count, per=4, timestamp_ms=None):
    producer = make_producer()
    for at in range(count):
        producer.send(topic, b"%d" % at, partition=at % per, timestamp_ms=timestamp_ms)
    producer.flush()


class Member(threading.Thread):
    """Consumes in a thread of its own, as the members of a group do."""

    def __init__(self, consumer):
        super().__init__(daemon=True)
        self.consumer = consumer
        self.got = []
        self.stopped = threading.Event()
        self.start()

    def run(self):
        while not self.stopped.is_set():
            for records in self.consumer.poll(timeout_ms=100).values():
                self.got += list(records)

    @property
    def partitions(self):
        return len(self.consumer.assignment())

    def stop(self):
        self.stopped.set()
        self.join(PATIENCE)


def poll_until(consumer, count):
    """Poll until so many records have come."""
    member = Member(consumer)
    wait_until(lambda: len(member.got) >= count, f"{count} records", lambda: member.got)
    member.stop()
    return member.got


@pytest.mark.real_kafka
@pytest.mark.parametrize("subscribed_in", ["constructor", "subscribe"])
def test_two_members_share_the_partitions_and_every_record_is_processed_once(
    make_producer, member, recorder, topic, subscribed_in
):
    """A second member joins: both are assigned again, and no record is lost or processed twice by our doing."""
    arguments, how = ([topic], {}) if subscribed_in == "constructor" else ([], {"subscribe": True})
    members = [Member(member(*arguments, **how))]
    partitions = lambda: [each.partitions for each in members]
    wait_until(lambda: partitions() == [4], "the first member to be assigned all 4 partitions", partitions)
    noted = lambda: noted_partitions(members[0].consumer)
    wait_until(lambda: noted() == {(topic, partition) for partition in range(4)}, "the 4 partitions to be noted", noted)
    fill(make_producer, topic, 8)
    wait_until(lambda: len(members[0].got) == 8, "8 records at the first member", lambda: members[0].got)
    members.append(Member(member(*arguments, **how)))
    wait_until(lambda: partitions() == [2, 2], "2 partitions at each of two members", partitions)
    fill(make_producer, topic, 8)
    got = lambda: [len(each.got) for each in members]
    wait_until(lambda: sum(got()) >= 16, "16 records at both members together", got)
    for each in members:
        each.stop()
        assigned = {(partition.topic, partition.partition) for partition in each.consumer.assignment()}
        assert noted_partitions(each.consumer) == assigned
    places_got = [(record.partition, record.offset) for each in members for record in each.got]
    processed = recorder.named(f"process {topic}")
    places = [
        (int(span.attributes["messaging.destination.partition.id"]), span.attributes["messaging.kafka.offset"])
        for span in processed
    ]
    assert sorted(places_got) == sorted(places)
    assert set(places_got) == {(partition, offset) for partition in range(4) for offset in range(4)}
    assert {span.attributes["messaging.consumer.group.name"] for span in processed} == {f"of {topic}"}


@pytest.mark.real_kafka
def test_record_that_waited_for_its_assignment_was_not_waited_for(make_producer, member, recorder, topic):
    """What lies before the assignment of a partition is neither busy nor fetch."""
    fill(make_producer, topic, 1, timestamp_ms=time.time_ns() // 1_000_000 - 60_000)
    consumer = member(topic)
    poll_until(consumer, 1)
    (span,) = recorder.named(f"process {topic}")
    shown = span.attributes
    attended = internals.attended_since(consumer, topic, 0)
    parts = shown["otelkafka.queue.busy_duration"] + shown["otelkafka.queue.fetch_duration"]
    assert shown["otelkafka.queue.duration"] >= 60
    assert parts == pytest.approx((span.start_time - attended) / 1e9, abs=1e-6)


@pytest.mark.real_kafka
def test_listener_of_the_user_is_called_by_the_rebalance(make_producer, member, topic):
    """A listener given to subscribe() gets what it would get without us."""
    listener = Listener()
    consumer = member(subscribe=True, listener=listener)
    fill(make_producer, topic, 1)
    poll_until(consumer, 1)
    assert ("assigned", 4) in listener.calls
    consumer.close()
    if int(kafka.__version__.split(".")[0]) >= 3:
        assert listener.calls[-1] == ("revoked", 4)


@pytest.mark.real_kafka
@pytest.mark.skipif(kafka.__version__ < "2.2", reason="kafka-python before 2.2 has no transactions")
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


@pytest.mark.real_kafka
@pytest.mark.skipif(kafka.__version__.startswith("2.0"), reason="kafka-python 2.0 does not report automatic commits")
def test_automatic_commits_are_counted_by_result(broker, make_producer, topic):
    """Each automatic commit that the client reports is counted, with the group and the topic, and has no span."""
    metrics, heard = MetricRecorder(), []
    config = {"enable_auto_commit": True, "auto_commit_interval_ms": 50, "auto_offset_reset": "earliest"}
    config.update(metadata_max_age_ms=500, heartbeat_interval_ms=300)
    config["default_offset_commit_callback"] = lambda *shown: heard.append(shown)
    bare = KafkaConsumer(topic, group_id=f"of {topic}", **config, **broker.client_options)
    consumer = wrap_consumer(bare, ConsumerOptions(meter_provider=metrics.meter_provider))
    fill(make_producer, topic, 4)
    # Before it has its partitions the client may commit nothing, and on a busy machine it may fail: it reports both.
    done = lambda: len([offsets for offsets, response in heard if offsets and not isinstance(response, Exception)])
    wait_until(lambda: consumer.poll(timeout_ms=100) is not None and done() > 2, "3 automatic commits", lambda: heard)
    consumer.close()
    points = metrics.points("otelkafka.consumer.auto_commits")
    assert sum(count for _, count in points) == len(heard)
    assert {shown["messaging.consumer.group.name"] for shown, _ in points} == {f"of {topic}"}
    of_topic = [each for each in points if each[0].get("messaging.destination.name") == topic]
    assert [count for shown, count in of_topic if "error.type" not in shown] == [done()]


@pytest.mark.real_kafka
@pytest.mark.skipif(kafka.__version__ < "2.2", reason="kafka-python before 2.2 has no transactions")
def test_group_of_three_that_join_and_leave_is_recorded_whole(broker, recorder):
    """Three join, one leaves, with transactions and a poisoned record: nothing is processed twice by our doing."""
    metrics = MetricRecorder()
    broker.create_topic(group_of_three.TOPIC, partitions=group_of_three.PARTITIONS)
    members = group_of_three.run(broker, recorder, metrics)
    handled = [place for member in members for place in member.handled]
    processed = recorder.named("process orders")
    shown = [
        (int(span.attributes["messaging.destination.partition.id"]), span.attributes["messaging.kafka.offset"])
        for span in processed
    ]
    assert sorted(shown) == sorted(handled)
    assert [span.attributes.get("error.type") for span in processed].count("ValueError") == 1
    assert {span.parent.span_id for span in recorder.named("commit orders")} <= {
        span.context.span_id for span in processed
    }
    assert len(recorder.named("commit orders")) == len(processed) - 1
    aborts = recorder.named("abort transaction")
    assert [span.attributes["otelkafka.transaction.voided"] for span in aborts] == [5, 5]
    voided = [span for span in recorder.named("send orders") if "error.type" in span.attributes]
    sent = {span.context.span_id for span in recorder.named("send orders")} - {span.context.span_id for span in voided}
    parents = {span.parent.span_id for span in processed}
    # A send that the broker had acknowledged before the abort has ended well, and was not processed either.
    assert parents <= sent
    assert len(parents) == 2 * group_of_three.ORDERS + 1
    assert sum(count for _, count in metrics.points("messaging.client.consumed.messages")) == len(handled)
    turns = {
        shown["messaging.operation.name"]: count for shown, count in metrics.points("otelkafka.consumer.rebalances")
    }
    assert turns["assign"] >= 1 + 2 + 3 + 2
    assert turns["revoke"] >= 1 + 2 + 1
    assigned = [set(span.attributes["otelkafka.rebalance.partitions"]) for span in recorder.named("assign orders")]
    assert {f"orders-{partition}" for partition in range(group_of_three.PARTITIONS)} in assigned


class Unreachable(Subscription):
    """A subscription whose listener nobody else can replace."""

    @property
    def listener(self):
        return None

    @listener.setter
    def listener(self, listener):
        if listener is not None:
            raise AttributeError


class NoListener(FakeConsumer):
    """A consumer whose subscribe() takes no listener, and whose subscription has none."""

    assigned = ()

    def __init__(self, *records):
        super().__init__(*records)
        self._subscription.__class__ = Unreachable

    def subscribe(self, topics):
        super().subscribe(topics)
        self._subscription.partitions_auto_assigned = lambda: False

    def assignment(self):
        return {TopicPartition("t", partition) for partition in self.assigned}


def test_assignments_are_compared_where_there_is_no_listener(recorder, clock):
    """Without a listener, assignments are learned by comparing assignment() after poll()."""
    bare, wrapped = NoListener(record(0)), clock.now
    consumer = wrap_consumer(bare, ConsumerOptions(tracer_provider=recorder.tracer_provider))
    consumer.subscribe(["t"])
    assert bare.subscription() == {"t"}
    for assigned in ([0, 1], [1, 2], []):
        clock.advance(10)
        bare.assigned = assigned
        consumer.poll()
        assert noted_partitions(consumer) == {("t", partition) for partition in assigned}
        assert all(attended_since(recorder, consumer, partition) > wrapped for partition in assigned)


class Closed(NoListener):
    """A consumer whose subscribe() cannot be looked into."""

    subscribe = property(lambda self: dict)


@pytest.mark.skipif(INSTRUMENTED, reason="a patched class has methods of its own")
def test_subscribe_that_cannot_be_looked_into_is_called_as_it_is(recorder):
    """Where it is not known whether a listener is taken, none is given."""
    assert wrap_consumer(Closed()).subscribe([("a", 1)]) == {"a": 1}
