"""One trace runs from the send through the topic into the body of the loop, on a broker."""

import pytest
from kafka import KafkaConsumer
from opentelemetry import baggage, context, trace
from opentelemetry.trace import SpanKind, StatusCode

from otelkafka import extract, wrap_handler
from tests.support.face import process_batch_of, process_of, wrap_consumer
from tests.support.waiting import PATIENCE


def send(producer, topic, *values, **kwargs):
    futures = [producer.send(topic, value, **kwargs) for value in values]
    producer.flush()
    return [future.get(PATIENCE) for future in futures]


def test_send_span_ends_at_the_acknowledgement(make_producer, recorder, topic):
    """The send span is a PRODUCER span with partition and offset, which only the acknowledgement has."""
    (metadata,) = send(make_producer(), topic, b"v", key=b"k")
    (span,) = recorder.wait_for(f"send {topic}")
    assert span.kind is SpanKind.PRODUCER
    assert span.status.status_code is StatusCode.UNSET
    shown = dict(span.attributes)
    assert shown.pop("otelkafka.send.blocked_duration") >= 0
    assert shown.pop("server.address")
    assert shown.pop("server.port")
    shown.pop("messaging.kafka.cluster.id", None)
    shown.pop("messaging.client.id")
    assert shown == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": metadata.offset,
        "messaging.kafka.message.key": "k",
    }


def test_process_span_is_current_in_the_body_and_child_of_the_send(make_producer, make_consumer, recorder, topic):
    """relation="parent": the process span continues the send's trace and is current in the loop's body."""
    send(make_producer(), topic, b"v")
    current = None
    for _ in make_consumer():
        current = trace.get_current_span().get_span_context()
        break
    (sent,), (processed,) = recorder.wait_for(f"send {topic}"), recorder.wait_for(f"process {topic}")
    assert processed.kind is SpanKind.CONSUMER
    assert processed.parent.span_id == sent.context.span_id
    assert processed.context.trace_id == sent.context.trace_id
    assert current == processed.context
    assert not trace.get_current_span().get_span_context().is_valid


def test_link_relation_stays_in_the_ambient_trace(make_producer, make_consumer, recorder, topic):
    """relation="link": child of the ambient span, with a creation link to the send."""
    send(make_producer(), topic, b"v")
    consumer = make_consumer(relation="link")
    with recorder.tracer_provider.get_tracer("t").start_as_current_span("ambient") as ambient:
        for _ in consumer:
            break
    (sent,), (processed,) = recorder.wait_for(f"send {topic}"), recorder.wait_for(f"process {topic}")
    assert processed.parent.span_id == ambient.get_span_context().span_id
    (link,) = processed.links
    assert link.context.span_id == sent.context.span_id
    assert dict(link.attributes) == {"otelkafka.link.type": "creation"}


def test_parent_relation_links_the_ambient_span(make_producer, make_consumer, recorder, topic):
    """relation="parent": the span around the loop is linked, as it is not the parent."""
    send(make_producer(), topic, b"v")
    with recorder.tracer_provider.get_tracer("t").start_as_current_span("ambient") as ambient:
        for _ in make_consumer():
            break
    (processed,) = recorder.wait_for(f"process {topic}")
    assert [(link.context, dict(link.attributes)) for link in processed.links] == [
        (ambient.get_span_context(), {"otelkafka.link.type": "ambient"})
    ]


@pytest.mark.parametrize("style", ["iterate", "poll"])
def test_wait_is_split_and_names_what_kept_the_consumer_busy(make_producer, make_consumer, recorder, topic, style):
    """The wait of a record for another is recorded as busy, with a link to the process span that kept its consumer so."""
    import time

    consumer = make_consumer()
    send(make_producer(), topic, b"slow", b"waiting")
    if style == "iterate":
        for record in consumer:
            time.sleep(0.05)
            if record.value == b"waiting":
                break
    else:
        seen = 0
        while seen < 2:
            for records in consumer.poll(timeout_ms=500).values():
                for _ in records:
                    seen += 1
                    time.sleep(0.05)
    first, second = recorder.wait_for(f"process {topic}", 2)
    shown = second.attributes
    assert shown["otelkafka.queue.busy_duration"] >= 0.05
    parts = shown["otelkafka.queue.busy_duration"] + shown["otelkafka.queue.fetch_duration"]
    assert parts <= shown["otelkafka.queue.duration"] + 1e-6
    assert shown["otelkafka.queue.timestamp_type"] == "create"
    assert shown["otelkafka.queue.busy_count"] == 1
    assert shown["otelkafka.consumer.lag"] == 0
    (link,) = second.links
    assert link.context == first.context
    assert link.attributes["otelkafka.link.type"] == "busy"
    assert link.attributes["messaging.kafka.offset"] == first.attributes["messaging.kafka.offset"]
    assert link.attributes["otelkafka.process.duration"] >= 0.05


def test_process_records_the_exception_on_the_open_span(make_producer, make_consumer, recorder, topic):
    """process(record) inside the loop adds no span, and records what the iterator cannot see."""
    send(make_producer(), topic, b"v")
    consumer = make_consumer()
    for record in consumer:
        with pytest.raises(ValueError, match="boom"), process_of(consumer, record):
            raise ValueError("boom")
        break
    (processed,) = recorder.wait_for(f"process {topic}")
    assert processed.status.status_code is StatusCode.ERROR
    assert processed.status.description == "boom"
    assert processed.attributes["error.type"] == "ValueError"
    assert [event.name for event in processed.events] == ["exception"]


