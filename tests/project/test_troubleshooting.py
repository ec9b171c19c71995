"""Symptoms on the page on troubleshooting, with their cause and their cure."""

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from heapq import merge
from itertools import pairwise

import pytest
from opentelemetry import trace
from opentelemetry.propagators.b3 import B3MultiFormat

from otelkafka import wrap_handler
from tests.support.face import process_batch_of, process_of
from tests.support.fakes import (
    TRACEPARENT,
    FakeProducer,
    ambient_of,
    consumer_of,
    is_nothing_current,
    options_of,
    producer_of,
    record,
    traceparent,
)

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
    """The counters show it: without context, and dropped where it could not be read."""
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


def prefetching(records):
    iterator = iter(records)
    before = next(iterator)
    for each in iterator:
        yield before
        before = each
    yield before


AHEAD = {
    "merge": lambda consumer: merge(*consumer.poll().values(), key=lambda each: each.offset),
    "pairwise": lambda consumer: (first for first, _ in pairwise(consumer)),
    "zip": lambda consumer: (first for first, _ in zip(*[iter(consumer)] * 2, strict=False)),
    "prefetching": prefetching,
}


@pytest.mark.parametrize("process", ["auto", "manual"])
@pytest.mark.parametrize("form", AHEAD)
def test_loop_that_looks_ahead_runs_in_the_span_of_a_later_record(recorder, form, process):
    """Unless the loop makes no spans, and `process()` says what is processed: then each has one, its own."""
    consumer = consumer_of(recorder, *(record(at, partition=at % 2) for at in range(4)), process=process)
    around, inside = [], []
    for each in AHEAD[form](consumer):
        around.append((each.offset, current_offset()))
        with process_of(consumer, each):
            inside.append((each.offset, current_offset()))
    assert all(own == span for own, span in inside)
    if process == "manual":
        assert {span for _, span in around} == {None}
        assert len(recorder.named("process t")) == len(inside)
    else:
        assert around[0][1] > around[0][0]


def current_offset():
    return getattr(trace.get_current_span(), "attributes", {}).get("messaging.kafka.offset")


@pytest.mark.parametrize("process", ["auto", "manual"])
def test_batch_of_collected_records_ends_the_span_of_the_last_one(recorder, process):
    """And is linked to all of them; with "manual" it is the only span."""
    consumer = consumer_of(recorder, *(record(at, headers=[traceparent(at)]) for at in range(3)), process=process)
    collected = []
    for each in consumer:
        collected.append(each)
        if len(collected) == 3:
            with process_batch_of(consumer, collected):
                assert len(recorder.named("process t")) == (3 if process == "auto" else 0)
            assert is_nothing_current()
    batch = recorder.named("process t")[-1]
    assert [link.context.span_id for link in batch.links if link.attributes["otelkafka.link.type"] == "creation"] == [
        1,
        2,
        3,
    ]
    assert len(recorder.named("process t")) == (4 if process == "auto" else 1)


def test_second_handler_of_a_record_makes_a_second_span_unless_one_block_is_around_both(recorder):
    """The first one joins the span of the loop, and ends it."""
    handle = wrap_handler(lambda each: each, options_of(recorder))
    for each in consumer_of(recorder, record(0)):
        handle(each)
        assert is_nothing_current()
        handle(each)
    assert len(recorder.named("process t")) == 2
    recorder.clear()
    for each in (consumer := consumer_of(recorder, record(0))):
        with process_of(consumer, each):
            handle(each)
            handle(each)
    assert len(recorder.named("process t")) == 1


def test_span_that_is_opened_in_a_pool_stays_current_there_until_otelkafka_runs_there(recorder):
    """`run_in_executor(pool, next, consumer)`; `poll()` and calls in a context of their own leave nothing."""
    consumer = consumer_of(recorder, record(0), record(1), record(2))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(next, consumer).result()
        assert is_nothing_current()
        assert pool.submit(current_offset).result() == 0
        consumer.close()
        assert not pool.submit(is_nothing_current).result()
        pool.submit(consumer_of(recorder).poll).result()  # otelkafka runs there
        assert pool.submit(is_nothing_current).result()
        consumer = consumer_of(recorder, record(0), record(1))
        for leaves_nothing in (lambda: copy_context().run(next, consumer), consumer.poll):
            pool.submit(leaves_nothing).result()
            assert pool.submit(is_nothing_current).result()


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
