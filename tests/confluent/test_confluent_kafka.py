"""The clients of confluent-kafka on a broker: sends, messages, lists, groups, commits, transactions, outages."""

import uuid
from contextlib import closing

import aiokafka
import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.error import ValueDeserializationError
from confluent_kafka.serialization import IntegerDeserializer, StringDeserializer, StringSerializer
from kafka import KafkaConsumer, KafkaProducer
from opentelemetry import trace

import otelkafka
from otelkafka import ConsumerOptions, ProducerOptions
from otelkafka.instrumentor import ConfluentKafkaInstrumentor
from testbroker import start_broker
from tests.support.awaiting import awaited
from tests.support.face import wrap_consumer, wrap_producer
from tests.support.fakes import current, is_nothing_current
from tests.support.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.once


@pytest.fixture
def clients(broker, recorder, metrics):
    """Make traced clients on the broker, which are closed afterwards."""
    made = []
    providers = {"tracer_provider": recorder.tracer_provider, "meter_provider": metrics.meter_provider}
    servers = {"bootstrap.servers": broker.bootstrap_servers, "log_level": 0}

    def producer(kind=confluent_kafka.Producer, **config):
        config = {**servers, **config}
        return otelkafka.wrap_producer(kind(config), ProducerOptions(config=config, **providers))

    def consumer(*topics, kind=confluent_kafka.Consumer, config=None, **options):
        group = f"of {topics[0]}" if topics else "g"
        config = {**servers, "group.id": group, "auto.offset.reset": "earliest", **(config or {})}
        traced = otelkafka.wrap_consumer(kind(config), ConsumerOptions(config=config, **providers, **options))
        made.append(traced)
        if topics:
            traced.subscribe(list(topics))
        return traced

    yield producer, consumer
    for each in made:
        each.close()


def message_of(consumer):
    """Return the next message, as soon as there is one; its span is current."""

    def polled():
        message = consumer.poll(0.2)
        return None if message is None or message.error() is not None else message

    return wait_until(polled, "a message")


def send(producer, topic, *values, **more):
    for value in values:
        producer.produce(topic, value, **more)
    assert producer.flush(PATIENCE) == 0


@pytest.mark.real_kafka
def test_messages_of_a_group_are_children_of_their_sends(clients, recorder, metrics, topic):
    """With group, client, lag, and where the time went; commits inside of them; nothing stays current."""
    producer, consumer = clients
    send(producer(**{"client.id": "p"}), topic, b"1", b"2", b"3", key="k", headers={"a": "b", "n": None})
    assert is_nothing_current()
    receiving = consumer(topic, config={"client.id": "c", "enable.auto.commit": False})
    message = message_of(receiving)
    assert type(message) is confluent_kafka.Message
    assert dict(message.headers())["a"] == b"b"
    assert trace.get_current_span().name == f"process {topic}"
    receiving.commit(message, asynchronous=False)
    rest = []
    while len(rest) < 2:
        for each in receiving.consume(10, 1):
            assert current().is_valid
            rest.append(each)
    receiving.close()
    assert is_nothing_current()
    sends, processes = recorder.named(f"send {topic}"), recorder.named(f"process {topic}")
    assert [span.parent.span_id for span in processes] == [span.context.span_id for span in sends]
    assert [span.attributes["messaging.kafka.offset"] for span in sends] == [0, 1, 2]
    first = processes[0].attributes
    assert first["messaging.consumer.group.name"] == f"of {topic}"
    assert first["messaging.client.id"] == "c"
    assert first["messaging.kafka.message.key"] == "k"
    assert first["otelkafka.consumer.lag"] == 2
    parts = first["otelkafka.queue.busy_duration"] + first["otelkafka.queue.fetch_duration"]
    assert 0 <= parts <= first["otelkafka.queue.duration"]
    (commit,) = recorder.named(f"commit {topic}")
    assert commit.parent.span_id == processes[0].context.span_id
    assert commit.attributes["messaging.kafka.offset"] == 1
    assert len(recorder.named(f"assign {topic}")) == len(recorder.named(f"revoke {topic}")) == 1
    assert metrics.points("otelkafka.consumer.lag") == []
    ((_, consumed),) = metrics.points("messaging.client.consumed.messages")
    assert consumed == 3


