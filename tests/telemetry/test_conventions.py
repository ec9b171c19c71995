"""The attributes of the conventions, row by row: on which spans and links each stands, with which value."""

import pytest
from kafka.errors import UnknownTopicOrPartitionError

from otelkafka.testing import FakeCluster
from tests.support.face import bare_of, process_batch_of, process_of, wrap_consumer
from tests.support.fakes import FakeConsumer, FakeProducer, ambient_of, options_of, producer_of, record, traceparent

SPANS = ("send", "poll", "process", "batch", "commit")


class Known:
    """What a client knows of its cluster."""

    cluster_id = "cluster"


def consumer_of(recorder, *records, **options):
    bare = FakeConsumer(*records)
    bare._cluster = Known()
    return wrap_consumer(bare, options_of(recorder, poll_spans=True, process="manual", **options))


def consume(recorder, *records, **options):
    """Poll records, process the first, then all of them, and commit; return what stands on each span, and on links."""
    consumer = consumer_of(recorder, *records, **options)
    polled = [each for listed in consumer.poll().values() for each in listed]
    with process_of(consumer, polled[0]):
        pass
    with process_batch_of(consumer, polled):
        consumer.commit()
    poll, process, commit, batch = recorder.spans
    found = {"poll": poll, "process": process, "batch": batch, "commit": commit}
    links = {f"link of a {name}": span.links[-1] for name, span in found.items() if name in {"poll", "batch"}}
    return {name: dict(each.attributes) for name, each in {**found, **links}.items()}


def send(recorder, value=b"v", **options):
    bare = FakeProducer(cluster=FakeCluster(partitions=2), client_id="p", bootstrap_servers="host:9092")
    bare._metadata = Known()
    producer_of(recorder, bare, **options).send("t", value, b"k", partition=1).acknowledge(7)
    return {"send": dict(recorder.spans[-1].attributes)}


def written(offset, **more):
    return record(offset, headers=[traceparent(offset)], **{"value": b"v", "serialized_value_size": 1, **more})


@pytest.fixture
def of_one(recorder):
    """All spans where there is one record."""
    return {**consume(recorder, written(0, key=b"k")), **send(recorder)}


@pytest.fixture
def of_several(recorder):
    """All spans where there are records of two topics."""
    return consume(recorder, written(0, key=b"k", partition=1), written(1, topic="u", key=b"l", partition=2))


ROWS = {
    "messaging.system": dict.fromkeys(SPANS, "kafka"),
    "messaging.operation.name": {**dict(zip(SPANS, SPANS, strict=True)), "batch": "process"},
    "messaging.operation.type": {
        "send": "send",
        "poll": "receive",
        "process": "process",
        "batch": "process",
        "commit": "settle",
    },
    "messaging.destination.name": dict.fromkeys(SPANS, "t"),
    "messaging.destination.template": {},
    "error.type": {},
    "messaging.kafka.message.tombstone": {},
    "messaging.batch.message_count": {"poll": 1, "batch": 1},
    "messaging.consumer.group.name": dict.fromkeys(SPANS[1:], "g"),
    "messaging.client.id": {**dict.fromkeys(SPANS, "c"), "send": "p"},
    "messaging.kafka.cluster.id": dict.fromkeys(SPANS, "cluster"),
    "messaging.destination.partition.id": {
        **dict.fromkeys((*SPANS, "link of a poll", "link of a batch"), "0"),
        "send": "1",
    },
    "messaging.kafka.offset": {
        **dict.fromkeys((*SPANS, "link of a poll", "link of a batch"), 0),
        "send": 7,
        "commit": 1,
    },
    "messaging.kafka.message.key": dict.fromkeys(
        ("send", "poll", "process", "batch", "link of a poll", "link of a batch"), "k"
    ),
    "server.address": dict.fromkeys(SPANS, "host"),
    "server.port": dict.fromkeys(SPANS, 9092),
}


@pytest.mark.parametrize("name", ROWS)
def test_attribute_of_one_record_stands_where_it_should(of_one, name):
    """On these spans and links with this value, and on no other."""
    assert {span: found[name] for span, found in of_one.items() if name in found} == ROWS[name]


