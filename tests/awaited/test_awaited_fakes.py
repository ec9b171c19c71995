"""What users' own tests get in the place of a broker, for aiokafka."""

import asyncio
import inspect

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import ConsumerStoppedError, IllegalOperation, IllegalStateError, KafkaError, ProducerClosed

from otelkafka.testing import FakeAIOKafkaConsumer, FakeAIOKafkaProducer, FakeConsumer, FakeProducer, fake_record
from tests.support.awaiting import awaited

FIRST, SECOND = (TopicPartition("t", partition) for partition in range(2))
OWN = {"send_and_wait", "transaction"}
"""What is made of other methods, by aiokafka."""


@pytest.mark.parametrize(
    ("real", "fake"), [(AIOKafkaProducer, FakeAIOKafkaProducer), (AIOKafkaConsumer, FakeAIOKafkaConsumer)]
)
def test_fake_has_every_method_of_the_client_and_takes_its_arguments(real, fake):
    """Nothing public is inherited, where it would touch a connection that is not there."""
    for name, method in inspect.getmembers(real, inspect.isfunction):
        if name.startswith("_") or name in OWN:
            continue
        theirs = getattr(fake, name)
        assert theirs.__module__.startswith("otelkafka.testing."), name
        assert inspect.iscoroutinefunction(theirs) == inspect.iscoroutinefunction(method), name
        assert list(inspect.signature(method).parameters) == list(inspect.signature(theirs).parameters), name


def test_configuration_is_checked():
    """As the real client does; it can be made outside of a loop."""
    for fake in (FakeAIOKafkaProducer, FakeAIOKafkaConsumer):
        with pytest.raises(TypeError, match="does not know nope"):
            fake(nope=1)
        assert fake(client_id="c").config["client_id"] == "c"


@awaited
async def test_producer_writes_what_a_consumer_of_its_cluster_reads(cluster):
    """Serializers and deserializers are applied; keys choose their partitions; each library reads the other's."""
    cluster.create_topic("t", 2)
    producer = FakeAIOKafkaProducer(cluster, key_serializer=str.encode, value_serializer=str.encode)
    async with producer:
        sent = [await producer.send_and_wait("t", "v", key=key) for key in "abca"]
    assert sent[0].partition == sent[3].partition
    with pytest.raises(ProducerClosed):
        await producer.send("t", "v")
    FakeProducer(cluster).send("t", b"v", b"a")
    keys = []
    async with FakeAIOKafkaConsumer("t", cluster=cluster, value_deserializer=bytes.decode) as consumer:
        async for record in consumer:
            keys.append((record.key, record.value))
    assert sorted(keys) == [(b"a", "v")] * 3 + [(b"b", "v"), (b"c", "v")]
    assert len(list(FakeConsumer("t", cluster=cluster))) == 5


@awaited
async def test_sends_are_acknowledged_or_fail_on_cue(cluster):
    """The one that waits longest."""
    producer = FakeAIOKafkaProducer(cluster, auto_complete=False)
    first, second, third = [await producer.send("t", b"v") for _ in range(3)]
    assert producer.complete_next()
    assert producer.error_next(KafkaError("no"))
    assert (first.result().offset, str(second.exception())) == (0, "KafkaError: no")
    await producer.flush()
    assert third.result().offset == 1
    assert not producer.complete_next()
    assert not producer.error_next(KafkaError())


@awaited
async def test_transactions(cluster):
    """Records of one that is aborted are nobody's; offsets are committed with it."""
    producer = FakeAIOKafkaProducer(cluster, transactional_id="tx")
    with pytest.raises(IllegalOperation):
        await producer.send("t", b"v")
    transaction = producer.transaction()
    with pytest.raises(ZeroDivisionError):
        async with transaction:
            await producer.send("t", b"lost")
            raise ZeroDivisionError
    async with producer.transaction():
        await producer.send("t", b"kept")
        await producer.send_offsets_to_transaction({TopicPartition("u", 0): 5}, "g")
    assert [record.value for record in cluster.records("t")] == [b"kept"]
    assert cluster.committed("g", TopicPartition("u", 0)) == 5
    with pytest.raises(IllegalOperation):
        await FakeAIOKafkaProducer().begin_transaction()