def test_batch_links_every_record(make_producer, make_consumer, recorder, topic):
    """process_batch makes one span with a link for each record and spends the lists' own dispatch."""
    send(make_producer(), topic, b"1", b"2", b"3")
    consumer = make_consumer()
    count = 0
    while count < 3:
        polled = consumer.poll(timeout_ms=500)
        if polled:
            with process_batch_of(consumer, polled):
                count += sum(1 for records in polled.values() for _ in records)
    batches = recorder.wait_for(f"process {topic}")
    assert sum(span.attributes["messaging.batch.message_count"] for span in batches) == 3
    creations = [
        link for span in batches for link in span.links if link.attributes["otelkafka.link.type"] == "creation"
    ]
    assert {link.context.span_id for link in creations} == {
        span.context.span_id for span in recorder.wait_for(f"send {topic}", 3)
    }


def test_relay_keeps_one_context(make_producer, make_consumer, recorder, topic):
    """Forwarding record.headers continues the trace with one traceparent, and leaves the caller's list alone."""
    producer = make_producer()
    send(producer, topic, b"v", headers=[("x", b"1"), ("x", b"2")])
    for record in make_consumer():
        before = list(record.headers)
        send(producer, topic, b"forwarded", headers=record.headers)
        assert record.headers == before
        break
    found = []
    for record in make_consumer(process="manual"):
        if record.value == b"forwarded":
            found.append(record)
            break
    keys = [key for key, _ in found[0].headers]
    assert keys == ["x", "x", "traceparent"]
    sends = recorder.wait_for(f"send {topic}", 2)
    assert len({span.context.trace_id for span in sends}) == 1
    carried = trace.get_current_span(extract(found[0])).get_span_context()
    assert carried.span_id == sends[1].context.span_id


def test_baggage_reaches_the_body(make_producer, make_consumer, topic):
    """The record's baggage is current in the body of the loop, and gone after it."""
    token = context.attach(baggage.set_baggage("tenant", "a"))
    send(make_producer(), topic, b"v")
    context.detach(token)
    for _ in make_consumer():
        assert baggage.get_baggage("tenant") == "a"
        break
    assert baggage.get_baggage("tenant") is None


def test_broken_headers_cost_nothing(bare_producer, make_consumer, recorder, topic):
    """A context that is no UTF-8 starts a new trace; nothing raises and nothing is lost."""
    send(bare_producer, topic, b"v", headers=[("traceparent", b"\xff\xfe"), ("baggage", b"\xff")])
    for record in make_consumer():
        assert record.value == b"v"
        break
    (processed,) = recorder.wait_for(f"process {topic}")
    assert processed.parent is None


def test_send_that_raises_is_recorded_and_raises_the_same(bare_producer, make_producer, recorder, topic):
    """What send() refuses, the traced one refuses with the same error, and its span says so."""
    producer = make_producer()
    with pytest.raises((TypeError, AssertionError)) as bare:
        bare_producer.send(topic, "no bytes")
    with pytest.raises((TypeError, AssertionError)) as traced:
        producer.send(topic, "no bytes")
    assert (type(traced.value), str(traced.value)) == (type(bare.value), str(bare.value))
    (span,) = recorder.wait_for(f"send {topic}")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == type(bare.value).__name__


def test_handler_sync_and_async(make_producer, make_consumer, recorder, topic):
    """A wrapped handler, sync or async, runs in a process span."""
    import asyncio

    from otelkafka import ConsumerOptions

    send(make_producer(), topic, b"v")
    record = next(make_consumer(process="manual"))
    seen = []

    @wrap_handler(options=ConsumerOptions(tracer_provider=recorder.tracer_provider))
    async def handle(one):
        seen.append(trace.get_current_span().get_span_context())

    class Wall:
        @wrap_handler(options=ConsumerOptions(tracer_provider=recorder.tracer_provider))
        def show(self, one):
            seen.append(trace.get_current_span().get_span_context())

    asyncio.run(handle(record))
    Wall().show(record)
    assert seen == [span.context for span in recorder.named(f"process {topic}")]


@pytest.mark.real_kafka
def test_group_assignment_is_noted(broker, make_producer, recorder, topic):
    """A consumer that subscribed in its constructor is adopted without a rebalance, and the user's listener is still called."""
    from kafka import ConsumerRebalanceListener

    from otelkafka import ConsumerOptions

    heard = []

    class Listener(ConsumerRebalanceListener):
        def on_partitions_revoked(self, revoked):
            pass

        def on_partitions_assigned(self, assigned):
            heard.extend(assigned)

    send(make_producer(), topic, b"v")
    bare = KafkaConsumer(
        group_id=topic, auto_offset_reset="earliest", consumer_timeout_ms=int(PATIENCE * 1000), **broker.client_options
    )
    with wrap_consumer(bare, ConsumerOptions(tracer_provider=recorder.tracer_provider)) as consumer:
        consumer.subscribe([topic], listener=Listener())
        assert next(consumer).value == b"v"
        assert [(each.topic, each.partition) for each in heard] == [(topic, 0)]
    (processed,) = recorder.wait_for(f"process {topic}")
    assert processed.attributes["messaging.consumer.group.name"] == topic
