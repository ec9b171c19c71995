"""The clients of aiokafka themselves, on a broker: what the fakes cannot show."""

import asyncio
import gc
import uuid
import weakref

import aiokafka
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from otelkafka import ConsumerOptions, ProducerOptions
from testbroker import start_broker
from tests.support.awaiting import awaited
from tests.support.face import bare_of, wrap_consumer, wrap_producer
from tests.support.fakes import ambient_of, current, is_nothing_current
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.per_client


@pytest.fixture
def clients(broker, recorder, metrics, topic):
    """Make traced clients of the broker; to be used in an `async with`."""
    providers = {"tracer_provider": recorder.tracer_provider, "meter_provider": metrics.meter_provider}
    servers = {"bootstrap_servers": broker.bootstrap_servers}

    def producer(options=None, **config):
        return wrap_producer(AIOKafkaProducer(**{**servers, **config}), ProducerOptions(**providers, **(options or {})))

    def consumer(*topics, options=None, **config):
        settings = {**servers, "auto_offset_reset": "earliest", "enable_auto_commit": False, **config}
        bare = AIOKafkaConsumer(*topics, **settings)
        return wrap_consumer(bare, ConsumerOptions(**providers, **(options or {})))

    return producer, consumer


async def within(awaitable):
    return await asyncio.wait_for(awaitable, PATIENCE)


async def take(consumer, count):
    """Return so many records, each processed in the loop's body."""
    found = []
    async for record in consumer:
        found.append((record, current()))
        if len(found) == count:
            return found
    return found


@awaited
async def test_trace_goes_through_sends_and_a_loop(clients, recorder, topic, broker):
    """Each way to send, and the leader, partition and offset on both sides."""
    producer, consumer = clients
    async with producer() as sending:
        with ambient_of(recorder):
            first = await within(sending.send_and_wait(topic, b"1", b"k", headers=[("a", b"b")]))
            second = await within(await sending.send(topic, b"2"))
            batch = sending.create_batch()
            for value in (b"3", b"4"):
                batch.append(key=None, value=value, timestamp=None)
            third = await within(await sending.send_batch(batch, topic, partition=0))
    async with consumer() as receiving:
        receiving.assign([TopicPartition(topic, 0)])
        found = await within(take(receiving, 4))
    assert is_nothing_current()
    assert [record.value for record, _ in found] == [b"1", b"2", b"3", b"4"]
    assert [name for name, _ in found[0][0].headers] == ["a", "traceparent"]
    sends, processes = recorder.named(f"send {topic}"), recorder.named(f"process {topic}")
    assert [span.attributes["messaging.kafka.offset"] for span in sends] == [
        first.offset,
        second.offset,
        third.offset,
    ]
    by_span = [sends[0], sends[1], sends[2], sends[2]]
    assert [span.parent.span_id for span in processes] == [span.context.span_id for span in by_span]
    assert [context.span_id for _, context in found] == [span.context.span_id for span in processes]
    for span in (*sends, *processes):
        assert span.attributes["server.port"] == int(broker.bootstrap_servers.rpartition(":")[2])
        assert span.attributes["messaging.destination.partition.id"] == "0"
    assert "messaging.batch.message_count" not in sends[0].attributes
    assert sends[2].attributes["messaging.batch.message_count"] == 2
    assert sends[0].attributes["otelkafka.send.blocked_duration"] >= 0
    assert processes[0].attributes["otelkafka.queue.duration"] > 0
    assert processes[-1].attributes["otelkafka.consumer.lag"] == 0


@awaited
async def test_lists_and_getone_of_the_client(clients, recorder, topic):
    """`getmany()` returns lists that dispatch; partitions may be given."""
    producer, consumer = clients
    async with producer() as sending:
        for value in (b"1", b"2", b"3"):
            await within(sending.send_and_wait(topic, value))
    async with consumer() as receiving:
        receiving.assign([TopicPartition(topic, 0)])
        assert (await within(receiving.getone(TopicPartition(topic, 0)))).value == b"1"
        polled = await within(receiving.getmany(timeout_ms=int(PATIENCE * 1000), max_records=2))
        names = [trace.get_current_span().name for records in polled.values() for _ in records]
    assert set(names) == {f"process {topic}"}
    assert len(recorder.named(f"process {topic}")) == 1 + len(names)


@awaited
async def test_send_of_a_dropped_producer_ends_with_its_future(clients, recorder, topic):
    """aiokafka sends what a producer has taken in a task that goes on without it."""
    producer, _ = clients
    sending = producer()
    await within(sending.start())
    future = await sending.send(topic, b"v")
    dropped, connections = weakref.ref(bare_of(sending)), bare_of(sending).client
    with pytest.warns(ResourceWarning, match="Unclosed AIOKafkaProducer"):
        del sending
        gc.collect()
    assert dropped() is None
    assert not recorder.named(f"send {topic}")
    metadata = await within(future)
    await connections.close()
    (span,) = recorder.named(f"send {topic}")
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes["messaging.kafka.offset"] == metadata.offset


class Listener(ConsumerRebalanceListener):
    """Notes which span was current, after it has awaited."""

    def __init__(self):
        self.calls = []
        self.has_been_called = asyncio.Event()

    async def on_partitions_assigned(self, assigned):
        await asyncio.sleep(0)
        self.calls.append(("assign", getattr(trace.get_current_span(), "name", None)))
        if len(self.calls) > 2:
            self.has_been_called.set()

    async def on_partitions_revoked(self, revoked):
        await asyncio.sleep(0)
        self.calls.append(("revoke", getattr(trace.get_current_span(), "name", None)))


