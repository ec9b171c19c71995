"""What users' own tests get in the place of a broker: a producer, a consumer, and the topics between them."""

import inspect
import threading

import kafka
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.serializer import Deserializer, Serializer

from otelkafka import wrap_consumer
from otelkafka.testing import (
    FakeCluster,
    FakeConsumer,
    FakeProducer,
    fake_record,
)
from tests.support.fakes import Listener

FIRST, SECOND = (TopicPartition("questions", partition) for partition in range(2))


@pytest.mark.parametrize(("real", "fake"), [(KafkaProducer, FakeProducer), (KafkaConsumer, FakeConsumer)])
def test_fake_has_every_method_of_the_client_and_takes_its_arguments(real, fake):
    """Nothing public is inherited, where it would touch a connection that is not there."""
    for name, method in inspect.getmembers(real, inspect.isfunction):
        if name.startswith(("_", "next_v")):  # the latter are two ways to iterate, which old releases let one choose
            continue
        assert getattr(fake, name).__module__.startswith("otelkafka.testing."), name
        taken = inspect.signature(getattr(fake, name)).parameters
        assert set(inspect.signature(method).parameters) <= set(taken) or "_" in taken, name


def test_producer_is_one_and_returns_where_its_records_went():
    """It passes as a KafkaProducer; keys choose their partitions, as Kafka does; serializers are applied."""
    producer = FakeProducer(FakeCluster(partitions=2), key_serializer=str.encode, value_serializer=str.encode)
    with producer:
        shown = [producer.send("t", "v", key=key, timestamp_ms=5).get(0) for key in "abcdea"]
    assert isinstance(producer, KafkaProducer)
    assert [each.offset for each in shown if each.partition == shown[0].partition][0] == 0
    assert shown[0].partition == shown[-1].partition
    assert {each.partition for each in shown} == {0, 1} == producer.partitions_for("t")
    assert [(each.key, each.value, each.timestamp) for each in producer.history[:2]] == [
        (b"a", b"v", 5),
        (b"b", b"v", 5),
    ]
    with pytest.raises(KafkaError, match="closed"):
        producer.send("t", "v")


def test_sends_are_resolved_on_cue():
    """With `auto_complete=False` each send waits for its acknowledgement, or its error."""
    producer, heard = FakeProducer(auto_complete=False), []
    futures = [producer.send("t", b"%d" % at) for at in range(4)]
    for future in futures:
        future.add_callback(heard.append).add_errback(heard.append)
    with pytest.raises(KafkaTimeoutError, match="the send to t was not acknowledged within 0 s"):
        futures[0].get(0)
    assert producer.cluster.records("t") == []
    assert producer.complete_next()
    assert producer.error_next(KafkaError("refused"))
    with pytest.raises(KafkaError, match="refused"):
        futures[1].get(0)
    producer.flush()
    assert (producer.complete_next(), producer.error_next(KafkaError())) == (False, False)
    assert [each.value for each in producer.cluster.records("t")] == [b"0", b"2", b"3"]
    assert [getattr(each, "offset", each) for each in heard] == [0, futures[1].exception, 1, 2]


def test_what_cannot_be_sent_is_refused():
    """Bytes or None, as kafka-python has it, after the serializers."""
    with pytest.raises(TypeError, match="value is str: give bytes, or a value_serializer that makes some"):
        FakeProducer().send("t", "text")


@pytest.mark.parametrize("fake", [FakeProducer, FakeConsumer])
def test_settings_that_the_client_does_not_know_are_refused(fake):
    """A slip in a setting is found by the test, and not in production."""
    with pytest.raises(KafkaError, match="of this release does not know group_ids"):
        fake(group_ids="wall")


def test_consumer_that_cannot_do_it_says_so():
    """Without a group nothing is committed; a closed one polls no more, and its iteration has ended."""
    consumer = questions(1)
    with pytest.raises(KafkaError, match="needs a group: give it a group_id"):
        consumer.commit()
    with consumer:
        pass
    assert list(consumer) == []
    with pytest.raises(KafkaError, match="closed: make another"):
        consumer.poll()


