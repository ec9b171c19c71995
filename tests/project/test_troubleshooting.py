"""Symptoms that the page on troubleshooting tells of, with their cause and their cure."""

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest
from opentelemetry.propagators.b3 import B3MultiFormat

from tests.support.face import process_of
from tests.support.fakes import TRACEPARENT, FakeProducer, ambient_of, consumer_of, producer_of, record

pytestmark = pytest.mark.once


def in_a_thread(function, *args):
    with ThreadPoolExecutor() as executor:
        return executor.submit(function, *args).result()


@pytest.mark.parametrize("carried", [False, True])
def test_send_in_a_thread_is_a_root_unless_the_context_is_carried(recorder, carried):
    """`copy_context().run` carries it."""
    producer = producer_of(recorder, FakeProducer())
    with ambient_of(recorder):
        send = (copy_context().run, producer.send) if carried else (producer.send,)
        in_a_thread(*send, "t", b"v").acknowledge()
    (span,) = recorder.named("send t")
    assert (span.parent is not None) == carried


@pytest.mark.parametrize("take", [lambda records: records[0], lambda records: records[:10]])
def test_polled_list_that_is_not_iterated_makes_no_spans(recorder, take):
    """Neither an index nor a slice is an iteration."""
    consumer = consumer_of(recorder, record(0), record(1))
    (records,) = consumer.poll().values()
    take(records)
    consumer.close()
    assert recorder.spans == []


@pytest.mark.parametrize(
    ("headers", "dropped"),
    [
        ([("traceparent", b"\xff")], 1),
        ([("traceparent", b"x" * 9000)], 1),
        ([("traceparent", None)], 1),
        ([("Traceparent", TRACEPARENT[1])], 0),
    ],
)
def test_header_that_is_there_and_not_used(recorder, metrics, headers, dropped):
    """It is told by the counters: without context, and dropped where it could not be read."""
    consumer = consumer_of(recorder, record(0, headers=headers), meter_provider=metrics.meter_provider)
    list(consumer)
    (span,) = recorder.spans
    assert span.parent is None
    assert [count for _, count in metrics.points("otelkafka.records.without_context")] == [1]
    assert sum(count for _, count in metrics.points("otelkafka.telemetry.dropped")) == dropped


def test_another_propagator_does_not_read_the_header(recorder):
    """The record's trace ends there."""
    list(consumer_of(recorder, record(0), propagator=B3MultiFormat()))
    (span,) = recorder.spans
    assert span.parent is None


@pytest.mark.parametrize(("process", "count"), [("auto", 2), ("manual", 1)])
def test_record_of_a_loop_that_is_processed_in_a_thread(recorder, process, count):
    """It has two spans, unless the loop makes none."""
    consumer = consumer_of(recorder, record(0), process=process)

    def work(each):
        with process_of(consumer, each):
            pass

    for each in consumer:
        in_a_thread(work, each)
    assert len(recorder.named("process t")) == count
