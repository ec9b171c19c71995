"""The send span."""

import os
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from kafka.errors import MessageSizeTooLargeError, UnknownTopicOrPartitionError
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagators.b3 import B3MultiFormat
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import StatusCode, get_current_span

from otelkafka import Message, ProducerOptions, extract
from otelkafka.testing import FakeCluster, SpanRecorder, span_tree
from tests.support.face import wrap_producer
from tests.support.fakes import (
    SPAN_ID,
    TRACEPARENT,
    FakeProducer,
    RepeatingFuture,
    ambient_of,
    current,
    failed,
    producer_of,
)
from tests.support.sides import Side


def test_record_too_large_by_our_header_is_sent_as_given(recorder):
    """Only our header made it too large: it goes out without, and the span says so."""
    bare = FakeProducer(too_large="raise")
    producer_of(recorder, bare).send("t", b"v")
    bare.futures[0].fail(UnknownTopicOrPartitionError("x"))
    assert bare.headers == [None]
    (span,) = recorder.spans
    assert span.attributes["otelkafka.send.without_context"] is True
    assert span.attributes["error.type"] == "UNKNOWN_TOPIC_OR_PARTITION"


def test_no_headers_for_old_brokers_and_no_span_beyond_max_in_flight(recorder):
    """api_version below 0.11 gets no header; beyond max_in_flight a span ends when send() returns."""
    bare = FakeProducer(api_version=(0, 10))
    producer_of(recorder, bare, max_in_flight=0).send("t", b"v")
    assert bare.headers == [None]
    assert [span.name for span in recorder.spans] == ["send t"]


def test_headers_of_another_trace_are_linked_and_b3_works(recorder):
    """The ambient span is the parent; a context of another trace in the headers is linked. Any propagator will do."""
    bare = FakeProducer()
    headers = [("x-b3-traceid", b"a" * 32), ("x-b3-spanid", b"b" * 16), ("x-b3-sampled", b"1")]
    options = {"propagator": B3MultiFormat()}
    with recorder.tracer_provider.get_tracer("t").start_as_current_span("ambient"):
        producer_of(recorder, bare, max_in_flight=0, **options).send("t", b"v", None, headers)
    sent, ambient = recorder.spans
    assert sent.parent.span_id == ambient.context.span_id
    assert [dict(link.attributes) for link in sent.links] == [{"otelkafka.link.type": "creation"}]
    assert len(bare.headers[0]) == 3
    carried = trace.get_current_span(extract(bare.headers[0], ProducerOptions(**options))).get_span_context()
    assert carried.span_id == sent.context.span_id
    assert "  send t" in span_tree([sent, ambient])


def test_send_ends_at_its_acknowledgement_and_returns_the_very_future(recorder):
    """The span ends at the ack, with what the ack says; hooks see the span, the message and the metadata."""
    bare, heard = FakeProducer(cluster=FakeCluster(partitions=3)), []
    options = {
        "on_send": lambda span, message: heard.append((span.is_recording(), message)),
        "on_ack": lambda span, metadata: heard.append((span.is_recording(), metadata)),
    }
    future = producer_of(recorder, bare, **options).send("t", b"v", key=b"k")
    assert future is bare.futures[0]
    assert recorder.spans == []
    future.acknowledge(7)
    (span,) = recorder.spans
    assert heard == [(True, Message("t", b"v", b"k")), (True, future.value)]
    assert span.attributes["messaging.destination.partition.id"] == "2"
    assert span.attributes["messaging.kafka.offset"] == 7


def test_send_span_ends_once_however_often_its_future_calls_back(recorder, caplog):
    """With the first call, and so does its hook."""

    class Repeating(FakeProducer):
        def send(self, *args, **kwargs):
            super().send(*args, **kwargs)
            return RepeatingFuture()

    acknowledged = []
    producer = producer_of(recorder, Repeating(), on_ack=lambda *_: acknowledged.append(1))
    future = producer.send("t", b"v")
    future.acknowledge()
    assert len(recorder.spans) == 1
    future.acknowledge()
    future.fail(OSError())
    assert len(recorder.spans) == 1
    assert acknowledged == [1]
    assert "error.type" not in recorder.spans[0].attributes
    assert caplog.records == []


def test_send_without_acks_has_no_offset(recorder):
    """With acks=0 the offset is -1, which is none."""
    bare = FakeProducer()
    producer_of(recorder, bare).send("t", b"v").acknowledge(-1)
    assert "messaging.kafka.offset" not in recorder.spans[0].attributes


