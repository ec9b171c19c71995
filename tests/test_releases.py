"""The library on other releases of Apache Kafka than the one of all tests, and on a cluster that loses a node."""

import uuid

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import UnknownError, UnsupportedForMessageFormatError

from otelkafka import ConsumerOptions, ProducerOptions
from testbroker import start_broker
from tests.support.face import bare_of, wrap_consumer, wrap_producer
from tests.support.waiting import PATIENCE, wait_until, wait_until_known

TENANT = ("tenant", b"a")

pytestmark = [pytest.mark.real_kafka, pytest.mark.per_client, pytest.mark.kafka_releases]


class Stage:
    """A topic on a broker, and traced clients on it."""

    def __init__(self, broker, recorder, metrics):
        self.broker, self.topic, self._made = broker, f"r-{uuid.uuid4().hex}", []
        self._providers = {"tracer_provider": recorder.tracer_provider, "meter_provider": metrics.meter_provider}
        broker.create_topic(self.topic)

    def producer(self, **config):
        return self._keep(
            wrap_producer(KafkaProducer(**config, **self.broker.client_options), self._shown(ProducerOptions))
        )

    def consumer(self, group="of", **config):
        """The only member of a group."""
        settings = {"auto_offset_reset": "earliest", "enable_auto_commit": False, "metadata_max_age_ms": 500}
        settings["heartbeat_interval_ms"] = 300  # for so long kafka-python 2.1 waits where it leaves a group
        bare = KafkaConsumer(
            self.topic, group_id=f"{group} {self.topic}", **settings, **config, **self.broker.client_options
        )
        wait_until_known(self.topic, bare)
        return self._keep(wrap_consumer(bare, self._shown(ConsumerOptions)))

    def close(self):
        while self._made:
            self._made.pop().close()

    def _shown(self, options):
        return options(**self._providers)

    def _keep(self, client):
        self._made.append(client)
        return client


@pytest.fixture
def stage_on(recorder, metrics, request):
    def make(broker):
        made = Stage(broker, recorder, metrics)
        request.addfinalizer(made.close)
        return made

    return make


@pytest.fixture(scope="module", autouse=True)
def _itself(broker):
    if broker.kind != "kafka":
        pytest.skip(f"needs releases of Apache Kafka of its own; the tests run on the {broker.description}")


@pytest.fixture(scope="module")
def last_with_zookeeper():
    with start_broker("kafka", version="2.8.2") as started:
        yield started


@pytest.fixture(scope="module")
def without_headers():
    with start_broker("kafka", version="0.10.2.2") as started:
        yield started


@pytest.fixture(scope="module", params=["2.8.2", "3.9.1", "4.3.0"])
def release(request):
    if request.param == "2.8.2":
        yield request.getfixturevalue("last_with_zookeeper")
        return
    with start_broker("kafka", version=request.param) as started:
        yield started


def consume(consumer, count):
    """Process so many records in their spans, committing each."""
    found = []

    def poll():
        for records in consumer.poll(timeout_ms=200).values():
            for record in records:
                found.append(record)
                consumer.commit()
        return len(found) >= count

    wait_until(poll, f"{count} records", lambda: found)
    return found


def test_a_trace_goes_through_each_release(release, stage_on, recorder):
    """Sent, consumed in a group and committed: one trace, with the place, on the oldest release and on the newest."""
    stage = stage_on(release)
    sent = stage.producer().send(stage.topic, b"v", headers=[TENANT]).get(PATIENCE)
    (record,) = consume(stage.consumer(), 1)
    assert [key for key, _ in record.headers] == ["tenant", "traceparent"]
    (send,), (process,) = recorder.wait_for(f"send {stage.topic}"), recorder.wait_for(f"process {stage.topic}")
    (commit,) = recorder.wait_for(f"commit {stage.topic}")
    assert process.parent.span_id == send.context.span_id
    assert commit.parent.span_id == process.context.span_id
    for span in (send, process):
        assert span.attributes["messaging.kafka.offset"] == sent.offset
        assert span.attributes["server.port"] == int(release.bootstrap_servers.rpartition(":")[2])
    assert process.attributes["messaging.consumer.group.name"] == f"of {stage.topic}"


def recorded_without_headers(recorder, metrics, topic):
    """What is recorded where no context can travel: all but the parent of a process span."""
    (send,), (process,) = recorder.wait_for(f"send {topic}"), recorder.wait_for(f"process {topic}")
    assert process.parent is None
    assert not [link for link in process.links if link.context.trace_id == send.context.trace_id]
    assert process.attributes["messaging.kafka.offset"] == send.attributes["messaging.kafka.offset"] == 0
    assert process.attributes["otelkafka.queue.duration"] >= 0
    assert [count for _, count in metrics.points("otelkafka.records.without_context")] == [1]
    assert metrics.points("otelkafka.telemetry.errors") == []
    return send, process


