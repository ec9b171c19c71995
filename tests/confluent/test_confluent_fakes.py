"""What users' own tests get in the place of a broker, for confluent-kafka."""

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from otelkafka.testing import (
    FakeAIOKafkaConsumer,
    FakeConfluentConsumer,
    FakeConfluentProducer,
    FakeConsumer,
    FakeMessage,
    FakeProducer,
    fake_record,
)
from tests.support.awaiting import awaited

OWN = {"__init__", "__new__", "__class__", "__doc__"}


@pytest.mark.parametrize(
    ("real", "fake"),
    [
        (confluent_kafka.Producer, FakeConfluentProducer),
        (confluent_kafka.Consumer, FakeConfluentConsumer),
        (confluent_kafka.Message, FakeMessage),
    ],
)
def test_fake_has_every_method_of_the_client(real, fake):
    """None is inherited, where it would touch a handle that is not there."""
    for name, method in vars(real).items():
        if callable(method) and name not in OWN and not name.startswith(("__", "deserialized", "delivery_count")):
            assert name in vars(fake) or name.startswith("set_"), name


def test_producer_writes_what_consumers_of_all_libraries_read(cluster):
    """On one cluster; keys choose their partitions as Kafka's do."""
    cluster.create_topic("t", 2)
    producer = FakeConfluentProducer(cluster=cluster)
    for key in "abca":
        producer.produce("t", "v", key, headers={"h": "x", "n": None})
    FakeProducer(cluster).send("t", b"v", b"a")
    assert [producer.flush(), len(producer)] == [0, 0]
    consumer = FakeConfluentConsumer({"group.id": "g"}, cluster=cluster)
    consumer.subscribe(["t"])
    messages = consumer.consume(10)
    assert sorted(message.key() for message in messages) == [b"a", b"a", b"a", b"b", b"c"]
    assert len({message.partition() for message in messages if message.key() == b"a"}) == 1
    assert messages[0].headers() in ([("h", b"x"), ("n", None)], None)
    assert len(list(FakeConsumer("t", cluster=cluster))) == 5


@awaited
async def test_consumer_of_aiokafka_reads_it_too(cluster):
    """With the same headers."""
    FakeConfluentProducer(cluster=cluster).produce("t", b"v", headers=[("h", b"x")])
    async with FakeAIOKafkaConsumer("t", cluster=cluster) as consumer:
        assert (await consumer.getone()).headers == (("h", b"x"),)


def test_reports_wait_for_poll(cluster):
    """On cue, in the order of the records; what has failed has its error."""
    producer, reports = FakeConfluentProducer(cluster=cluster, auto_complete=False), []
    for _ in range(3):
        producer.produce("t", b"v", on_delivery=lambda error, message: reports.append((error, message.offset())))
    assert producer.complete_next()
    assert producer.error_next(KafkaError(KafkaError._MSG_TIMED_OUT))
    assert reports == []
    assert producer.poll(0) == 2
    assert reports == [(None, 0), (KafkaError(KafkaError._MSG_TIMED_OUT), -1)]
    producer.flush()
    assert reports[2] == (None, 1)
    assert not producer.complete_next()
    assert not producer.error_next(KafkaError(KafkaError._FAIL))


def test_producer_refuses_what_it_cannot_take(cluster):
    """A full queue, a closed producer, and what a test asks for."""
    producer = FakeConfluentProducer({"queue.buffering.max.messages": 1}, cluster=cluster)
    producer.produce("t", b"v")
    with pytest.raises(BufferError):
        producer.produce("t", b"v")
    producer.poll(0)
    producer.refuse_next(BufferError("full"))
    with pytest.raises(BufferError, match="full"):
        producer.produce("t", b"v")
    with producer:
        pass
    with pytest.raises(RuntimeError):
        producer.produce("t", b"v")
    for call in (producer.list_topics, producer.cluster_id):
        with pytest.raises(KafkaException):
            call()


def test_transactions(cluster):
    """Records of one that is aborted are nobody's; offsets are committed with it."""
    producer = FakeConfluentProducer({"transactional.id": "tx"}, cluster=cluster)
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce("t", b"lost")
    producer.abort_transaction()
    producer.begin_transaction()
    producer.produce("t", b"kept")
    producer.send_offsets_to_transaction([TopicPartition("u", 0, 5)], "g")
    producer.commit_transaction()
    assert [record.value for record in cluster.records("t")] == [b"kept"]
    with pytest.raises(KafkaException):
        FakeConfluentProducer().init_transactions()


def test_consumer_seeks_pauses_and_commits(cluster):
    """As a real one, without a broker."""
    for offset in range(3):
        cluster.write(fake_record("t", b"v", offset=offset, timestamp=offset))
    consumer = FakeConfluentConsumer({"group.id": "g"}, cluster=cluster)
    place = TopicPartition("t", 0)
    consumer.assign([TopicPartition("t", 0, 1)])
    assert consumer.assignment() == [place]
    message = consumer.poll()
    assert (message.offset(), message.timestamp(), len(message), bool(message)) == (1, (1, 1), 1, True)
    assert message.latency() is message.leader_epoch() is message.error() is None
    assert consumer.position([place])[0].offset == 2
    consumer.seek(TopicPartition("t", 0, 0))
    consumer.pause([place])
    assert consumer.poll() is None
    consumer.resume([place])
    assert consumer.consume(1)[0].offset() == 0
    assert consumer.commit(asynchronous=False)[0].offset == 1
    assert consumer.committed([place])[0].offset == 1
    with pytest.raises(TypeError, match="on_assign expects a callable"):
        consumer.subscribe(["t"], on_assign=None)
    with pytest.raises(KafkaException):
        consumer.store_offsets(message)
    storing = FakeConfluentConsumer({"group.id": "g", "enable.auto.offset.store": False}, cluster=cluster)
    storing.assign([place])
    storing.store_offsets(offsets=[TopicPartition("t", 0, 3)])
    storing.commit()
    assert consumer.committed([place])[0].offset == 3
    storing.store_offsets(message)
    storing.close()
    assert consumer.committed([place])[0].offset == 2
    assert consumer.commit(message=message, asynchronous=False)[0].offset == 2
    assert consumer.get_watermark_offsets(place, cached=True) == (0, 3)
    assert [each.offset for each in consumer.offsets_for_times([TopicPartition("t", 0, 2)])] == [2]
    assert consumer.consumer_group_metadata() == "g"
    with pytest.raises(KafkaException):
        consumer.seek(TopicPartition("u", 0, 0))
    consumer.close()
    with pytest.raises(RuntimeError):
        consumer.poll()


def test_consumer_commits_when_it_is_closed(cluster):
    """Where `enable.auto.commit` says so; `on_commit` is called."""
    cluster.write(fake_record("t", b"v"))
    committed = []
    config = {"group.id": "g", "on_commit": lambda error, partitions: committed.append((error, partitions[0].offset))}
    with FakeConfluentConsumer(config, cluster=cluster) as consumer:
        consumer.subscribe(["^t"])
        consumer.poll()
    assert committed == [(None, 1)]


def test_consumer_makes_its_own_records(cluster):
    """From `fake_record`, whose partitions it is assigned; a deserializer may replace parts of a message."""
    consumer = FakeConfluentConsumer(records=[fake_record("t", b"v", headers=[("a", b"b")])])
    message = consumer.poll()
    message.set_value("decoded")
    message.set_key("key")
    message.set_headers(None)
    assert (message.value(), message.key(), message.headers()) == ("decoded", "key", None)
    assert FakeMessage(fake_record("t", timestamp=-1)).timestamp() == (0, 0)