def test_transactions_are_read_when_they_are_committed():
    """Nobody reads what is not committed, nor ever what was aborted; offsets are committed with it."""
    cluster = FakeCluster()
    producer, consumer = FakeProducer(cluster), FakeConsumer("t", cluster=cluster, group_id="g")
    producer.init_transactions()
    producer.begin_transaction()
    producer.send("t", b"aborted")
    producer.abort_transaction()
    producer.begin_transaction()
    producer.send("t", b"committed")
    assert list(consumer) == []
    producer.send_offsets_to_transaction({FIRST: 5}, consumer.group_metadata())
    producer.commit_transaction()
    assert [(each.offset, each.value) for each in consumer] == [(1, b"committed")]
    assert cluster.committed("g", FIRST) == 5


def questions(count=4, **config):
    """A consumer of so many records in two partitions."""
    records = [fake_record("questions", b"%d" % at, partition=at % 2, offset=at // 2) for at in range(count)]
    return FakeConsumer(records=records, **config)


def test_consumer_is_one_and_hands_over_what_it_was_given():
    """It passes as a KafkaConsumer; poll() gives lists by partition, iteration ends, and goes on when there is more."""
    consumer = questions()
    assert isinstance(consumer, KafkaConsumer)
    assert consumer.assignment() == {FIRST, SECOND}
    polled = consumer.poll(max_records=3)
    assert {place: [each.value for each in records] for place, records in polled.items()} == {
        FIRST: [b"0", b"2"],
        SECOND: [b"1"],
    }
    assert (consumer.position(FIRST), consumer.position(SECOND)) == (2, 1)
    assert [each.value for each in consumer] == [b"3"]
    assert consumer.poll() == {}
    consumer.cluster.write(fake_record("questions", b"4", offset=2))
    assert next(consumer).value == b"4"
    with pytest.raises(StopIteration):
        next(consumer)


def test_consumer_seeks_pauses_and_returns_offsets():
    """What asks of positions and offsets answers as the client does."""
    consumer = questions()
    consumer.seek(FIRST, 1)
    consumer.pause(SECOND)
    assert consumer.paused() == {SECOND}
    assert [each.value for each in consumer] == [b"2"]
    consumer.resume(SECOND)
    consumer.seek_to_end(SECOND)
    consumer.seek_to_beginning(FIRST)
    assert [each.value for each in consumer] == [b"0", b"2"]
    assert consumer.end_offsets([FIRST]) == {FIRST: 2} == {FIRST: consumer.highwater(FIRST)}
    assert consumer.beginning_offsets([FIRST]) == {FIRST: 0}
    assert consumer.offsets_for_times({FIRST: 0, SECOND: 1 << 60})[FIRST].offset == 0
    assert consumer.partitions_for_topic("questions") == {0, 1}
    assert consumer.partitions_for_topic("answers") is None
    assert consumer.topics() == {"questions"}
    with pytest.raises(KafkaError, match="is not assigned: these are"):
        consumer.seek(TopicPartition("answers", 0), 0)


def test_group_goes_on_where_it_has_committed():
    """Committed by hand, with a callback, or at the end; another consumer of the group begins there."""
    first, heard = questions(group_id="g"), []
    next(first)
    first.commit()
    next(first)
    first.commit_async(callback=lambda *shown: heard.append(shown))
    assert first.committed(FIRST) == 2 == first.committed(FIRST, metadata=True).offset
    assert [answer for _, answer in heard] == [True]
    next(first)
    first.close()
    second = FakeConsumer("questions", cluster=first.cluster, group_id="g")
    assert [each.value for each in second] == [b"3"]


@pytest.mark.parametrize(("reset", "found"), [("earliest", 1), ("latest", 0)])
def test_consumer_without_a_commit_begins_where_auto_offset_reset_says(reset, found):
    """`auto_offset_reset`, which is "earliest" where nobody says otherwise."""
    cluster = questions(1).cluster
    assert len(list(FakeConsumer("questions", cluster=cluster, auto_offset_reset=reset))) == found
    with pytest.raises(KafkaError, match="questions"):
        next(FakeConsumer("questions", cluster=cluster, auto_offset_reset="none"))


def test_error_comes_on_cue_and_costs_no_record():
    """error_next() lets one call fail, and the next one goes on."""
    consumer = questions(2)
    consumer.error_next(KafkaError("away"))
    with pytest.raises(KafkaError, match="away"):
        consumer.poll()
    assert len(consumer.poll()) == 2


def test_subscription_is_assigned_by_the_next_poll_which_calls_the_listener():
    """By name or by pattern; topics that come later are assigned, too."""
    cluster, listener = FakeCluster(), Listener()
    cluster.create_topic("questions", partitions=2)
    with pytest.raises(ValueError, match="there is a topic 'questions' already"):
        cluster.create_topic("questions")
    consumer = FakeConsumer(cluster=cluster)
    consumer.subscribe(pattern="qu", listener=listener)
    assert consumer.assignment() == set()
    consumer.poll()
    assert consumer.assignment() == {FIRST, SECOND}
    cluster.create_topic("quotes")
    consumer.poll()
    assert consumer.subscription() == {"questions", "quotes"}
    consumer.unsubscribe()
    assert listener.calls == [("assigned", 2), ("revoked", 2), ("assigned", 3), ("revoked", 3)]
    assert consumer.subscription() is None


@pytest.mark.skipif(not hasattr(kafka, "AsyncConsumerRebalanceListener"), reason="no async listeners in this release")
def test_asynchronous_listener_is_awaited():
    """As kafka-python does since 3.0."""
    heard = []

    class Waiting(kafka.AsyncConsumerRebalanceListener):
        async def on_partitions_assigned(self, assigned):
            heard.append(assigned)

        async def on_partitions_revoked(self, revoked):
            pass

    consumer = questions(0)
    consumer.cluster.create_topic("questions", partitions=2)
    wrap_consumer(consumer).subscribe(["questions"], listener=Waiting())
    consumer.poll()
    assert heard == [{FIRST, SECOND}]


class Shouting(Serializer, Deserializer):
    """Both, in the form of a class, whose methods kafka-python 3 gives the headers, too."""

    def serialize(self, topic, *headers_and_value):
        return headers_and_value[-1].upper().encode()

    def deserialize(self, topic, *headers_and_value):
        return headers_and_value[-1].decode().lower()


def test_serializers_may_be_objects():
    """As kafka-python has them: functions, or objects with serialize() and deserialize()."""
    cluster = FakeCluster()
    FakeProducer(cluster, value_serializer=Shouting()).send("t", "why")
    assert [each.value for each in cluster.records("t")] == [b"WHY"]
    assert [each.value for each in FakeConsumer("t", cluster=cluster, value_deserializer=Shouting())] == ["why"]
    assert [each.value for each in FakeConsumer("t", cluster=cluster, value_deserializer=bytes.decode)] == ["WHY"]


@pytest.mark.parametrize(
    "headers", [[("k", None)], [("k", "text")], [(b"k", b"v")], [("k", b"v", 1)], (("k", b"v"),), [["k", b"v"]]]
)
def test_producer_refuses_the_headers_that_kafka_python_refuses(headers):
    """By the same kind of error, and keeps nothing."""
    producer = FakeProducer()
    with pytest.raises((TypeError, AssertionError)):
        producer.send("t", b"v", headers=headers)
    assert producer.history == []


def test_producer_gives_each_thread_the_future_of_its_own_send():
    """A producer may be used from many threads: each send is acknowledged once, by the thread that asks for it."""
    producer = FakeProducer(auto_complete=False)
    futures = []

    def send():
        futures.extend(producer.send("t", b"v") for _ in range(500))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, futures))) == 4000
    producer.flush()
    assert all(future.is_done for future in futures)