SEVERAL = {
    "messaging.destination.name": {"process": "t", "link of a poll": "u", "link of a batch": "u"},
    "messaging.destination.partition.id": {"process": "1", "link of a poll": "2", "link of a batch": "2"},
    "messaging.kafka.offset": {"process": 0, "link of a poll": 1, "link of a batch": 1},
    "messaging.kafka.message.key": {"process": "k", "link of a poll": "l", "link of a batch": "l"},
    "messaging.batch.message_count": {"poll": 2, "batch": 2},
}


@pytest.mark.parametrize("name", SEVERAL)
def test_attribute_that_differs_from_record_to_record_stands_on_its_link(of_several, name):
    """The spans of several topics have no destination; each link says where its record was read from."""
    assert {span: found[name] for span, found in of_several.items() if name in found} == SEVERAL[name]


def test_template_stands_beside_the_topic(recorder):
    """On the spans of one topic, and on the links of several; on a span of several topics where they share it."""
    template = lambda topic: "shared"
    found = consume(recorder, written(0), written(1, topic="u"), destination_template=template)
    found |= send(recorder, destination_template=template)
    shown = {
        name: (each.get("messaging.destination.name"), each["messaging.destination.template"])
        for name, each in found.items()
    }
    assert shown == {
        "send": ("t", "shared"),
        "poll": (None, "shared"),
        "process": ("t", "shared"),
        "batch": (None, "shared"),
        "commit": (None, "shared"),
        "link of a poll": ("u", "shared"),
        "link of a batch": ("u", "shared"),
    }


def test_records_of_one_partition_name_it_on_the_span(recorder):
    """Poll and batch: the partition, which all share; offset and key, which they do not, on the links alone."""
    found = consume(recorder, written(0, key=b"k", partition=1), written(1, key=b"l", partition=1))
    for name in ("poll", "batch"):
        assert found[name]["messaging.destination.partition.id"] == "1"
        assert found[name].keys().isdisjoint({"messaging.kafka.offset", "messaging.kafka.message.key"})
        assert found[f"link of a {name}"]["messaging.kafka.offset"] == 1
        assert "messaging.destination.name" not in found[f"link of a {name}"]


def test_tombstone_is_on_each_span_and_link_of_its_record(recorder):
    """True, where it is one, and nowhere else; of several records on the link."""
    name, tombstone = "messaging.kafka.message.tombstone", written(0, value=None, serialized_value_size=-1)
    found = {**consume(recorder, tombstone), **send(recorder, None)}
    assert {span for span, each in found.items() if each.get(name)} == set(found) - {"commit"}
    recorder.clear()
    found = consume(recorder, written(0), tombstone._replace(offset=1))
    assert {span for span, each in found.items() if name in each} == {"link of a poll", "link of a batch"}


def test_error_type_is_kafkas_name_on_each_span_that_failed(recorder):
    """Of send, poll, process, a batch and a commit."""
    error = UnknownTopicOrPartitionError()
    producer = producer_of(recorder, FakeProducer())
    producer.send("t", b"v").fail(error)
    consumer = consumer_of(recorder)
    bare_of(consumer).error_next(error)
    with pytest.raises(UnknownTopicOrPartitionError):
        consumer.poll()
    with pytest.raises(UnknownTopicOrPartitionError), process_of(consumer, written(0)):
        raise error
    with pytest.raises(UnknownTopicOrPartitionError), process_batch_of(consumer, [written(0)]):
        raise error

    class Refusing(FakeConsumer):
        def commit(self, *_, **__):
            raise error

    with ambient_of(recorder), pytest.raises(UnknownTopicOrPartitionError):
        wrap_consumer(Refusing(), options_of(recorder)).commit()
    shown = {span.name: span.attributes.get("error.type") for span in recorder.spans if span.name != "ambient"}
    assert shown == dict.fromkeys(("send t", "poll t", "process t", "commit t"), "UNKNOWN_TOPIC_OR_PARTITION")
