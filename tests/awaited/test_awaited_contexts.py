"""Tasks, task groups, async generators and other event loops: each record stays with the code that processes it."""

import asyncio
import contextlib
import sys

import pytest
from aiokafka.errors import ConsumerStoppedError
from opentelemetry import trace
from opentelemetry.trace import StatusCode

import otelkafka
from otelkafka.testing import FakeAIOKafkaConsumer, fake_record
from tests.support.awaiting import awaited
from tests.support.face import INSTRUMENTED
from tests.support.fakes import ambient_of, current, fill, is_nothing_current


@awaited
async def test_consumers_in_tasks_of_one_loop_never_mix(consumer, recorder, cluster):
    """Each body sees the span of its own record, whatever the others await meanwhile."""
    topics = ["a", "b", "c"]
    for topic in topics:
        fill(cluster, 5, topic)
    seen = []

    async def work(topic, pause):
        async for record in consumer(topic):
            before = trace.get_current_span()
            await asyncio.sleep(pause)
            seen.append((record.topic, before.name, trace.get_current_span() is before))
        assert is_nothing_current()

    await asyncio.gather(*(work(topic, 0.001 * at) for at, topic in enumerate(topics)))
    assert set(seen) == {(topic, f"process {topic}", True) for topic in topics}
    assert len(seen) == 15
    assert all(span.parent.span_id == span.parent.span_id for span in recorder.spans if span.parent)


@awaited
async def test_task_that_is_made_in_a_body_keeps_its_record(consumer, recorder, cluster):
    """Also when the loop has gone on: what it sends later is of its record's trace."""
    fill(cluster, 2)
    tasks, contexts = [], []

    async def later():
        await asyncio.sleep(0.005)
        return current().span_id

    async for _ in consumer():
        contexts.append(current().span_id)
        tasks.append(asyncio.create_task(later()))
    assert await asyncio.gather(*tasks) == contexts


@awaited
async def test_cancelled_body_ends_its_span_with_the_cancellation(consumer, recorder, cluster):
    """Under `process()`; in a plain loop the iterator cannot see it."""
    fill(cluster, 2)
    traced = consumer()
    entered = asyncio.Event()

    async def work(*, block):
        async for record in traced:
            if block:
                with otelkafka.process(record):
                    entered.set()
                    await asyncio.sleep(10)
            entered.set()
            await asyncio.sleep(10)

    for block in (True, False):
        entered.clear()
        task = asyncio.create_task(work(block=block))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    first, second = recorder.named("process t")
    assert first.attributes["error.type"] == "CancelledError"
    assert second.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("way", ["async for", "getone"])
@awaited
async def test_tasks_that_share_a_consumer_keep_their_own_records(consumer, recorder, cluster, clock, way):
    """A record that one asks for ends the span of its own last one, and no other's."""
    fill(cluster, 6)
    traced = consumer()
    events = [asyncio.Event() for _ in range(3)]
    seen = []

    async def work(at):
        async for record in traced if way == "async for" else ones(traced):
            before = trace.get_current_span()
            await events[at].wait()
            clock.advance(1)
            seen.append((record.offset, trace.get_current_span() is before, before.is_recording()))
            with otelkafka.process(record) as span:
                assert span is before
        assert is_nothing_current()

    tasks = [asyncio.create_task(work(at)) for at in range(3)]
    await asyncio.sleep(0)
    for event in reversed(events):
        event.set()
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert sorted(seen) == [(offset, True, True) for offset in range(6)]
    assert len(recorder.named("process t")) == 6


async def ones(traced):
    """Take records by `getone()` until there are no more."""
    with contextlib.suppress(ConsumerStoppedError):
        while True:
            yield await traced.getone()


@awaited
async def test_records_of_tasks_that_are_over_end_with_the_next_fetch_or_the_consumer(consumer, recorder, cluster):
    """Each was fetched in a task of its own."""
    fill(cluster, 3)
    traced = consumer()
    for _ in range(3):
        await asyncio.create_task(traced.getone())
    assert len(recorder.named("process t")) == 2
    await traced.stop()
    assert len(recorder.named("process t")) == 3