@awaited
async def test_consumer_seeks_pauses_and_commits(cluster):
    """As a real one, without a broker."""
    cluster.create_topic("t", 2)
    for offset in range(3):
        cluster.write(fake_record("t", b"v", offset=offset, timestamp=offset))
    consumer = FakeAIOKafkaConsumer(cluster=cluster, group_id="g")
    consumer.assign([FIRST, SECOND])
    assert consumer.assignment() == {FIRST, SECOND}
    consumer.seek(FIRST, 2)
    assert (await consumer.getone()).offset == 2
    await consumer.seek_to_beginning()
    assert await consumer.position(FIRST) == 0
    await consumer.seek_to_end(FIRST)
    assert await consumer.position(FIRST) == 3
    await consumer.commit({FIRST: 1})
    assert await consumer.committed(FIRST) == 1
    await consumer.commit({FIRST: (2, "m")})
    assert await consumer.seek_to_committed(FIRST) == {FIRST: 2}
    consumer.pause(FIRST)
    assert consumer.paused() == {FIRST}
    assert await consumer.getmany() == {}
    consumer.resume(FIRST)
    assert [record.offset for record in (await consumer.getmany(FIRST))[FIRST]] == [2]
    assert await consumer.getmany(SECOND) == {}
    await consumer.commit()
    assert await consumer.committed(FIRST) == 3
    assert await consumer.beginning_offsets([FIRST]) == {FIRST: 0}
    assert await consumer.end_offsets([FIRST]) == {FIRST: 3}
    assert consumer.highwater(FIRST) == consumer.last_stable_offset(FIRST) == 3
    assert consumer.last_poll_timestamp(FIRST) is None
    found = await consumer.offsets_for_times({FIRST: 1, SECOND: 1})
    assert (found[FIRST].offset, found[SECOND]) == (1, None)
    assert await consumer.topics() == {"t"}
    assert consumer.partitions_for_topic("t") == {0, 1}
    with pytest.raises(IllegalStateError):
        consumer.seek(TopicPartition("u", 0), 0)
    with pytest.raises(IllegalOperation):
        await FakeAIOKafkaConsumer().commit()


@awaited
async def test_consumer_commits_when_it_is_stopped(cluster):
    """Where `enable_auto_commit` says so, as a real one; then it hands over nothing."""
    cluster.write(fake_record("t", b"v"))
    consumer = FakeAIOKafkaConsumer("t", cluster=cluster, group_id="g")
    await consumer.getone()
    await consumer.stop()
    assert cluster.committed("g", FIRST).offset == 1
    with pytest.raises(ConsumerStoppedError):
        aiter(consumer)
    for fetch in (consumer.getone, consumer.getmany):
        with pytest.raises(ConsumerStoppedError):
            await fetch()


@awaited
async def test_consumer_waits_where_it_is_asked_to(cluster):
    """For a record, or until it is stopped; otherwise it ends where there are no more."""
    ending = FakeAIOKafkaConsumer("t", cluster=cluster)
    assert [record async for record in ending] == []
    waiting = FakeAIOKafkaConsumer("t", cluster=cluster, waits=True)
    received, has_received = [], asyncio.Event()

    async def receive():
        async for record in waiting:
            received.append(record.value)
            has_received.set()

    task = asyncio.create_task(receive())
    await asyncio.sleep(0.01)
    assert await waiting.getmany(timeout_ms=1) == {}
    await FakeAIOKafkaProducer(cluster).send("t", b"v")
    await has_received.wait()
    await waiting.stop()
    await task
    assert received == [b"v"]
