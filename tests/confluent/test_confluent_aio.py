"""The async clients of confluent-kafka, where the release has them: over the broker that librdkafka has inside."""

import asyncio
import importlib
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from opentelemetry import trace

import otelkafka
from otelkafka import ConsumerOptions, ProducerOptions
from otelkafka.instrumentor import ConfluentKafkaInstrumentor
from tests.support.awaiting import awaited
from tests.support.fakes import ambient_of, current, is_nothing_current
from tests.support.waiting import PATIENCE, wait_until

aio = next(
    (
        importlib.import_module(name)
        for name in ("confluent_kafka.aio", "confluent_kafka.experimental.aio")
        if importlib.util.find_spec(name.rpartition(".")[0]) and importlib.util.find_spec(name)
    ),
    None,
)
pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(aio is None, reason="this release of confluent-kafka has no async clients"),
]
MOCK = {"bootstrap.servers": "mock:9092", "test.mock.num.brokers": 1, "log_level": 0}


@pytest.fixture
def topic(broker):
    name = f"aio-{uuid.uuid4().hex}"
    broker.create_topic(name)
    return name


@pytest.fixture
def configs(broker):
    servers = {"bootstrap.servers": broker.bootstrap_servers, "log_level": 0}
    return servers, {**servers, "group.id": f"g-{uuid.uuid4().hex}", "auto.offset.reset": "earliest"}


async def messages_of(consumer, count):
    found = []
    while len(found) < count:
        message = await consumer.poll(1)
        if message is not None:
            assert message.error() is None
            found.append((message, trace.get_current_span().name))
    return found


async def use(producer, consumer, topic):
    """Send two records, receive them, and commit."""
    futures = [await producer.produce(topic, value=b"v", key=b"k") for _ in range(2)]
    assert is_nothing_current()
    await producer.flush()
    assert [(await future).offset() for future in futures] == [0, 1]
    assigned = []

    async def on_assign(given, partitions):
        assigned.append((given is consumer, len(partitions), trace.get_current_span().name))

    await consumer.subscribe([topic], on_assign=on_assign)
    received = await messages_of(consumer, 1)
    await consumer.commit(asynchronous=False)
    received += await messages_of(consumer, 1)
    assert [name for _, name in received] == [f"process {topic}"] * 2
    await consumer.close()
    await producer.close()
    assert is_nothing_current()
    assert assigned == [(True, 1, f"assign {topic}")]


def check(recorder, topic):
    names = [span.name for span in recorder.spans if span.name != f"revoke {topic}"]
    assert {name: names.count(name) for name in names} == {
        f"send {topic}": 2,
        f"process {topic}": 2,
        f"commit {topic}": 1,
        f"assign {topic}": 1,
    }
    for span in recorder.named(f"send {topic}"):
        assert span.attributes["messaging.destination.partition.id"] == "0"
        assert "server.address" in span.attributes
    first = recorder.named(f"process {topic}")[0]
    assert first.attributes["messaging.consumer.group.name"].startswith("g-")
    assert recorder.named(f"commit {topic}")[0].parent.span_id == first.context.span_id


@pytest.mark.real_kafka
@awaited
async def test_wrapped_async_clients(recorder, configs, topic):
    """As the others, but that their records carry no context: confluent-kafka takes no headers there."""
    of_producer, of_consumer = configs
    producer = otelkafka.wrap_producer(
        aio.AIOProducer(dict(of_producer)),
        ProducerOptions(tracer_provider=recorder.tracer_provider, config=of_producer),
    )
    consumer = otelkafka.wrap_consumer(
        aio.AIOConsumer(dict(of_consumer)),
        ConsumerOptions(tracer_provider=recorder.tracer_provider, config=of_consumer),
    )
    assert isinstance(producer, aio.AIOProducer)
    assert isinstance(consumer, aio.AIOConsumer)
    await use(producer, consumer, topic)
    check(recorder, topic)


@pytest.mark.real_kafka
@awaited
async def test_async_clients_in_unchanged_code(recorder, configs, topic):
    """The client inside of them makes no spans of its own."""
    of_producer, of_consumer = configs
    ConfluentKafkaInstrumentor().instrument(tracer_provider=recorder.tracer_provider, skip_dep_check=True)
    try:
        await use(aio.AIOProducer(dict(of_producer)), aio.AIOConsumer(dict(of_consumer)), topic)
    finally:
        ConfluentKafkaInstrumentor().uninstrument()
    check(recorder, topic)
    assert "__init__" not in vars(aio.AIOConsumer) or not hasattr(aio.AIOConsumer.__init__, "__wrapped__")