@pytest.mark.real_kafka
@awaited
async def test_group_of_two_with_commits_and_rebalances(clients, recorder, metrics, topic, broker):
    """Commits are inside of what is processed, and listeners inside of the spans of their rebalances."""
    producer, consumer = clients
    group = {"group_id": f"of {topic}", "heartbeat_interval_ms": 300, "rebalance_timeout_ms": 3000}
    async with producer() as sending:
        await within(sending.send_and_wait(topic, b"v"))
    listener = Listener()
    first = consumer(**group)
    first.subscribe([topic], listener=listener)
    async with first:
        ((record, _),) = await within(take(first, 1))
        async with consumer(topic, **group):
            pass
        await within(listener.has_been_called.wait())
        record = await first.getone()  # not by wait_for(), which has a task of its own before Python 3.12
        assert record.value == b"v"
        await within(first.commit())
    (commit,) = recorder.named(f"commit {topic}")
    process = recorder.named(f"process {topic}")[-1]
    assert commit.parent.span_id == process.context.span_id
    assert process.attributes["messaging.consumer.group.name"] == f"of {topic}"
    assert ("assign", f"assign {topic}") in listener.calls
    assert ("revoke", f"revoke {topic}") in listener.calls
    rebalances = dict(
        (attributes["messaging.operation.name"], value)
        for attributes, value in metrics.points("otelkafka.consumer.rebalances")
    )
    assert rebalances["assign"] >= 2
    assert rebalances["revoke"] >= 1


@pytest.mark.real_kafka
@awaited
async def test_transactions_on_kafka(clients, recorder, topic):
    """Committed and aborted; a consumer that reads what is committed is the child of what was sent."""
    producer, consumer = clients
    async with producer(transactional_id=f"tx {topic}") as sending:
        transaction = sending.transaction()
        with pytest.raises(ZeroDivisionError):
            async with transaction:
                await sending.send(topic, b"lost")
                raise ZeroDivisionError
        async with sending.transaction():
            await within(sending.send_and_wait(topic, b"kept"))
            await sending.send_offsets_to_transaction({TopicPartition(topic, 0): 1}, f"of {topic}")
    async with consumer(isolation_level="read_committed") as receiving:
        receiving.assign([TopicPartition(topic, 0)])
        ((record, _),) = await within(take(receiving, 1))
    assert record.value == b"kept"
    names = [span.name for span in recorder.spans]
    assert names.count("commit transaction") == 1
    assert names.count("abort transaction") == 1
    assert recorder.named("abort transaction")[0].attributes["otelkafka.transaction.voided"] == 1
    _, kept = recorder.named(f"send {topic}")
    assert recorder.named(f"process {topic}")[0].parent.span_id == kept.context.span_id


@pytest.mark.real_kafka
@awaited
async def test_pattern_subscription_and_restart(clients, recorder, topic):
    """Topics that match are assigned; a second consumer of the group goes on where the first has committed."""
    producer, consumer = clients
    async with producer() as sending:
        for value in (b"1", b"2"):
            await within(sending.send_and_wait(topic, value))
    group = {"group_id": f"of {topic}"}
    for expected in (b"1", b"2"):
        receiving = consumer(**group)
        receiving.subscribe(pattern=f"^{topic}$")
        async with receiving:
            record = await within(receiving.getone())
            await within(receiving.commit())
            assert record.value == expected
    assert len(recorder.named(f"assign {topic}")) == 2


@pytest.mark.real_kafka
@pytest.mark.kafka_releases
@awaited
async def test_outage_fails_what_is_in_flight(recorder):
    """A broker that is killed: the futures fail, and end their spans; `stop()` leaves none open."""
    name = f"o-{uuid.uuid4().hex}"
    with start_broker("kafka") as broker:
        broker.create_topic(name)
        bare = AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers, request_timeout_ms=2000)
        traced = wrap_producer(bare, ProducerOptions(tracer_provider=recorder.tracer_provider))
        await traced.start()
        await within(traced.send_and_wait(name, b"before"))
        await asyncio.to_thread(broker.kill)
        futures = [await traced.send(name, b"in the outage") for _ in range(3)]
        await within(traced.stop())
        results = await asyncio.gather(*futures, return_exceptions=True)
    assert all(isinstance(result, KafkaError) for result in results)
    spans = recorder.named(f"send {name}")
    assert len(spans) == 4
    assert [span.attributes.get("error.type") for span in spans] == [
        None,
        *(type(result).__name__ if not hasattr(result, "message") else result.message for result in results),
    ]


@pytest.mark.real_kafka
@pytest.mark.kafka_releases
@pytest.mark.parametrize("version", ["2.8.2", "3.9.1", "4.3.0"])
@awaited
async def test_trace_of_aiokafka_goes_through_each_release(recorder, version):
    """Sent, consumed in a group and committed, on the oldest release and on the newest."""
    name = f"r-{uuid.uuid4().hex}"
    with start_broker("kafka", version=version) as broker:
        broker.create_topic(name)
        servers = {"bootstrap_servers": broker.bootstrap_servers}
        options = {"tracer_provider": recorder.tracer_provider}
        async with wrap_producer(AIOKafkaProducer(**servers), ProducerOptions(**options)) as sending:
            sent = await within(sending.send_and_wait(name, b"v"))
        bare = AIOKafkaConsumer(name, group_id="g", auto_offset_reset="earliest", enable_auto_commit=False, **servers)
        async with wrap_consumer(bare, ConsumerOptions(**options)) as receiving:
            record = await receiving.getone()
            await receiving.commit()
    assert record.offset == sent.offset
    (send,), (process,) = recorder.named(f"send {name}"), recorder.named(f"process {name}")
    assert process.parent.span_id == send.context.span_id
    assert recorder.named(f"commit {name}")[0].parent.span_id == process.context.span_id
    assert aiokafka.__version__
