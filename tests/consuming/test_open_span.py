"""What is current inside of a record's span and after it, and what is kept of it."""

import asyncio
import contextvars
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import trace

from otelkafka import ConsumerOptions, wrap_handler
from otelkafka.testing import MetricRecorder
from tests.support.face import process_batch_of, process_of, wrap_consumer
from tests.support.fakes import (
    FakeConsumer,
    FakeProducer,
    ambient_of,
    consumer_of,
    current,
    is_nothing_current,
    options_of,
    producer_of,
    record,
    traceparent,
)
from tests.support.internals import records_in_process
from tests.support.memory import count_alive
from tests.support.sides import Side, late


def test_span_of_the_application_is_never_left_behind(recorder):
    """A record asked for inside the application's own span: what was current before that comes back, never an ended one."""
    consumer = consumer_of(recorder, *(record(at, headers=[]) for at in range(4)))
    parents = []
    for _ in range(3):
        with ambient_of(recorder, "job") as job:
            next(consumer)
            parents.append(job.get_span_context().span_id)
        assert is_nothing_current()
    consumer.poll()
    assert is_nothing_current()
    assert [span.parent.span_id for span in recorder.named("process t")] == parents


def test_span_of_the_application_inside_a_record_is_left_to_the_application(recorder):
    """The application's span outlives the record's: nothing ended is current after both."""
    consumer = consumer_of(recorder, *(record(at, headers=[]) for at in range(3)))
    next(consumer)
    with ambient_of(recorder, "job") as job:
        next(consumer)
    job = job.get_span_context().span_id
    next(consumer)
    consumer.close()
    assert is_nothing_current()
    first, second, third = recorder.named("process t")
    assert (first.parent, second.parent.span_id, third.parent) == (None, job, None)


@pytest.mark.parametrize("way", ["iterator", "generator"])
def test_loop_that_is_dropped_outside_of_the_span_around_it_leaves_nothing_current(recorder, way):
    """An iterator or generator that is dropped after the span around it has ended."""
    consumer = consumer_of(recorder, record(0), record(1))
    with ambient_of(recorder):
        loop = iter(consumer) if way == "iterator" else (each for each in consumer)
        next(loop)
    del loop
    assert is_nothing_current()


@pytest.mark.parametrize("style", ["iterate", "poll"])
def test_loop_that_is_left_after_its_consumer_was_closed_elsewhere_leaves_nothing_current(recorder, style):
    """close() in another thread ends the span; leaving the loop restores the context of this one."""
    consumer = consumer_of(recorder, record(0), record(1))
    for _ in consumer if style == "iterate" else next(iter(consumer.poll().values())):
        closing = threading.Thread(target=consumer.close)
        closing.start()
        closing.join()
        break
    assert is_nothing_current()
    assert len(recorder.spans) == 1


def test_span_inside_another_stays_known_when_that_one_ends_first(recorder):
    """process() of the record whose span is open still, though the consumer around it has gone on."""
    one, other = (consumer_of(recorder, *map(record, range(3))) for _ in range(2))
    next(one)
    inner = next(other)
    next(one)
    with process_of(other, inner):
        pass
    one.close()
    other.close()
    assert is_nothing_current()
    assert len(recorder.spans) == 3


@pytest.mark.parametrize("way", ["batch", "link", "hook"])
def test_nothing_stays_in_process_without_an_sdk(way):
    """Inside a record's span, which the API without an SDK hands back as the inner one: that ends as any other."""
    provider = trace.NoOpTracerProvider()
    more = {"link": {"relation": "link"}, "hook": {"on_process": print}}.get(way, {})
    outer = wrap_consumer(FakeConsumer(record(0), record(1)), ConsumerOptions(tracer_provider=provider))
    inner = wrap_consumer(FakeConsumer(), ConsumerOptions(tracer_provider=provider, **more))
    for each in outer:
        with process_batch_of(inner, [each]) if way == "batch" else process_of(inner, record(2, headers=[])):
            pass
    assert records_in_process(inner) == 0


def test_two_consumers_in_turn_keep_nothing_of_earlier_records(recorder, clock):
    """`zip(a, b)`: each ends its span inside the other's, and the iterators are dropped in the order that opened them."""
    one, other = (consumer_of(recorder, *map(record, range(300))) for _ in range(2))
    before = count_alive()
    for mine, _ in zip(one, other, strict=True):
        if mine.offset == 200:
            assert count_alive() - before < 20
            break
    assert is_nothing_current()
    assert len(recorder.spans) == 402


def test_chain_of_tasks_keeps_nothing_of_earlier_records(recorder, clock):
    """Tasks that each take a record and start the next: no span of an earlier one is kept."""
    consumer = consumer_of(recorder, *(record(at) for at in range(400)))
    before, kept = count_alive(), []

    async def work(left):
        next(consumer)
        if left:
            return asyncio.get_running_loop().create_task(work(left - 1))
        kept.append(count_alive() - before)
        return None

    async def main():
        task = asyncio.create_task(work(300))
        while task is not None:
            task = await task

    asyncio.run(main())
    consumer.close()
    assert kept[0] < 30


def test_chain_of_tasks_that_overlap_keeps_nothing_of_earlier_records(recorder, clock):
    """Tasks that each start the next inside their own span: nothing of those that are over is kept."""
    consumer, before, kept = consumer_of(recorder, process="manual"), count_alive(), []

    async def work(left):
        with process_of(consumer, record(left)):
            following = asyncio.create_task(work(left - 1)) if left else None
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        kept.append(count_alive() - before if left % 50 == 0 else 0)
        return following

    async def main():
        task = asyncio.create_task(work(200))
        while task is not None:
            task = await task

    asyncio.run(main())
    assert max(kept) < 30