@pytest.mark.real_kafka
@awaited
async def test_rebalance_of_an_async_consumer_without_callbacks_waits_for_no_loop(recorder, configs, topic):
    """It is recorded in the thread that polls, also while the loop is busy, or has ended."""
    options = ConsumerOptions(tracer_provider=recorder.tracer_provider)
    consumer = otelkafka.wrap_consumer(aio.AIOConsumer(dict(configs[1])), options)
    await consumer.subscribe(topics=[topic])
    polling = asyncio.ensure_future(consumer.poll(PATIENCE))
    await asyncio.sleep(0)
    wait_until(lambda: recorder.named(f"assign {topic}"), "the assignment, while nothing else runs in the loop")
    producer = confluent_kafka.Producer(configs[0])
    producer.produce(topic, b"v")
    assert producer.flush(PATIENCE) == 0
    assert (await polling) is not None
    await consumer.close()
    assert len(recorder.named(f"revoke {topic}")) == 1


@pytest.mark.real_kafka
@awaited
async def test_callbacks_that_an_async_consumer_does_not_await_are_called_as_they_are(recorder, configs, topic):
    """Those given by position: confluent-kafka calls them in the thread that polls."""
    calls = []
    options = ConsumerOptions(tracer_provider=recorder.tracer_provider)
    consumer = otelkafka.wrap_consumer(aio.AIOConsumer(dict(configs[1])), options)
    await consumer.subscribe([topic], lambda given, _: calls.append((type(given), threading.current_thread())))
    while not calls:
        await consumer.poll(0.2)
    await consumer.close()
    ((given, thread),) = calls
    assert issubclass(given, confluent_kafka.Consumer)
    assert thread is not threading.current_thread()
    assert len(recorder.named(f"assign {topic}")) == 1


@awaited
async def test_headers_that_a_hook_adds_to_an_async_send_lose_no_record(recorder):
    """confluent-kafka takes none there; what else the hook changes is sent."""

    def hook(span, args, kwargs):
        kwargs.update(headers=[("a", b"b")], value=b"changed")

    ConfluentKafkaInstrumentor().instrument(
        tracer_provider=recorder.tracer_provider, skip_dep_check=True, produce_hook=hook
    )
    try:
        producer = aio.AIOProducer(dict(MOCK))
        future = await producer.produce("t", value=b"v")
        await producer.flush()
        assert (await future).value() in {b"changed", None}  # not each release has it in the report
        await producer.close()
    finally:
        ConfluentKafkaInstrumentor().uninstrument()
    assert len(recorder.named("send t")) == 1


@awaited
@pytest.mark.parametrize("instrumented", [False, True])
async def test_async_producer_with_an_order_of_its_own(recorder, instrumented):
    """As that of the async serializing one: the key is the one that it was given."""

    class Keyed(aio.AIOProducer):
        async def produce(self, topic, key=None, value=None):
            return await super().produce(topic, value, key)

    if instrumented:
        ConfluentKafkaInstrumentor().instrument(tracer_provider=recorder.tracer_provider, skip_dep_check=True)
    try:
        producer = Keyed(dict(MOCK))
        if not instrumented:
            producer = otelkafka.wrap_producer(producer, ProducerOptions(tracer_provider=recorder.tracer_provider))
        future = await producer.produce("t", "k", "v")
        await producer.flush()
        assert (await future).offset() == 0
        assert recorder.named("send t")[0].attributes["messaging.kafka.message.key"] == "k"
        await producer.close()
    finally:
        if instrumented:
            ConfluentKafkaInstrumentor().uninstrument()


@pytest.mark.real_kafka
@awaited
async def test_lists_and_assignments_of_async_consumers(recorder, metrics, configs, topic):
    """Lists dispatch, assignments are noted, whole and incremental."""
    of_producer, of_consumer = configs
    sync = confluent_kafka.Producer(of_producer)
    for _ in range(3):
        sync.produce(topic, b"v")
    sync.flush()
    options = ConsumerOptions(tracer_provider=recorder.tracer_provider, meter_provider=metrics.meter_provider)
    async with otelkafka.wrap_consumer(aio.AIOConsumer(dict(of_consumer)), options) as consumer:
        await consumer.assign([TopicPartition(topic, 0, 0)])
        seen = 0
        while seen < 3:
            for _ in await consumer.consume(3, 1):
                assert current().is_valid
                seen += 1
        assert len(metrics.points("otelkafka.consumer.lag")) == 1
        await consumer.unassign()
        assert metrics.points("otelkafka.consumer.lag") == []
        await consumer.incremental_assign([TopicPartition(topic, 0, 3)])
        await consumer.incremental_unassign([TopicPartition(topic, 0)])
        await consumer.unsubscribe()
    assert len(recorder.named(f"process {topic}")) == 3
    again = otelkafka.wrap_consumer(otelkafka.wrap_consumer(aio.AIOConsumer(dict(of_consumer)), options), options)
    await again.close()