@awaited
async def test_stop_ends_what_other_tasks_have_open(consumer, recorder, cluster):
    """Outside of blocks."""
    fill(cluster, 2)
    traced = consumer()

    async def hold():
        await traced.getone()
        await asyncio.sleep(10)

    tasks = [asyncio.create_task(hold()) for _ in range(2)]
    await asyncio.sleep(0.005)
    assert recorder.named("process t") == []
    await traced.stop()
    assert len(recorder.named("process t")) == 2
    for task in tasks:
        task.cancel()


@awaited
async def test_time_that_tasks_wait_together_is_counted_once(consumer, metrics, cluster, clock):
    """Fetching and busy time of a consumer add up to the time that has passed."""
    traced = consumer(bare=FakeAIOKafkaConsumer("t", cluster=cluster, group_id="g", waits=True))
    began = clock.now
    tasks = [asyncio.create_task(traced.getone()) for _ in range(3)]
    await asyncio.sleep(0.005)
    for offset in range(3):
        clock.advance(2)
        fill(cluster, offset + 1) if offset == 0 else cluster.write(fake_record("t", b"v", offset=offset))
        await asyncio.sleep(0.02)
    await asyncio.gather(*tasks)
    await traced.stop()
    spent = sum(value for _, value in metrics.points("otelkafka.consumer.time"))
    assert spent <= (clock.now - began) / 1e9 + 0.001


@awaited
async def test_cancelled_fetch_is_no_failure(consumer, recorder, cluster):
    """It waits for a record that does not come; the next one is handed over as ever."""
    traced = consumer(bare=FakeAIOKafkaConsumer("t", cluster=cluster, group_id="g", waits=True))
    task = asyncio.create_task(traced.getone())
    await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    fill(cluster, 1)
    assert (await traced.getone()).offset == 0
    await traced.stop()
    assert [span.name for span in recorder.spans if span.name != "assign t"] == ["process t"]


@awaited
async def test_record_of_wait_for_has_its_span(consumer, recorder, cluster):
    """Before Python 3.12 it is fetched in a task of its own, where alone it is current."""
    fill(cluster, 2)
    traced = consumer()
    record = await asyncio.wait_for(traced.getone(), 5)
    assert current().is_valid == (sys.version_info >= (3, 12))
    await asyncio.wait_for(traced.getone(), 5)
    assert recorder.named("process t")[0].attributes["messaging.kafka.offset"] == record.offset
    await traced.stop()
    assert is_nothing_current()


@awaited
async def test_async_generator_around_a_consumer(consumer, recorder, cluster):
    """Its caller's body is inside; leaving it ends the span, at the latest when the generator is closed."""
    fill(cluster, 3)

    async def values(traced):
        async for record in traced:
            yield record.offset, current().span_id

    seen = []
    records = values(consumer())
    async for offset, span_id in records:
        assert current().span_id == span_id
        seen.append(span_id)
        if offset == 1:
            break
    await records.aclose()
    assert is_nothing_current()
    assert [span.context.span_id for span in recorder.named("process t")] == seen


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup is new in Python 3.11")
@awaited
async def test_task_group_in_a_body(consumer, producer, recorder, cluster):
    """Its tasks are of the record, and so is what they send."""
    fill(cluster, 2)
    sending = producer()
    async for record in consumer():
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(sending.send_and_wait("u", record.value))
    spans = {span.context.span_id: span for span in recorder.named("process t")}
    assert [span.parent.span_id for span in recorder.named("send u")] == [each for each in spans for _ in range(2)]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup is new in Python 3.11")