def test_future_that_failed_for_our_header_is_sent_again(recorder):
    """Where the client reports the size through the future, the second future is the one returned."""
    bare = FakeProducer(too_large="future")
    future = producer_of(recorder, bare).send("t", b"v")
    assert future is bare.futures[1]
    assert bare.headers == [None]
    future.acknowledge()
    (span,) = recorder.spans
    assert span.attributes["otelkafka.send.without_context"] is True
    assert span.status.status_code is StatusCode.UNSET


def test_send_takes_its_parent_from_the_headers_where_nothing_is_ambient(recorder):
    """No ambient span: child of the headers' context. One of the same trace: no link."""
    bare = FakeProducer()
    producer = producer_of(recorder, bare, max_in_flight=0)
    producer.send("t", b"v", headers=[TRACEPARENT])
    with trace.use_span(trace.NonRecordingSpan(trace.get_current_span(extract([TRACEPARENT])).get_span_context())):
        producer.send("t", b"v", headers=[TRACEPARENT])
    for span in recorder.spans:
        assert f"{span.parent.span_id:016x}" == SPAN_ID
        assert span.links == ()
    assert [len(headers) for headers in bare.headers] == [1, 1]


def test_arguments_that_are_refused_go_through_untouched(recorder):
    """A tuple of headers, a value that is no bytes: the client gets the very objects of the caller, and refuses them."""
    seen = []

    class Seeing(FakeProducer):
        def send(self, *args, **kwargs):
            seen.append(kwargs["headers"])
            return super().send(*args, **kwargs)

    producer = producer_of(recorder, Seeing())
    for headers in ((("a", b"b"),), [("a", "b")], [("a", None)], "junk"):
        with pytest.raises((TypeError, AssertionError)):
            producer.send("t", b"v", headers=headers)
        assert seen[-1] is headers


def test_sends_from_many_threads_each_end_once(recorder):
    """A producer is used from many threads: every span ends once, also where close() races with acks."""
    bare = FakeProducer()
    producer = producer_of(recorder, bare)
    with ThreadPoolExecutor(8) as executor:
        list(executor.map(lambda _: producer.send("t", b"v"), range(200)))
    closing = threading.Thread(target=producer.close)
    closing.start()
    for future in bare.futures:
        future.acknowledge()
    closing.join()
    assert len(recorder.spans) == 200


def test_serializers_run_inside_the_send_span(recorder):
    """The span starts before serialization and is current in it, so that serializers may make child spans."""

    class Serializing(FakeProducer):
        def send(self, *args, **kwargs):
            with ambient_of(recorder, "serialize"):
                return super().send(*args, **kwargs)

    with ambient_of(recorder) as ambient:
        producer_of(recorder, Serializing(), max_in_flight=0).send("t", b"v")
        assert current() == ambient.get_span_context()
    serialize, send, _ = recorder.spans
    assert serialize.parent.span_id == send.context.span_id


def test_failed_send_records_how_long_it_was_blocked(recorder, clock):
    """The time inside send() is recorded, whether it returns or raises."""

    class Blocking(FakeProducer):
        def send(self, *args, **kwargs):
            clock.advance(0.01)
            return super().send(*args, **kwargs)

    waiting = Blocking()
    producer_of(recorder, waiting).send("t", b"v")
    producer_of(recorder, Blocking(), max_in_flight=0).send("t", b"v")
    with pytest.raises(OSError):
        producer_of(recorder, Blocking(error=OSError())).send("t", b"v")
    for future in waiting.futures:
        future.acknowledge()
    assert [(span.end_time - span.start_time) / 1e9 for span in recorder.spans] == [0.01, 0.01, 0.03]
    for span in recorder.spans:
        assert span.attributes["otelkafka.send.blocked_duration"] == 0.01


def test_close_ends_what_is_in_flight_once():
    """A future that never resolves leaves no span open after close(), and a late one changes nothing."""
    bare, recorder = FakeProducer(bootstrap_servers="user:secret@host:9092"), SpanRecorder()
    producer = wrap_producer(bare, ProducerOptions(tracer_provider=recorder.tracer_provider))
    producer.send("t", b"v")
    assert recorder.spans == []
    producer.close()
    bare.futures[0].acknowledge()
    (span,) = recorder.spans
    assert span.attributes["error.type"] == "NotAcknowledgedError"
    assert span.attributes["server.address"] == "host"