@pytest.mark.real_kafka
def test_group_of_two_with_incremental_rebalances(broker, clients, recorder, metrics):
    """Cooperative: partitions come and go one by one, by the callbacks of the user or without."""
    name = f"c-{uuid.uuid4().hex}"
    broker.create_topic(name, partitions=2)
    producer, consumer = clients
    sending = producer()
    for partition in range(2):
        send(sending, name, b"v", partition=partition)
    config = {"group.id": name, "partition.assignment.strategy": "cooperative-sticky"}
    first, calls = consumer(config=config), []

    def on_assign(given, partitions):
        calls.append(("assign", given is first))
        given.incremental_assign(partitions)

    def on_revoke(given, partitions):
        calls.append(("revoke", given is first))
        given.incremental_unassign(partitions)

    first.subscribe([name], on_assign=on_assign, on_revoke=on_revoke)
    message_of(first)
    message_of(first)
    second = consumer(config=config)
    second.subscribe([name])

    def is_shared():
        first.poll(0.1)
        second.poll(0.1)
        return len(first.assignment()) == len(second.assignment()) == 1

    wait_until(is_shared, "one partition for each")
    second.close()

    def is_whole():
        first.poll(0.1)
        return len(first.assignment()) == 2

    wait_until(is_whole, "both partitions again")
    first.close()
    assert ("assign", True) in calls
    assert ("revoke", True) in calls
    assert len(recorder.named(f"process {name}")) == 2
    counts = {
        attributes["messaging.operation.name"]: count
        for attributes, count in metrics.points("otelkafka.consumer.rebalances")
    }
    assert counts["assign"] >= 3
    assert counts["revoke"] >= 2
    assert metrics.points("otelkafka.consumer.lag") == []


@pytest.mark.real_kafka
def test_serializing_clients(clients, recorder, topic):
    """Their own order of arguments; the key as it was given; what cannot be deserialized is a poll error."""
    producer, consumer = clients
    text = StringSerializer("utf_8")
    sending = producer(confluent_kafka.SerializingProducer, **{"key.serializer": text, "value.serializer": text})
    sending.produce(topic, "k", "v", headers=[("a", b"b")])
    sending.produce(topic=topic, value="four", on_delivery=lambda *_: None)
    assert sending.flush(PATIENCE) == 0
    config = {"key.deserializer": StringDeserializer("utf_8"), "value.deserializer": StringDeserializer("utf_8")}
    receiving = consumer(topic, kind=confluent_kafka.DeserializingConsumer, config=config)
    message = message_of(receiving)
    assert (message.key(), message.value()) == ("k", "v")
    receiving.close()
    first, second = recorder.named(f"send {topic}")
    assert first.attributes["messaging.kafka.message.key"] == "k"
    (process,) = recorder.named(f"process {topic}")
    assert process.parent.span_id == first.context.span_id
    assert process.attributes["messaging.kafka.message.key"] == "k"
    failing = consumer(
        topic,
        kind=confluent_kafka.DeserializingConsumer,
        config={"group.id": f"again {topic}", "value.deserializer": IntegerDeserializer()},
    )

    def failed():
        try:
            failing.poll(0.2)
        except ValueDeserializationError:
            return True
        return False

    wait_until(failed, "a value that is no integer")
    assert recorder.named(f"poll {topic}")[0].attributes["error.type"] == "_VALUE_DESERIALIZATION"
    assert second.attributes["messaging.kafka.offset"] == 1


@pytest.mark.real_kafka
def test_commits_are_reported_in_unchanged_code(broker, recorder, metrics, topic):
    """Asynchronous ones end with the report; automatic ones are counted, after the callback of the user."""
    providers = {"tracer_provider": recorder.tracer_provider, "meter_provider": metrics.meter_provider}
    ConfluentKafkaInstrumentor().instrument(skip_dep_check=True, **providers)
    try:
        servers = {"bootstrap.servers": broker.bootstrap_servers, "log_level": 0}
        send(confluent_kafka.Producer(servers), topic, b"1", b"2")
        reports = []
        config = {
            **servers,
            "group.id": topic,
            "auto.offset.reset": "earliest",
            "auto.commit.interval.ms": 600_000,
            "on_commit": lambda error, partitions: reports.append((error, [each.offset for each in partitions])),
        }
        with closing(confluent_kafka.Consumer(config)) as consumer:
            consumer.subscribe([topic])
            consumer.commit(message_of(consumer))
            assert recorder.named(f"commit {topic}") == []
            message_of(consumer)
            wait_until(lambda: consumer.poll(0.1) or recorder.named(f"commit {topic}"), "the report of the commit")
        assert reports == [(None, [1]), (None, [2])]
        (commit,) = recorder.named(f"commit {topic}")
        assert commit.attributes["messaging.kafka.offset"] == 1
        ((_, automatic),) = metrics.points("otelkafka.consumer.auto_commits")
        assert automatic == 1
        assert is_nothing_current()
    finally:
        ConfluentKafkaInstrumentor().uninstrument()


