"""What each release of kafka-python shows of a client, and what telemetry records of it."""

from contextlib import suppress

import kafka
import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import MessageSizeTooLargeError, TopicAuthorizationFailedError

from otelkafka import ProducerOptions
from tests.support.face import bare_of, wrap_consumer, wrap_producer
from tests.support.fakes import options_of
from tests.support.internals import (
    KafkaPythonClient,
    batch_index,
    has_group_subscription,
    rebalance_listener,
    replace_rebalance_listener,
)
from tests.support.waiting import PATIENCE

RELEASE = tuple(int(part) for part in kafka.__version__.split(".")[:2])
KNOWS_CLUSTER_ID = RELEASE >= (2, 1)


@pytest.fixture
def clients(broker, topic, make_producer, make_consumer):
    producer = make_producer({"client_id": "writer"})
    producer.send(topic, b"v").get(PATIENCE)
    consumer = make_consumer({"client_id": "reader"})
    next(consumer)
    return bare_of(producer), bare_of(consumer)


def test_client_id_and_leader_are_known_in_every_release(clients, broker, topic):
    """Producer and consumer show their id, and the leader of a partition they have used."""
    host, port = broker.bootstrap_servers.split(":")
    for bare, name in zip(clients, ("writer", "reader"), strict=True):
        facts = KafkaPythonClient(bare)
        assert facts.client_id == name
        assert facts.group is None
        # The first bootstrap server has been taken away, so that it cannot stand in for the leader.
        facts.forget_bootstrap_servers()
        assert facts.server(topic, 0) == (host, int(port))
        assert facts.server(topic, None) is facts.server(None, None) is facts.server("unknown", 0) is None


@pytest.mark.real_kafka
def test_cluster_id_is_known_since_2_1(clients, broker):
    """2.0.3 does not show the cluster's id, which is left out then."""
    for bare in clients:
        assert bool(KafkaPythonClient(bare).cluster_id) is KNOWS_CLUSTER_ID


def test_highwater_topics_and_assignment_are_known_in_every_release(clients, topic):
    """What a consumer is assigned, and how far its partitions reach."""
    _, consumer = clients
    assert KafkaPythonClient(consumer).highwater(topic, 0) == 1
    assert KafkaPythonClient(consumer).highwater(topic, 5) is None
    assert KafkaPythonClient(consumer).topics() == {topic}
    assert KafkaPythonClient(consumer).assignment() == {(topic, 0)}


def test_listener_can_be_replaced_in_every_release(broker, topic):
    """A consumer that subscribed in its constructor lets a listener be put in without subscribing again."""
    consumer = KafkaConsumer(topic, group_id="g", **broker.client_options)
    listener = object()
    try:
        assert has_group_subscription(consumer) is True
        assert rebalance_listener(consumer) is None
        assert replace_rebalance_listener(consumer, listener) is True
        assert rebalance_listener(consumer) is listener
    finally:
        replace_rebalance_listener(consumer, None)
        consumer.close()


def test_future_of_what_the_client_refused_itself_is_known_in_every_release(make_producer, topic):
    """3.0 raises; before, the future of a record that is too large lies in no batch. That of any other does."""
    bare = bare_of(make_producer({"max_request_size": 200}))
    assert batch_index(bare.send(topic, b"v")) == 0
    with suppress(MessageSizeTooLargeError):
        assert batch_index(bare.send(topic, b"v" * 300)) == -1
        assert RELEASE < (3, 0)


@pytest.mark.real_kafka
def test_offset_of_a_commit_without_offsets_is_known_in_every_release(broker, topic, make_producer, recorder):
    """What the client would commit by itself: how far it has come in its one partition."""
    make_producer().send(topic, b"v").get(PATIENCE)
    bare = KafkaConsumer(group_id=topic, auto_offset_reset="earliest", **broker.client_options)
    bare.assign([TopicPartition(topic, 0)])
    consumer = wrap_consumer(bare, options_of(recorder))
    try:
        next(consumer)
        consumer.commit()
    finally:
        consumer.close()
    (commit,) = recorder.named(f"commit {topic}")
    assert commit.attributes["messaging.destination.partition.id"] == "0"
    assert commit.attributes["messaging.kafka.offset"] == 1


def test_record_without_metadata_is_refused_by_the_future_in_every_release(bare_producer, metrics, monkeypatch):
    """Such a future lies in no batch, and its record is not counted as sent."""
    producer = wrap_producer(bare_producer, ProducerOptions(meter_provider=metrics.meter_provider))
    error = TopicAuthorizationFailedError()

    def refuse(*_):
        raise error

    monkeypatch.setattr(bare_producer, "_wait_on_metadata", refuse)
    future = producer.send("unknown", b"v")
    assert (future.is_done, future.exception, batch_index(future)) == (True, error, -1)
    assert metrics.points("messaging.client.sent.messages") == []


def test_manual_assignment_is_no_group_subscription(clients):
    """A consumer that was assigned by hand has no listener to adopt."""
    assert has_group_subscription(clients[1]) is False


class Raising:
    """A client every fact of which fails."""

    def __getattr__(self, name):
        raise RuntimeError(name)


class Reaching:
    """A client that shows the end of its partitions, and nothing else."""

    def highwater(self, partition):
        return 10


@pytest.mark.parametrize("bare", [Raising(), object(), None, Reaching()], ids=lambda bare: type(bare).__name__)
def test_what_a_client_does_not_have_is_left_out(bare):
    """A fake, a future release: no fact raises."""
    facts = KafkaPythonClient(bare)
    assert facts.takes_headers is True
    assert facts.cluster_id is None
    facts.server("t", 0)
    facts.topics()
    facts.assignment()
    for read in (has_group_subscription, rebalance_listener):
        read(bare)
    assert batch_index(bare) is None
    assert KafkaPythonClient(bare).highwater("t", 0) in (None, 10)
    assert replace_rebalance_listener(bare, None) is None
