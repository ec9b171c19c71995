"""A trace crosses from each peer to otelkafka and back, through a real Kafka."""

import uuid

import pytest
from kafka import KafkaConsumer
from opentelemetry import baggage, propagate, trace
from opentelemetry import context as context_api

from otelkafka import ConsumerOptions
from tests.face import wrap_consumer
from tests.interop.peers import BROKEN, FORWARDED, READ, RECEIVED, SENT

pytestmark = pytest.mark.real_kafka
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
STATE, BAGGAGE = "vendor=one", "tenant=blue"
CONTEXT = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": STATE, "baggage": BAGGAGE}
OTHER = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_peer_sends(peer, drive, table, broker, topic, take):
    """What a peer sends is processed in a child of its span, with the tracestate and the baggage that it got."""
    told = drive.produce(broker.bootstrap_servers, topic, CONTEXT)
    record, process, body = take(topic)
    parent = told.span(peer.sends.format(topic)) if peer.sends else {"trace_id": TRACE, "span_id": SPAN}
    assert ids_of(process.parent) == ids(parent)
    assert process.context.trace_id == process.parent.trace_id
    assert (parent["trace_id"] == TRACE) is peer.heeds
    if peer.sends:
        assert parent["kind"] == "PRODUCER"
        assert (parent["parent_id"] == SPAN) is peer.heeds
    assert process.context.trace_state.to_header() == STATE
    assert body == {"tenant": "blue"}
    assert names(record.headers) == ["baggage", "traceparent", "tracestate"]
    table.saw(peer.name, SENT, f"{shown(peer.sends)} → `process T`{'' if peer.heeds else ', in a trace of its own'}")


def test_peer_receives(peer, drive, table, broker, topic, send):
    """What otelkafka sends reaches the peer with trace, tracestate and baggage."""
    sent = send(topic)
    told = drive.consume(broker.bootstrap_servers, topic)
    headers = dict(told.headers)
    assert names(told.headers) == ["baggage", "traceparent", "tracestate"]
    assert headers["traceparent"].split("-")[1] == TRACE
    assert (headers["tracestate"], headers["baggage"]) == (STATE, BAGGAGE)
    if not peer.receives:
        assert headers["traceparent"].split("-")[2] == ids_of(sent)["span_id"]
        table.saw(peer.name, RECEIVED, "`send T`, its headers as they are")
        return
    span = told.span(peer.receives.format(topic))
    assert span["kind"] == "CONSUMER"
    assert related(peer, span) == ids_of(sent)
    assert (span["trace_id"] == TRACE) is not peer.links
    assert peer.links or span["tracestate"] == STATE
    table.saw(peer.name, RECEIVED, f"`send T` → {shown(peer.receives)}{', a link' if peer.links else ''}")


def test_forwarded_there_and_back(peer, drive, table, broker, topics, send, take, send_on):
    """A record forwarded by a peer and then by otelkafka carries one context, of one trace if the peer continues it."""
    first, second, third = topics
    sent = send(first)
    told = drive.forward(broker.bootstrap_servers, first, second)
    record, process, _ = take(second)
    sender = told.span(peer.sends.format(second)) if peer.sends else ids_of(sent)
    assert ids_of(process.parent) == ids(sender)
    assert (sender["trace_id"] == TRACE) is peer.continues
    contexts = names(record.headers).count("traceparent")
    back = send_on(record, third, process)
    assert back.context.trace_id == process.context.trace_id
    last = drive.consume(broker.bootstrap_servers, third)
    assert names(last.headers) == ["baggage", "traceparent", "tracestate"]
    assert dict(last.headers)["baggage"] == BAGGAGE
    if peer.receives:
        assert related(peer, last.span(peer.receives.format(third))) == ids_of(back.context)
    trace_told = "one trace" if peer.continues else "a new trace from the peer"
    table.saw(peer.name, FORWARDED, f"{trace_told}; contexts in the record: {contexts} from the peer, 1 from otelkafka")


def test_two_contexts(peer, drive, table, broker, topic, bare_producer, take):
    """Which of two contexts in a record counts for a peer: for otelkafka it is the last."""
    contexts = ("traceparent", CONTEXT["traceparent"].encode()), ("traceparent", f"00-{OTHER}-{SPAN}-01".encode())
    bare_producer.send(topic, b"two", headers=list(contexts)).get(10)
    told = drive.consume(broker.bootstrap_servers, topic)
    assert ids_of(take(topic)[1].parent)["trace_id"] == OTHER
    if peer.reads:
        read = related(peer, told.span(peer.receives.format(topic)))["trace_id"]
        assert read == (TRACE if peer.reads == "first" else OTHER)
    else:
        assert names(told.headers) == ["traceparent", "traceparent"]
    table.saw(peer.name, READ, f"the {peer.reads}" if peer.reads else "none, it shows both")


def test_broken_context(peer, drive, table, broker, topic, bare_producer, take):
    """A traceparent that is no text may keep a record from a peer, never from otelkafka."""
    bare_producer.send(topic, b"broken", headers=[("traceparent", b"\xff")]).get(10)
    assert take(topic)[1].parent is None
    if peer.survives:
        assert names(drive.consume(broker.bootstrap_servers, topic).headers)[:1] == ["traceparent"]
        table.saw(peer.name, BROKEN, "the record comes")
    else:
        with pytest.raises(RuntimeError, match="UnicodeDecodeError"):
            drive.consume(broker.bootstrap_servers, topic)
        table.saw(peer.name, BROKEN, "`UnicodeDecodeError` instead of the record")


def ids(told):
    return {name: told[name] for name in ("trace_id", "span_id")}


def ids_of(context):
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def related(peer, span):
    """Which span a peer's is a child of, or links."""
    if peer.links:
        (link,) = span["links"]
        return ids(link)
    return {"trace_id": span["trace_id"], "span_id": span["parent_id"]}


def names(headers):
    return sorted(name for name, _ in headers)


def shown(span_name):
    return f"`{span_name.format('T')}`" if span_name else "its headers"


@pytest.fixture
def topics(broker):
    made = [f"t-{uuid.uuid4().hex}" for _ in range(3)]
    for name in made:
        broker.create_topic(name)
    return made


@pytest.fixture
def send(make_producer, recorder):
    """Send a record in the context, and return that of its span."""

    def send(topic):
        token = context_api.attach(propagate.extract(CONTEXT))
        try:
            make_producer().send(topic, b"from otelkafka").get(10)
        finally:
            context_api.detach(token)
        return recorder.wait_for(f"send {topic}")[0].context

    return send


@pytest.fixture
def take(broker, recorder):
    """Process the first record of a topic; return it, its span, and the baggage that was current."""

    def take(topic):
        settings = {"auto_offset_reset": "earliest", "consumer_timeout_ms": 30_000, "group_id": uuid.uuid4().hex}
        bare = KafkaConsumer(topic, **settings, **broker.client_options)
        consumer = wrap_consumer(bare, ConsumerOptions(tracer_provider=recorder.tracer_provider))
        try:
            for taken in consumer:
                record, body = taken, dict(baggage.get_all())
                break
        finally:
            consumer.close()
        return record, recorder.wait_for(f"process {topic}")[0], body

    return take


@pytest.fixture
def send_on(make_producer, recorder):
    """Forward a record within its span, headers and all, and return the span of that send."""

    def send_on(record, topic, process):
        with trace.use_span(trace.NonRecordingSpan(process.context)):
            make_producer().send(topic, record.value, headers=list(record.headers)).get(10)
        return recorder.wait_for(f"send {topic}")[0]

    return send_on