@pytest.mark.real_kafka
def test_transactions_on_kafka(clients, recorder, topic):
    """Committed and aborted; a consumer that reads what is committed is the child of what was sent."""
    producer, consumer = clients
    sending = producer(**{"transactional.id": f"tx {topic}"})
    sending.init_transactions(PATIENCE)
    sending.begin_transaction()
    sending.produce(topic, b"lost")
    sending.flush()
    sending.abort_transaction()
    sending.begin_transaction()
    sending.produce(topic, b"kept")
    receiving = consumer(config={"isolation.level": "read_committed", "group.id": f"of {topic}"})
    sending.send_offsets_to_transaction([TopicPartition(topic, 0, 1)], receiving.consumer_group_metadata())
    sending.commit_transaction()
    receiving.assign([TopicPartition(topic, 0, 0)])
    assert message_of(receiving).value() == b"kept"
    receiving.close()
    (aborted,) = recorder.named("abort transaction")
    assert aborted.attributes["otelkafka.transaction.voided"] == 1
    assert len(recorder.named("commit transaction")) == 1
    _, kept = recorder.named(f"send {topic}")
    assert recorder.named(f"process {topic}")[0].parent.span_id == kept.context.span_id


@pytest.mark.real_kafka
def test_batch_of_consume_is_one_span(clients, recorder, topic):
    """Linked to what was sent."""
    producer, consumer = clients
    send(producer(), topic, b"1", b"2")
    receiving = consumer(topic)
    batch = wait_until(lambda: receiving.consume(500, 1), "messages")
    with receiving.process_batch(batch) as span:
        assert trace.get_current_span() is span
    sent = {span.context.span_id for span in recorder.named(f"send {topic}")}
    process = recorder.named(f"process {topic}")[0]
    assert process.attributes["messaging.batch.message_count"] == len(batch)
    assert {link.context.span_id for link in process.links} <= sent


@pytest.mark.real_kafka
@awaited
async def test_one_trace_through_three_libraries(broker, recorder, topic):
    """Sent by confluent-kafka, relayed by kafka-python, consumed by aiokafka: one trace, with the wait at each."""
    relayed = f"{topic}-relayed"
    broker.create_topic(relayed)
    config = {"bootstrap.servers": broker.bootstrap_servers, "log_level": 0}
    producing, consuming = (
        side(tracer_provider=recorder.tracer_provider) for side in (ProducerOptions, ConsumerOptions)
    )
    first = otelkafka.wrap_producer(
        confluent_kafka.Producer(config), ProducerOptions(tracer_provider=recorder.tracer_provider, config=config)
    )
    send(first, topic, b"v")
    bare = KafkaConsumer(
        topic, group_id=topic, auto_offset_reset="earliest", bootstrap_servers=broker.bootstrap_servers
    )
    with (
        wrap_producer(KafkaProducer(bootstrap_servers=broker.bootstrap_servers), producing) as relay,
        wrap_consumer(bare, consuming) as relay_consumer,
    ):
        for record in relay_consumer:
            relay.send(relayed, record.value).get(PATIENCE)
            break
    bare = aiokafka.AIOKafkaConsumer(
        relayed, group_id=topic, auto_offset_reset="earliest", bootstrap_servers=broker.bootstrap_servers
    )
    async with otelkafka.wrap_consumer(bare, consuming) as last:
        await last.getone()
    chain = [
        recorder.named(name)[0]
        for name in (f"send {topic}", f"process {topic}", f"send {relayed}", f"process {relayed}")
    ]
    assert len({span.context.trace_id for span in chain}) == 1
    for parent, child in zip(chain, chain[1:], strict=False):
        assert child.parent.span_id == parent.context.span_id
    for process in chain[1::2]:
        known = process.attributes
        parts = known["otelkafka.queue.busy_duration"] + known["otelkafka.queue.fetch_duration"]
        assert parts <= known["otelkafka.queue.duration"]