def test_untraced_topic_still_propagates():
    """trace_topic False: no span, but the ambient context goes out."""
    bare, recorder = FakeProducer(), SpanRecorder()
    options = ProducerOptions(tracer_provider=recorder.tracer_provider, trace_topic=lambda _: False)
    with recorder.tracer_provider.get_tracer("t").start_as_current_span("ambient") as ambient:
        wrap_producer(bare, options).send("t", b"v")
    assert [span.name for span in recorder.spans] == ["ambient"]
    carried = get_current_span(extract(bare.headers[0])).get_span_context()
    assert carried.span_id == ambient.get_span_context().span_id
    assert isinstance(extract([]), Context)


def test_record_that_is_too_large_by_itself_was_not_sent_without_context(recorder):
    """Refused with and without our header: the span says that it failed, and no more."""
    with pytest.raises(MessageSizeTooLargeError):
        producer_of(recorder, FakeProducer(error=MessageSizeTooLargeError())).send("t", b"v")
    assert "otelkafka.send.without_context" not in recorder.spans[0].attributes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_childs_close_ends_nothing_of_its_parents(recorder):
    """What was in flight before a fork is the parent's."""
    bare = FakeProducer()
    producer = producer_of(recorder, bare)
    producer.send("t", b"v")
    child = os.fork()
    if child == 0:
        producer.close()
        os._exit(len(recorder.spans))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    bare.futures[0].acknowledge()
    assert len(recorder.spans) == 1


def test_record_that_a_broker_refused_at_once_is_not_sent_again(recorder):
    """A broker may answer before send() returns: what lay in a batch was not refused by the client for our header."""

    class Refused(FakeProducer):
        def send(self, *args, **kwargs):
            super().send(*args, **kwargs)
            self.futures[-1] = failed(MessageSizeTooLargeError())
            self.futures[-1].args = (0, None, None, -1, 1, 66)  # the first of a batch, as kafka-python has it
            return self.futures[-1]

    bare = Refused()
    assert producer_of(recorder, bare).send("t", b"v") is bare.futures[0]
    assert len(bare.calls) == 1


def test_send_inside_of_a_serializer_is_traced(recorder):
    """By the same producer: a span of its own, inside the other, and its context in the headers."""

    def serialize(value):
        if value is None:
            producer.send("inner", b"v")
        return value

    bare = FakeProducer(value_serializer=serialize)
    producer = producer_of(recorder, bare)
    producer.send("outer", None)
    for each in bare.futures:
        each.acknowledge()
    inner, outer = recorder.spans
    assert (inner.name, outer.name, inner.parent.span_id) == ("send inner", "send outer", outer.context.span_id)
    assert [len(headers) for headers in bare.headers] == [1, 1]


def test_key_is_not_kept_in_flight_where_it_is_not_recorded():
    """A sampled send needs nothing more to record its failure."""

    class Key(str):
        __slots__ = ("__weakref__",)

    side = Side(SpanRecorder(ALWAYS_ON), sample_errors=True)
    key = Key("k")
    dead = weakref.ref(key)
    bare = FakeProducer(key_serializer=str.encode)
    side.producer(bare, capture_key=False).send("t", b"v", key)  # else the span has it
    del key
    assert dead() is None


def test_keywords_of_a_subclass_are_its_own(recorder):
    """A keyword that only a subclass knows reaches it; a hook of ours sees no error of ours, whatever the name."""

    class Own(FakeProducer):
        def send(self, *args, hook=None, urgent=None, **kwargs):
            self.given = hook, urgent
            return super().send(*args, **kwargs)

    seen = []
    bare = Own()
    producer = producer_of(recorder, bare, on_send=lambda *_: seen.append(sys.exc_info()))
    producer.send("t", b"v", hook=seen.append, urgent=True)
    assert bare.given == (seen.append, True)
    assert seen == [(None, None, None)]


def test_time_inside_of_send_is_measured_once(recorder, clock):
    """A call that takes no measurable time was not blocked, however long the broker takes to answer."""
    bare = FakeProducer()
    producer_of(recorder, bare).send("t", b"v")
    clock.advance(5)
    bare.acknowledge_all()
    (span,) = recorder.spans
    assert span.attributes["otelkafka.send.blocked_duration"] == 0
