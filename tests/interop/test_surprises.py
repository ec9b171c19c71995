"""What docs/interop.md says that peers do, and users would not expect."""

from contextlib import closing
from itertools import islice

import pytest
from kafka import KafkaProducer
from opentelemetry.instrumentation.kafka import KafkaInstrumentor

from otelkafka import inject
from otelkafka.testing import SpanRecorder
from tests.interop.contexts import CONTEXT, STATE, TRACE, baggage_of, ids, ids_of, names
from tests.interop.peers import PEERS

pytestmark = pytest.mark.real_kafka
RECEIVE = "-Dotel.instrumentation.messaging.experimental.receive-telemetry.enabled=true"


def only(name):
    return pytest.mark.parametrize("peer", [peer for peer in PEERS if peer.name == name], ids=[name], indirect=True)


@only("otelsarama")
def test_receive_span_in_the_headers(drive, broker, topic, send):
    """otelsarama puts the context of its receive span into the headers, in place of the sender's."""
    sent = send(topic)
    shown = drive.consume(broker.bootstrap_servers, topic)
    receive = shown.span(f"{topic} receive")
    assert receive["parent_id"] == ids_of(sent)["span_id"]
    assert dict(shown.headers)["traceparent"].split("-")[1:3] == [TRACE, receive["span_id"]]


@only("Java, agent")
def test_receive_telemetry_links(drive, broker, topic, send):
    """The agent's receive span, where it is asked for, is the root of a trace whose process span links the sender."""
    sent = send(topic)
    shown = drive.consume(broker.bootstrap_servers, topic, RECEIVE)
    receive, process = shown.span(f"{topic} receive"), shown.span(f"{topic} process")
    assert receive["parent_id"] == ""
    assert process["parent_id"] == receive["span_id"]
    assert [ids(link) for link in process["links"]] == [ids_of(sent)]


@only("Java, agent")
def test_given_context_is_replaced_in_part(drive, broker, topic):
    """The agent writes its traceparent in place of a given one, and leaves the tracestate of that."""
    drive.produce(broker.bootstrap_servers, topic, CONTEXT)
    headers = dict(drive.consume(broker.bootstrap_servers, topic).headers)
    assert headers["traceparent"].split("-")[1] != TRACE
    assert headers["tracestate"] == STATE


@only("confluent-kafka")
def test_process_span_is_in_a_trace_of_its_own(drive, broker, topic, send):
    """confluent-kafka's instrumentation makes a root, and a child of it that links the sender."""
    sent = send(topic)
    shown = drive.consume(broker.bootstrap_servers, topic)
    root, process = shown.span("recv"), shown.span(f"{topic} process")
    assert (root["parent_id"], process["parent_id"]) == ("", root["span_id"])
    assert [ids(link) for link in process["links"]] == [ids_of(sent)]


@only("Java, library")
def test_blank_in_baggage(drive, broker, topics, send, take):
    """OpenTelemetry for Python writes a blank as a plus sign, which is one for Java."""
    first, second, _ = topics
    send(first, {**CONTEXT, "baggage": "city=old%20town"})
    shown = drive.forward(broker.bootstrap_servers, first, second)
    assert dict(shown.headers)["baggage"] == "city=old+town"
    _, _, body = take(second)
    assert body == {"city": "old+town"}


@only("kcat")
def test_header_without_a_value(drive, broker, topic, take, make_producer):
    """Others may send headers that have no value: kafka-python hands them over, and refuses to send them on."""
    drive.produce(broker.bootstrap_servers, topic, {"traceparent": None, "tenant": None})
    record, process, _ = take(topic)
    assert record.headers == [("traceparent", None), ("tenant", None)]
    assert process.parent is None
    with pytest.raises(TypeError, match="must be .str, bytes. tuples"):
        make_producer().send(topic, record.value, headers=record.headers)


def test_headers_that_are_used_again(broker, topic, make_consumer, recorder):
    """opentelemetry-instrumentation-kafka-python adds to the caller's list at each send; the last context is the record's."""
    theirs, headers = SpanRecorder(), [("tenant", b"blue")]
    KafkaInstrumentor().instrument(tracer_provider=theirs.tracer_provider)
    try:
        with closing(KafkaProducer(**broker.client_options)) as producer:
            for _ in range(3):
                producer.send(topic, b"", headers=headers)
    finally:
        KafkaInstrumentor().uninstrument()
    consumer = make_consumer()
    counts = [names(record.headers).count("traceparent") for record in islice(consumer, 3)]
    assert counts == [1, 2, 3]
    consumer.close()
    parents = [ids_of(span.parent) for span in recorder.wait_for(f"process {topic}", 3)]
    assert parents == [ids_of(span.context) for span in theirs.named(f"{topic} send")]


def test_properties_of_baggage():
    """OpenTelemetry for Python takes the properties of an entry for a part of its value."""
    headers = {name: value.decode() for name, value in inject([("baggage", b"tenant=blue;ttl=60")])}
    assert headers["baggage"] == "tenant=blue%3Bttl%3D60"
    assert baggage_of(headers) == {"tenant": "blue;ttl=60"}
