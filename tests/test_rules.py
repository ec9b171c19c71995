"""Rules of the producer and the consumer that fakes of the clients make on cue."""

import copy
import pickle
import threading
import time

import pytest
from kafka import TopicPartition
from kafka.errors import KafkaConnectionError, UnknownTopicOrPartitionError
from opentelemetry import context, trace
from opentelemetry.propagators.b3 import B3MultiFormat
from opentelemetry.trace import StatusCode

from otelkafka import ConsumerOptions, ProducerOptions, extract, wrap_consumer, wrap_producer
from otelkafka.testing import SpanRecorder, span_tree
from tests.fakes import FakeConsumer, FakeProducer, record


@pytest.fixture
def recorder():
    return SpanRecorder()


def consumer_of(recorder, *records, **options):
    return wrap_consumer(FakeConsumer(*records), ConsumerOptions(tracer_provider=recorder.tracer_provider, **options))


def producer_of(recorder, bare, **options):
    return wrap_producer(bare, ProducerOptions(tracer_provider=recorder.tracer_provider, **options))


def is_nothing_current():
    return not trace.get_current_span().get_span_context().is_valid


def test_poll_span_links_every_record_and_an_empty_poll_has_none(recorder):
    """poll_spans: one CLIENT span with a creation link a record; none for an empty poll."""
    consumer = consumer_of(recorder, record(0), record(1), poll_spans=True, max_links=1)
    consumer.poll()
    consumer.poll()
    (span,) = recorder.spans
    assert (span.name, len(span.links)) == ("poll t", 1)
    assert span.attributes["messaging.batch.message_count"] == 2
    assert span.attributes["otelkafka.links.dropped"] == 1


@pytest.mark.parametrize("style", ["next", "poll"])
def test_failed_poll_is_told_and_goes_on(recorder, style):
    """A poll() or an iteration that raises has an error span, passes the error, and works when asked again."""
    error = KafkaConnectionError("gone")
    consumer = consumer_of(recorder, error, record(0))
    with pytest.raises(KafkaConnectionError) as raised:
        next(consumer) if style == "next" else consumer.poll()
    assert raised.value is error
    (span,) = recorder.spans
    assert (span.name, span.attributes["error.type"]) == ("poll", "KafkaConnectionError")


def test_iterator_goes_on_after_an_error_and_after_its_end(recorder):
    """The iterator survives Kafka's errors and a StopIteration, as the client does."""
    consumer = consumer_of(recorder, record(0), KafkaConnectionError("gone"), record(1))
    records = iter(consumer)
    assert next(records).offset == 0
    with pytest.raises(KafkaConnectionError):
        next(records)
    assert next(records).offset == 1
    with pytest.raises(StopIteration):
        next(records)
    consumer.__wrapped__.records.append(record(2))
    assert next(records).offset == 2
    consumer.close()


@pytest.mark.parametrize("leave", ["break", "raise", "exhaust"])
@pytest.mark.parametrize("style", ["iterate", "poll"])
def test_leaving_the_loop_ends_the_span_and_restores_the_context(recorder, leave, style):
    """However the loop is left, the span has ended and nothing is current any more."""
    consumer = consumer_of(recorder, record(0))
    records = consumer if style == "iterate" else consumer.poll()[TopicPartition("t", 0)]

    def loop():
        for _ in records:
            assert not is_nothing_current()
            if leave == "break":
                break
            if leave == "raise":
                raise ValueError

    if leave == "raise":
        with pytest.raises(ValueError):
            loop()
    else:
        loop()
    assert is_nothing_current()
    (span,) = recorder.spans
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes["messaging.kafka.message.tombstone"] is True


def test_iterator_dropped_in_another_thread_ends_its_span_silently(recorder, caplog):
    """Dropped elsewhere, the span ends there without a detach; the next record here restores the context first."""
    consumer = consumer_of(recorder, record(0), record(1))
    held = [iter(consumer)]
    next(held[0])
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert [span.attributes["messaging.kafka.offset"] for span in recorder.spans] == [0]
    assert caplog.records == []
    next(consumer)
    consumer.close()
    assert is_nothing_current()
    # Nothing of the dropped span is ambient to the next; that it kept the consumer busy may well be told.
    assert "ambient" not in [link.attributes["otelkafka.link.type"] for link in recorder.spans[1].links]


def test_polled_list_is_a_plain_list_where_it_is_copied(recorder):
    """Copies and pickles are plain lists, and only the first iteration dispatches."""
    polled = consumer_of(recorder, record(0)).poll()[TopicPartition("t", 0)]
    assert type(copy.copy(polled)) is type(pickle.loads(pickle.dumps(polled))) is list
    assert recorder.spans == []
    assert len(list(polled)) == len(list(polled)) == 1
    assert len(recorder.spans) == 1


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
    bare = FakeProducer({"api_version": (0, 10)})
    producer_of(recorder, bare, max_in_flight=0).send("t", b"v")
    assert bare.headers == [None]
    assert [span.name for span in recorder.spans] == ["send t"]


def test_suppression_leaves_everything_alone(recorder):
    """Under suppress_instrumentation there are no spans and no headers."""
    bare = FakeProducer()
    token = context.attach(context.set_value("suppress_instrumentation", True))
    producer_of(recorder, bare).send("t", b"v")
    for _ in consumer_of(recorder, record(0)):
        assert is_nothing_current()
    context.detach(token)
    assert (bare.headers, recorder.spans) == ([None], [])


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


def test_clock_skew_and_headers_and_hashed_keys(recorder):
    """A timestamp in the future is clamped and said; headers and keys are told as the options want."""
    future = record(0, timestamp=int(time.time() * 1000) + 60_000, key=b"k", headers=[("x-a", b"1"), ("y", b"2")])
    list(consumer_of(recorder, future, capture_headers=["x-*"], capture_key=lambda key: f"#{key.decode()}"))
    told = recorder.spans[0].attributes
    assert told["otelkafka.queue.clock_skew"] is True
    assert told["otelkafka.queue.duration"] == 0
    assert told["messaging.kafka.message.key"] == "#k"
    assert told["messaging.header.x-a"] == ("1",)
    assert "messaging.header.y" not in told