@awaited
async def test_async_sends_that_fail_have_their_error(recorder):
    """Refused, undelivered, and never delivered; transactions too."""
    options = ProducerOptions(tracer_provider=recorder.tracer_provider)
    producer = otelkafka.wrap_producer(aio.AIOProducer({**MOCK, "transactional.id": "tx"}), options)
    with pytest.raises(NotImplementedError):
        await producer.produce("t", b"v", headers=[("a", b"b")])
    with ambient_of(recorder), pytest.raises(KafkaException):
        await producer.begin_transaction()
    assert recorder.named("send t")[0].attributes["error.type"] == "NotImplementedError"
    assert recorder.named("begin transaction")[0].attributes["error.type"] == "_STATE"
    await producer.init_transactions(10)
    await producer.begin_transaction()
    future = await producer.produce("t", b"v")
    await producer.commit_transaction()
    assert (await future).offset() == 0
    await producer.begin_transaction()
    await producer.abort_transaction()
    assert len(recorder.named("commit transaction")) == len(recorder.named("abort transaction")) == 1
    await producer.close()
    unsent = otelkafka.wrap_producer(
        aio.AIOProducer({"bootstrap.servers": "localhost:1", "message.timeout.ms": 100, "log_level": 0}), options
    )
    future = await unsent.produce("t", b"v")
    await unsent.flush(5)
    with pytest.raises(KafkaException) as caught:
        await asyncio.wait_for(future, 30)
    assert caught.value.args[0].code() == KafkaError._MSG_TIMED_OUT
    assert recorder.named("send t")[-1].attributes["error.type"] == "_MSG_TIMED_OUT"
    await unsent.close()


@pytest.fixture(params=["wrapped", "instrumented"])
def make_producer(request, recorder):
    """Return what makes a traced producer."""
    instrumentor = ConfluentKafkaInstrumentor()
    if request.param == "instrumented":
        instrumentor.instrument(tracer_provider=recorder.tracer_provider, skip_dep_check=True)

    def make(config=MOCK, made_of=aio and aio.AIOProducer, **given):
        producer = made_of(dict(config), **given)
        if request.param == "instrumented":
            return producer
        return otelkafka.wrap_producer(producer, ProducerOptions(tracer_provider=recorder.tracer_provider))

    yield make
    if request.param == "instrumented":
        instrumentor.uninstrument()


def offsets_of(recorder):
    return sorted(span.attributes["messaging.kafka.offset"] for span in recorder.named("send t"))


def test_async_sends_in_a_loop_that_checks_threads(recorder, make_producer):
    """As `IsolatedAsyncioTestCase` has it: librdkafka's reports come in another thread than that of the loop."""

    async def send():
        producer = make_producer()
        futures = [await producer.produce("t", b"v", partition=0) for _ in range(3)]
        assert await producer.flush() == 0
        assert sorted([(await future).offset() for future in futures]) == [0, 1, 2]
        await producer.close()

    asyncio.run(send(), debug=True)
    assert offsets_of(recorder) == [0, 1, 2]


def test_deliveries_of_an_async_producer_whose_loop_has_ended_are_all_served(recorder, make_producer):
    """A `flush()` that was left goes on in its thread."""
    pool, left = ThreadPoolExecutor(1), []

    async def send():
        producer = make_producer({**MOCK, "test.mock.broker.rtt": 500}, executor=pool, buffer_timeout=0)
        futures = [await producer.produce("t", b"v", partition=0) for _ in range(3)]
        flushing = asyncio.ensure_future(producer.flush())
        await asyncio.sleep(0.1)
        flushing.cancel()
        left.append((producer, futures))

    asyncio.run(send())
    pool.shutdown()
    ((_, futures),) = left
    assert sorted(future.result().offset() for future in futures) == [0, 1, 2]
    assert offsets_of(recorder) == [0, 1, 2]


@awaited
async def test_async_send_ends_when_librdkafka_reports_it(recorder, make_producer):
    """Not when its loop, which is busy, comes to the callbacks of futures."""
    producer = make_producer(batch_size=1)
    future = await producer.produce("t", b"v", partition=0)
    flushing = asyncio.ensure_future(producer.flush())
    await asyncio.sleep(0)
    wait_until(lambda: recorder.named("send t"), "the end of the send, while nothing else runs in the loop")
    await flushing
    assert (await future).offset() == 0
    await producer.close()
    assert offsets_of(recorder) == [0]


@awaited
async def test_async_send_whose_future_is_cancelled(recorder, make_producer):
    """It ends with that, and once: its report, which comes later, is nobody's."""
    producer = make_producer()
    future = await producer.produce("t", b"v", partition=0)
    future.cancel()
    await asyncio.sleep(0)
    assert [span.attributes["error.type"] for span in recorder.named("send t")] == ["CancelledError"]
    assert await producer.flush() == 0
    await producer.close()
    assert future.cancelled()
    assert len(recorder.named("send t")) == 1


@awaited
async def test_async_producer_that_returns_the_message(recorder, make_producer):
    """A subclass that awaits the delivery itself."""

    class Waiting(aio.AIOProducer):
        async def produce(self, *args, **kwargs):
            future = await super().produce(*args, **kwargs)
            await self.flush()
            return await future

    producer = make_producer(made_of=Waiting)
    assert (await producer.produce("t", b"v", partition=0)).offset() == 0
    assert offsets_of(recorder) == [0]
    await producer.close()