def test_nothing_is_kept_of_a_record_that_failed_or_waited():
    """Neither of its span nor of what a span that is recorded later would say: its value can be collected."""

    class Value:
        pass

    side = Side(sample_errors=True, pipeline_time=True)
    consumer = side.consumer(process="manual", sample_waits_over=1)
    for make, of in ((process_of, lambda one: one), (process_batch_of, lambda one: [one])):
        for seconds in (0, 5):
            value = Value()
            dead = weakref.ref(value)
            one = late(value=value, seconds=seconds)
            try:
                with make(consumer, of(one)):
                    raise ValueError
            except ValueError:
                pass
            del one, value
            gc.collect()
            assert dead() is None


def test_spans_that_follow_each_other_do_not_keep_each_other_alive(clock):
    """Each knows the one before, and no more than that one."""
    consumer = Side(sample_errors=True).consumer(process="manual")
    for at in range(50):
        if at == 5:
            before = count_alive()
        with process_of(consumer, late(at)):
            pass
    assert count_alive() <= before


def test_batch_is_not_kept_after_its_end_whatever_the_options():
    """Its records can be collected."""

    class Value:
        pass

    for options in ({}, {"sample_errors": True}, {"sample_waits_over": 1}):
        consumer = Side(**options).consumer(process="manual")
        value = Value()
        dead = weakref.ref(value)
        with process_batch_of(consumer, [late(value=value)]):
            pass
        del value
        gc.collect()
        assert dead() is None, options


@pytest.mark.parametrize("call", ["poll", "process", "handler", "close", "send"])
def test_task_keeps_the_context_that_it_inherited(recorder, call):
    """Its parent is the record's span for good, also after that has ended and whatever otelkafka does in the task."""
    consumer, other = consumer_of(recorder, record(0)), consumer_of(recorder, record(1))
    producer = producer_of(recorder, FakeProducer())
    calls = {
        "poll": other.poll,
        "process": lambda: process_of(other, record(2)).__enter__().end(),
        "handler": lambda: wrap_handler(lambda each: None, options_of(recorder))(record(2)),
        "close": other.close,
        "send": lambda: producer.send("t", b"v"),
    }
    copied = [contextvars.copy_context() for _ in consumer]
    assert is_nothing_current()
    (inherited,) = recorder.named("process t")
    assert copied[0].run(current) == inherited.context
    if call == "process":
        copied[0].run(in_block, other)
    else:
        copied[0].run(calls[call])
    assert copied[0].run(current) == inherited.context
    assert is_nothing_current()


def in_block(consumer):
    with process_of(consumer, record(2, headers=[])):
        pass


@pytest.mark.parametrize("call", ["next", "poll", "process", "send", "commit"])
def test_context_of_a_span_that_ended_elsewhere_is_gone_as_soon_as_otelkafka_runs_there(recorder, call):
    """`run_in_executor(pool, next, consumer)`: the pool's thread attached it, and another one ended it."""
    consumer, other = consumer_of(recorder, record(0)), consumer_of(recorder, record(1, headers=[]))
    producer = producer_of(recorder, FakeProducer())
    pools_own = contextvars.Context()
    pools_own.run(next, consumer)
    consumer.close()
    assert len(recorder.named("process t")) == 1
    calls = {
        "next": lambda: next(other),
        "poll": other.poll,
        "process": lambda: in_block(other),
        "send": lambda: producer.send("t", b"v"),
        "commit": other.commit,
    }
    pools_own.run(calls[call])
    other.close()
    producer.close()
    later = [span for span in recorder.spans if span.name in {"send t", "process t"}][1:]
    assert [span.parent for span in later] == [None] * len(later)
    pools_own.run(consumer_of(recorder).poll)
    assert pools_own.run(is_nothing_current)


@pytest.mark.parametrize("way", ["next", "iterator"])
def test_span_ends_when_the_consumer_and_its_iterators_are_dropped(recorder, way):
    """kafka-python closes a consumer that is dropped; nothing stays open, current or in process."""
    metrics = MetricRecorder()
    consumer = consumer_of(recorder, record(0), meter_provider=metrics.meter_provider)
    iterator = iter(consumer) if way == "iterator" else None
    next(consumer if iterator is None else iterator)
    del consumer
    gc.collect()
    if iterator is not None:
        assert not recorder.spans
        del iterator
        gc.collect()
    recorder.wait_for("process t")
    assert is_nothing_current()
    assert not metrics.points("otelkafka.process.age")


@pytest.mark.parametrize("sampled", [True, False], ids=["sampled", "unsampled"])
@pytest.mark.parametrize("measured", [True, False], ids=["measured", ""])
def test_records_of_one_consumer_in_turns_of_threads_end_once(recorder, metrics, sampled, measured):
    """Each thread ends the record of the other one; nothing stays current in any, or in process."""
    records = [record(at, headers=[traceparent(at, sampled=sampled)]) for at in range(6)]
    more = {"meter_provider": metrics.meter_provider} if measured else {}
    consumer = consumer_of(recorder, *records, **more)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        seen = [pool.submit(next_inside, consumer).result() for pool in (one, other) * 3]
        consumer.close()
        assert seen == [(f"{at + 1:032x}", at) for at in range(6)]
        for pool in (one, other):
            pool.submit(consumer_of(recorder).poll).result()
            assert pool.submit(is_nothing_current).result()
    assert is_nothing_current()
    assert len(recorder.named("process t")) == (6 if sampled else 0)
    assert records_in_process(consumer) == 0
    counted = [count for _, count in metrics.points("messaging.process.duration")]
    assert counted == ([6] if measured else [])


def next_inside(consumer):
    offset = next(consumer).offset
    return f"{trace.get_current_span().get_span_context().trace_id:032x}", offset