@awaited
async def test_task_group_that_fails_cancels_its_siblings_blocks(consumer, recorder, cluster):
    """One raises, the other is cancelled; each ends its own span."""
    fill(cluster, 2)
    traced = consumer(process="manual")
    first, second = await traced.getone(), await traced.getone()

    async def work(record, error):
        with otelkafka.process(record):
            await asyncio.sleep(0)
            if error is not None:
                raise error
            await asyncio.sleep(10)

    with pytest.raises(ExceptionGroup):  # noqa: F821 (of Python 3.11)
        async with asyncio.TaskGroup() as group:
            group.create_task(work(first, ValueError()))
            group.create_task(work(second, None))
    assert {span.attributes["error.type"] for span in recorder.named("process t")} == {"ValueError", "CancelledError"}


@awaited
async def test_ambient_span_is_restored_by_the_loop(consumer, recorder, cluster):
    """What was current before the loop is so after it, and is linked to by what was processed."""
    fill(cluster, 2)
    with ambient_of(recorder) as ambient:
        async for _ in consumer():
            assert trace.get_current_span() is not ambient
        assert trace.get_current_span() is ambient


@awaited
async def test_consumers_that_take_turns_do_not_nest_without_end(consumer, recorder, cluster):
    """In one task, a record of each by turns."""
    fill(cluster, 5, "a")
    fill(cluster, 5, "b")
    first, second = consumer("a"), consumer("b")
    for _ in range(5):
        await first.getone()
        await second.getone()
    await first.stop()
    await second.stop()
    assert is_nothing_current()
    assert len({span.context.trace_id for span in recorder.named("process b")}) == 1


def test_other_event_loop(consumer, producer, recorder, cluster):
    """uvloop, whose futures and tasks are asyncio's."""
    uvloop = pytest.importorskip("uvloop")
    fill(cluster, 2)

    async def main():
        sending = producer()
        async for record in consumer():
            await sending.send_and_wait("u", record.value)
        await sending.stop()

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert [span.name for span in recorder.spans if span.name != "assign t"] == ["send u", "process t"] * 2


def test_anyio(consumer, producer, recorder, cluster):
    """A task group of anyio on asyncio."""
    anyio = pytest.importorskip("anyio")
    fill(cluster, 2)

    async def main():
        sending = producer()
        async for record in consumer():
            async with anyio.create_task_group() as group:
                group.start_soon(sending.send_and_wait, "u", record.value)

    anyio.run(main)
    sent = {span.parent.span_id for span in recorder.named("send u")}
    assert sent == {span.context.span_id for span in recorder.named("process t")}


@pytest.mark.skipif(INSTRUMENTED, reason="the same engine, made by hand")
def test_consumers_in_loops_of_several_threads(cluster, recorder):
    """Each thread has a loop of its own; what they share is the recorder."""
    from concurrent.futures import ThreadPoolExecutor

    for at in range(4):
        fill(cluster, 20, f"t{at}")

    async def main(at):
        options = otelkafka.ConsumerOptions(tracer_provider=recorder.tracer_provider)
        traced = otelkafka.wrap_consumer(FakeAIOKafkaConsumer(f"t{at}", cluster=cluster, group_id="g"), options)
        names = set()
        async for _ in traced:
            await asyncio.sleep(0)
            names.add(trace.get_current_span().name)
        return names

    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda at: asyncio.run(main(at)), range(4)))
    assert seen == [{f"process t{at}"} for at in range(4)]


@awaited
async def test_record_that_fake_of_kafka_python_wrote_is_read(consumer, recorder, cluster):
    """One cluster for the fakes of both libraries, one trace through both."""
    from otelkafka.testing import FakeProducer
    from tests.support.fakes import producer_of

    producer_of(recorder, FakeProducer(cluster)).send("t", b"v")
    async for record in consumer():
        assert record.value == b"v"
        assert isinstance(record.headers, tuple)
    (sent,), (processed,) = recorder.named("send t"), recorder.named("process t")
    assert processed.parent.span_id == sent.context.span_id
    assert fake_record("t").topic == "t"