@pytest.mark.real_kafka
@pytest.mark.kafka_releases
def test_outage_fails_what_is_in_flight(recorder):
    """A broker that is killed: the reports name librdkafka's error, and end their spans; the bare client's are equal."""
    name, reports = f"o-{uuid.uuid4().hex}", []
    with start_broker("kafka") as broker:
        broker.create_topic(name)
        config = {"bootstrap.servers": broker.bootstrap_servers, "message.timeout.ms": 2000, "log_level": 0}
        options = ProducerOptions(tracer_provider=recorder.tracer_provider, config=config)
        traced = otelkafka.wrap_producer(confluent_kafka.Producer(config), options)
        send(traced, name, b"before")
        broker.kill()
        for _ in range(3):
            traced.produce(name, b"in the outage", on_delivery=lambda error, _: reports.append(error.name()))
        assert traced.flush(PATIENCE) == 0
    assert reports == ["_MSG_TIMED_OUT"] * 3
    spans = recorder.named(f"send {name}")
    assert [span.attributes.get("error.type") for span in spans] == [None, *reports]


@pytest.mark.real_kafka
@pytest.mark.kafka_releases
def test_consumer_whose_broker_is_gone_waits_and_closes(recorder):
    """librdkafka tries again by itself, and returns no error: there is no span of one either."""
    name = f"o-{uuid.uuid4().hex}"
    with start_broker("kafka") as broker:
        broker.create_topic(name)
        servers = {"bootstrap.servers": broker.bootstrap_servers, "log_level": 0}
        config = {**servers, "group.id": "g", "auto.offset.reset": "earliest", "enable.auto.commit": False}
        traced = otelkafka.wrap_consumer(
            confluent_kafka.Consumer(config), ConsumerOptions(tracer_provider=recorder.tracer_provider, config=config)
        )
        traced.subscribe([name])
        send(confluent_kafka.Producer(servers), name, b"before")
        assert message_of(traced).value() == b"before"
        broker.kill()
        assert [traced.poll(0.2) for _ in range(5)] == [None] * 5
        traced.close()
    assert [span.name for span in recorder.spans if not span.name.startswith(("assign", "revoke"))] == [
        f"process {name}"
    ]


@pytest.mark.real_kafka
@pytest.mark.kafka_releases
@pytest.mark.parametrize("version", ["2.8.2", "3.9.1", "4.3.0"])
def test_trace_of_confluent_kafka_goes_through_each_release(recorder, version):
    """Sent, consumed in a group and committed, on the oldest release and on the newest."""
    name = f"r-{uuid.uuid4().hex}"
    with start_broker("kafka", version=version) as broker:
        broker.create_topic(name)
        config = {"bootstrap.servers": broker.bootstrap_servers, "log_level": 0}
        options = {"tracer_provider": recorder.tracer_provider, "config": config}
        send(otelkafka.wrap_producer(confluent_kafka.Producer(config), ProducerOptions(**options)), name, b"v")
        bare = confluent_kafka.Consumer({**config, "group.id": "g", "auto.offset.reset": "earliest"})
        with otelkafka.wrap_consumer(bare, ConsumerOptions(**options)) as receiving:
            receiving.subscribe([name])
            message = message_of(receiving)
            receiving.commit(message, asynchronous=False)
    (sent,), (process,) = recorder.named(f"send {name}"), recorder.named(f"process {name}")
    assert process.parent.span_id == sent.context.span_id
    assert recorder.named(f"commit {name}")[0].parent.span_id == process.context.span_id


def test_unknown_topic_is_an_error_as_a_message(broker, recorder):
    """Of a consumer that is subscribed to one that is not there."""
    config = {
        "bootstrap.servers": broker.bootstrap_servers,
        "group.id": "g",
        "log_level": 0,
        "allow.auto.create.topics": False,
    }
    traced = otelkafka.wrap_consumer(
        confluent_kafka.Consumer(config), ConsumerOptions(tracer_provider=recorder.tracer_provider, config=config)
    )
    traced.subscribe(["not-there"])
    try:
        message = wait_until(lambda: traced.poll(0.2), "the error")
        assert message.error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART
        (span,) = recorder.named("poll not-there")
        assert span.attributes["error.type"] == "UNKNOWN_TOPIC_OR_PART"
    finally:
        traced.close()
    with pytest.raises((RuntimeError, KafkaException)):
        traced.poll(0)