def test_nothing_breaks_where_records_have_no_headers(without_headers, stage_on, recorder, metrics):
    """On Kafka 0.10 the client finds out by itself: records pass, each side has its span, and no context travels."""
    stage = stage_on(without_headers)
    producer = stage.producer()
    assert producer.config["api_version"] < (0, 11)
    producer.send(stage.topic, b"v", key=b"k").get(PATIENCE)
    (record,) = consume(stage.consumer(), 1)
    assert (record.key, record.value, list(record.headers)) == (b"k", b"v", [])
    _, process = recorded_without_headers(recorder, metrics, stage.topic)
    (commit,) = recorder.wait_for(f"commit {stage.topic}")
    assert commit.parent.span_id == process.context.span_id


def test_headers_that_a_release_without_them_refuses_are_refused_as_ever(without_headers, stage_on, recorder):
    """Headers of the caller's own get the client's own error, and the span says so."""
    stage = stage_on(without_headers)
    producer = stage.producer()
    with pytest.raises((AssertionError, TypeError, ValueError, NotImplementedError)) as bare:
        bare_of(producer).send(stage.topic, b"v", headers=[TENANT])
    recorder.clear()
    with pytest.raises(type(bare.value)) as traced:
        producer.send(stage.topic, b"v", headers=[TENANT])
    assert str(traced.value) == str(bare.value)
    (span,) = recorder.wait_for(f"send {stage.topic}")
    assert span.attributes["error.type"] == type(bare.value).__name__


def test_nothing_breaks_for_a_client_set_to_speak_to_an_old_broker(last_with_zookeeper, stage_on, recorder, metrics):
    """A producer with `api_version` below 0.11 writes records without headers to a broker that knows them."""
    stage = stage_on(last_with_zookeeper)
    stage.producer(api_version=(0, 10, 2)).send(stage.topic, b"v").get(PATIENCE)
    consume(stage.consumer(), 1)
    recorded_without_headers(recorder, metrics, stage.topic)


def test_a_topic_of_the_old_format_takes_what_such_a_client_writes(last_with_zookeeper, stage_on):
    """A topic kept in the old format refuses headers, so that its producer needs `api_version` below 0.11."""
    stage = stage_on(last_with_zookeeper)
    topic = f"{stage.topic}-old"
    last_with_zookeeper.create_topic(topic, config={"message.format.version": "0.10.2"})
    with pytest.raises((UnsupportedForMessageFormatError, UnknownError)):  # the latter in kafka-python 2
        stage.producer().send(topic, b"v", headers=[TENANT]).get(PATIENCE)
    assert stage.producer(api_version=(0, 10, 2)).send(topic, b"v").get(PATIENCE).offset == 0


def lose_the_leader(cluster, stage):
    """Send and consume before and after the leader is killed; return it, and where the latter records went."""
    producer, consumer = stage.producer(retries=100, acks="all"), stage.consumer()
    before, after = ([b"%d" % number for number in numbers] for numbers in (range(5), range(5, 10)))
    for value in before:
        producer.send(stage.topic, value).get(PATIENCE)
    assert [record.value for record in consume(consumer, 5)] == before
    killed = cluster.leader_of(stage.topic)
    cluster.kill(killed)
    futures = [producer.send(stage.topic, value) for value in after]
    places = [future.get(PATIENCE) for future in futures]
    seen = set()
    while not seen >= set(after):  # which may come twice where the acknowledgement was lost with the node
        seen.update(record.value for record in consume(consumer, 1))
    consume(stage.consumer("another"), 1)
    stage.close()
    return killed, places


def test_clients_go_on_when_a_node_of_three_is_gone_and_spans_show_it(stage_on, recorder):
    """The leader is killed under sends that nobody waits for: all is sent and processed, in the trace that it began in."""
    with start_broker("kafka", nodes=3) as cluster:
        stage = stage_on(cluster)
        killed, places = lose_the_leader(cluster, stage)
    sends = {span.context.span_id: span for span in recorder.named(f"send {stage.topic}")}
    processed = recorder.named(f"process {stage.topic}")
    assert {span.parent.span_id for span in processed} == set(sends)
    offsets = [span.attributes["messaging.kafka.offset"] for span in sends.values()]
    assert sorted(offsets[5:]) == sorted(place.offset for place in places)
    lost = int(cluster.bootstrap_servers.split(",")[killed - 1].rpartition(":")[2])
    assert {span.attributes["server.port"] for span in processed[:5]} == {lost}
    assert processed[-1].attributes["server.port"] != lost
