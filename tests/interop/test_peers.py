"""A trace crosses from each peer to otelkafka and back, through a real Kafka."""

import pytest

from tests.interop.contexts import CONTEXT, SPAN, STATE, TENANTS, TRACE, baggage_of, ids, ids_of, names, related
from tests.interop.peers import BROKEN, FORWARDED, READ, RECEIVED, SENT
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.real_kafka
OTHER = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_peer_sends(peer, drive, table, broker, topic, take):
    """What a peer sends is processed in a child of its span, with the tracestate and the baggage that it got."""
    seen = drive.produce(broker.bootstrap_servers, topic, CONTEXT)
    record, process, body = take(topic)
    parent = seen.span(peer.sends.format(topic)) if peer.sends else {"trace_id": TRACE, "span_id": SPAN}
    assert ids_of(process.parent) == ids(parent)
    assert process.context.trace_id == process.parent.trace_id
    assert (parent["trace_id"] == TRACE) is peer.adopts
    if peer.sends:
        assert parent["kind"] == "PRODUCER"
        assert (parent["parent_id"] == SPAN) is peer.adopts
    assert process.context.trace_state.to_header() == STATE
    assert body == TENANTS
    assert names(record.headers) == ["baggage", "traceparent", "tracestate"]
    table.saw(peer.name, SENT, f"{shown(peer.sends)} → `process T`{'' if peer.adopts else ', in a trace of its own'}")


def test_peer_receives(peer, drive, table, broker, topic, send):
    """What otelkafka sends reaches the peer with trace, tracestate and baggage."""
    sent = send(topic)
    seen = drive.consume(broker.bootstrap_servers, topic)
    headers = dict(seen.headers)
    assert names(seen.headers) == ["baggage", "traceparent", "tracestate"]
    assert headers["traceparent"].split("-")[1] == TRACE
    assert (headers["tracestate"], baggage_of(headers)) == (STATE, TENANTS)
    if not peer.receives:
        assert headers["traceparent"].split("-")[2] == ids_of(sent)["span_id"]
        table.saw(peer.name, RECEIVED, "`send T`, its headers as they are")
        return
    span = seen.span(peer.receives.format(topic))
    assert span["kind"] == "CONSUMER"
    assert related(peer, span) == ids_of(sent)
    assert (span["trace_id"] == TRACE) is not peer.links
    assert peer.links or span["tracestate"] == STATE
    table.saw(peer.name, RECEIVED, f"`send T` → {shown(peer.receives)}{', a link' if peer.links else ''}")


def test_forwarded_there_and_back(peer, drive, table, broker, topics, send, take, send_on):
    """A record forwarded by a peer and then by otelkafka carries one context, of one trace if the peer continues it."""
    first, second, third = topics
    sent = send(first)
    seen = drive.forward(broker.bootstrap_servers, first, second)
    record, process, _ = take(second)
    sender = seen.span(peer.sends.format(second)) if peer.sends else ids_of(sent)
    assert ids_of(process.parent) == ids(sender)
    assert (sender["trace_id"] == TRACE) is peer.continues
    contexts = names(record.headers).count("traceparent")
    assert contexts == 1 + peer.appends
    assert process.context.trace_state.to_header() == STATE  # also where the peer's trace is a new one
    back = send_on(record, third, process)
    assert back.context.trace_id == process.context.trace_id
    last = drive.consume(broker.bootstrap_servers, third)
    assert names(last.headers) == ["baggage", "traceparent", "tracestate"]
    assert baggage_of(dict(last.headers)) == TENANTS
    if peer.receives:
        assert related(peer, last.span(peer.receives.format(third))) == ids_of(back.context)
    its_trace = "one trace" if peer.continues else "a new trace from the peer"
    table.saw(peer.name, FORWARDED, f"{its_trace}; contexts in the record: {contexts} from the peer, 1 from otelkafka")


def test_two_contexts(peer, drive, table, broker, topic, bare_producer, take):
    """Which of two contexts in a record counts for a peer: for otelkafka it is the last."""
    contexts = ("traceparent", CONTEXT["traceparent"].encode()), ("traceparent", f"00-{OTHER}-{SPAN}-01".encode())
    bare_producer.send(topic, b"two", headers=list(contexts)).get(PATIENCE)
    seen = drive.consume(broker.bootstrap_servers, topic)
    assert ids_of(take(topic)[1].parent)["trace_id"] == OTHER
    if peer.reads:
        read = related(peer, seen.span(peer.receives.format(topic)))["trace_id"]
        assert read == (TRACE if peer.reads == "first" else OTHER)
    else:
        assert names(seen.headers) == ["traceparent", "traceparent"]
    table.saw(peer.name, READ, f"the {peer.reads}" if peer.reads else "none, it shows both")


def test_broken_context(peer, drive, table, broker, topic, bare_producer, take):
    """A traceparent that is no text may keep a record from a peer, never from otelkafka."""
    bare_producer.send(topic, b"broken", headers=[("traceparent", b"\xff")]).get(PATIENCE)
    assert take(topic)[1].parent is None
    if peer.survives:
        assert names(drive.consume(broker.bootstrap_servers, topic).headers)[:1] == ["traceparent"]
        table.saw(peer.name, BROKEN, "the record comes")
    else:
        with pytest.raises(RuntimeError, match="UnicodeDecodeError"):
            drive.consume(broker.bootstrap_servers, topic)
        table.saw(peer.name, BROKEN, "`UnicodeDecodeError` instead of the record")


def shown(span_name):
    return f"`{span_name.format('T')}`" if span_name else "its headers"
