"""A consumer of aiokafka: the body of an `async for`, and what follows `getone()`, runs inside the process span."""

import asyncio
import gc
import inspect

import aiokafka
import pytest
from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import ConsumerStoppedError, IllegalOperation, TopicAuthorizationFailedError
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

import otelkafka
from otelkafka.testing import FakeAIOKafkaConsumer, fake_record
from tests.support.awaiting import awaited
from tests.support.face import INSTRUMENTED, is_wrapped, process_batch_of, process_of
from tests.support.fakes import SPAN_ID, TRACE_ID, current, fill, is_nothing_current


@awaited
async def test_body_of_a_loop_runs_inside_the_process_span(consumer, recorder, cluster):
    """The record's context is the parent; after the loop nothing is current."""
    fill(cluster)
    seen = []
    async for record in consumer(config={"client_id": "c"}):
        seen.append((record.offset, current().span_id))
        await asyncio.sleep(0)
        assert current().span_id == seen[-1][1]
    assert is_nothing_current()
    spans = recorder.named("process t")
    assert seen == [(at, span.context.span_id) for at, span in enumerate(spans)]
    span = spans[0]
    assert (span.kind, span.status.status_code) == (SpanKind.CONSUMER, StatusCode.UNSET)
    assert f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}" == f"{TRACE_ID}-{SPAN_ID}"
    expected = {
        "messaging.consumer.group.name": "g",
        "messaging.client.id": "c",
        "messaging.kafka.offset": 0,
        "messaging.kafka.message.key": "k",
        "messaging.destination.partition.id": "0",
        "otelkafka.consumer.lag": 2,
    }
    assert {name: span.attributes[name] for name in expected} == expected
    assert span.attributes["otelkafka.queue.duration"] >= 0


@awaited
async def test_loop_that_is_left_ends_its_span(consumer, recorder, cluster):
    """By `break`, or by an error, which the iterator cannot see."""
    fill(cluster)
    traced = consumer()
    async for _ in traced:
        break
    assert is_nothing_current()
    with pytest.raises(ZeroDivisionError):
        async for _ in traced:
            raise ZeroDivisionError
    assert is_nothing_current()
    assert [span.status.status_code for span in recorder.named("process t")] == [StatusCode.UNSET] * 2


@awaited
async def test_loop_that_has_ended_goes_on_when_there_is_more(consumer, recorder, cluster):
    """As the client itself does."""
    fill(cluster, 1)
    traced = consumer()
    records = aiter(traced)
    assert (await anext(records)).offset == 0
    with pytest.raises(StopAsyncIteration):
        await anext(records)
    cluster.write(fake_record("t", b"v", offset=1))
    assert (await anext(records)).offset == 1
    assert recorder.named("poll t") == []


@awaited
async def test_record_of_getone_is_in_process_until_the_next_is_asked_for(consumer, recorder, cluster):
    """Or until `stop()`; partitions may be given."""
    fill(cluster)
    traced = consumer()
    await traced.start()
    first = await traced.getone()
    assert current().is_valid
    second = await traced.getone(TopicPartition("t", 0))
    assert len(recorder.named("process t")) == 1
    await traced.stop()
    assert is_nothing_current()
    assert len(recorder.named("process t")) == 2
    assert (first.offset, second.offset) == (0, 1)


@awaited
async def test_lists_of_getmany_are_handed_over_one_by_one(consumer, recorder, cluster):
    """Each record in its process span; the lists are lists."""
    fill(cluster)
    fill(cluster, 2, "u")
    traced = consumer("t", "u")
    polled = await traced.getmany(timeout_ms=5, max_records=4)
    assert {place.topic: len(records) for place, records in polled.items()} == {"t": 3, "u": 1}
    for records in polled.values():
        assert isinstance(records, list)
        for _ in records:
            assert current().is_valid
            await asyncio.sleep(0)
    assert is_nothing_current()
    assert [span.name for span in recorder.spans if span.name != "assign"] == ["process t"] * 3 + ["process u"]
    assert await traced.getmany() != {}
    assert await traced.getmany() == {}


@awaited
async def test_error_of_the_client_is_a_poll_span(consumer, recorder, cluster):
    """With Kafka's name of it; that the consumer was stopped is no failure."""
    fill(cluster)
    traced = consumer()
    error = TopicAuthorizationFailedError()
    for fetch in (traced.getone, traced.getmany, aiter(traced).__anext__):
        traced.error_next(error)
        with pytest.raises(TopicAuthorizationFailedError) as caught:
            await fetch()
        assert caught.value is error
    assert [span.attributes["error.type"] for span in recorder.named("poll t")] == ["TOPIC_AUTHORIZATION_FAILED"] * 3
    await traced.stop()
    for fetch in (traced.getone, traced.getmany):
        with pytest.raises(ConsumerStoppedError):
            await fetch()
    assert len(recorder.named("poll t")) == 3


@awaited
async def test_blocks_and_handlers_record_what_they_raise(consumer, recorder, cluster):
    """`process()`, `process_batch()` and a wrapped handler, which is awaited."""
    fill(cluster, 4)
    traced = consumer()

    @otelkafka.wrap_handler
    async def handle(record):
        await asyncio.sleep(0)
        raise ValueError(record.offset)

    async for record in traced:
        with pytest.raises(ValueError, match="0"):
            await handle(record)
        break
    record = await traced.getone()
    with pytest.raises(KeyError), process_of(traced, record):
        raise KeyError
    polled = await traced.getmany()
    with pytest.raises(IndexError), process_batch_of(traced, polled):
        raise IndexError
    errors = [span.attributes["error.type"] for span in recorder.named("process t")]
    assert errors == ["ValueError", "KeyError", "IndexError"]
    assert recorder.named("process t")[-1].attributes["messaging.batch.message_count"] == 2


@awaited
async def test_manual_processing_in_tasks(consumer, recorder, cluster):
    """Each task processes its record, in its own context."""
    fill(cluster, 3)
    traced = consumer(process="manual")
    seen = {}

    async def work(record):
        with otelkafka.process(record) as span:
            await asyncio.sleep(0.001 * (3 - record.offset))
            seen[record.offset] = trace.get_current_span() is span

    tasks = []
    async for record in traced:
        assert is_nothing_current()
        tasks.append(asyncio.create_task(work(record)))
    await asyncio.gather(*tasks)
    assert seen == {0: True, 1: True, 2: True}
    assert {span.attributes["messaging.consumer.group.name"] for span in recorder.named("process t")} == {"g"}


@awaited
async def test_commit_is_a_span_inside_of_what_is_processed(consumer, recorder, cluster):
    """With offsets in each of the forms that aiokafka takes; without a span around it has none."""
    fill(cluster)
    traced = consumer()
    place = TopicPartition("t", 0)
    async for _ in traced:
        await traced.commit()
        await traced.commit({place: 5})
        await traced.commit(offsets={place: (6, "why")})
        break
    await traced.commit()
    offsets = [span.attributes.get("messaging.kafka.offset") for span in recorder.named("commit t")]
    assert offsets == [1, 5, None]
    assert {span.parent.span_id for span in recorder.named("commit t")} == {
        recorder.named("process t")[0].context.span_id
    }


@awaited
async def test_commit_that_fails_is_recorded(consumer, recorder, cluster):
    """The client's error passes."""
    fill(cluster)
    traced = consumer(config={"group_id": None})
    async for _ in traced:
        with pytest.raises(IllegalOperation):
            await traced.commit()
        break
    assert recorder.named("commit t")[0].attributes["error.type"] == "IllegalOperation"


class Listener(ConsumerRebalanceListener):
    """Keeps what becomes of partitions, and which span was current."""

    def __init__(self):
        self.calls = []

    async def on_partitions_assigned(self, assigned):
        await asyncio.sleep(0)
        self.calls.append(("assigned", len(assigned), current().span_id))

    async def on_partitions_revoked(self, revoked):
        await asyncio.sleep(0)
        self.calls.append(("revoked", len(revoked), current().span_id))


class PlainListener(Listener):
    """The same with methods that are not awaited."""

    def on_partitions_assigned(self, assigned):
        self.calls.append(("assigned", len(assigned), current().span_id))

    def on_partitions_revoked(self, revoked):
        self.calls.append(("revoked", len(revoked), current().span_id))


@pytest.mark.parametrize("listener_class", [Listener, PlainListener])
@pytest.mark.parametrize(
    "subscribe",
    [
        lambda traced, listener: traced.subscribe(["t"], listener=listener),
        lambda traced, listener: traced.subscribe((), "t.*", listener),
    ],
)
@awaited
async def test_listener_runs_inside_the_span_of_a_rebalance(consumer, recorder, cluster, listener_class, subscribe):
    """Its methods are awaited where they are coroutines."""
    fill(cluster, 1)
    listener = listener_class()
    traced = consumer(bare=FakeAIOKafkaConsumer(cluster=cluster, group_id="g"))
    subscribe(traced, listener)
    await traced.start()
    cluster.create_topic("t2")
    cluster.write(fake_record("t", b"v", partition=1))
    await traced.getmany()
    named = [(call[0], call[1]) for call in listener.calls]
    assert named[:3] == [("assigned", 1), ("revoked", 1), ("assigned", named[2][1])]
    spans = [span for span in recorder.spans if span.name.split()[0] in {"assign", "revoke"}]
    assert [call[2] for call in listener.calls] == [span.context.span_id for span in spans]
    assert all(span.parent is None for span in spans)


@awaited
async def test_first_assignment_is_recorded_without_a_listener_of_the_user(consumer, recorder, cluster):
    """Topics given to the constructor are a subscription that goes on."""
    fill(cluster, 1)
    await consumer().start()
    (span,) = recorder.named("assign t")
    assert span.attributes["otelkafka.rebalance.partitions"] == ("t-0",)


@awaited
async def test_what_is_no_listener_is_refused_by_aiokafka():
    """With its own error."""
    bare = aiokafka.AIOKafkaConsumer(group_id="g")
    traced = otelkafka.wrap_consumer(bare)
    with pytest.raises(TypeError, match="ConsumerRebalanceListener"):
        traced.subscribe(["t"], listener=object())
    with pytest.raises((TypeError, ValueError), match="provide either"):
        traced.subscribe()
    traced.subscribe(["t"])
    assert traced.subscription() == {"t"}
    await traced.stop()


@awaited
async def test_lag_of_assigned_partitions(consumer, metrics, cluster):
    """As of the last record handed over; gone when the consumer is stopped."""
    fill(cluster)
    traced = consumer()
    async for _ in traced:
        break
    assert [value for _, value in metrics.points("otelkafka.consumer.lag")] == [2]
    assert [value for _, value in metrics.points("messaging.client.consumed.messages")] == [1]
    await traced.stop()
    assert metrics.points("otelkafka.consumer.lag") == []


@awaited
async def test_assignment_and_unsubscription_are_noted(consumer, metrics, cluster):
    """An assignment of the user's own has no listener; what is given up has no lag."""
    fill(cluster)
    traced = consumer(bare=FakeAIOKafkaConsumer(cluster=cluster))
    traced.assign([TopicPartition("t", 0)])
    traced.seek(TopicPartition("t", 0), 1)
    assert (await traced.getone()).offset == 1
    assert [value for _, value in metrics.points("otelkafka.consumer.lag")] == [1]
    traced.unsubscribe()
    assert metrics.points("otelkafka.consumer.lag") == []


@awaited
async def test_wait_is_split_into_busy_and_fetch(consumer, recorder, cluster, clock):
    """What kept the consumer busy is linked, by the time that its body took."""
    fill(cluster, 2)
    async for _ in consumer():
        clock.advance(2)
    first, second = recorder.named("process t")
    assert second.attributes["otelkafka.queue.duration"] == pytest.approx(2)
    assert second.attributes["otelkafka.queue.busy_duration"] == pytest.approx(2)
    assert [link.context.span_id for link in second.links] == [first.context.span_id]


@awaited
async def test_traced_consumer_is_used_as_the_client_itself(consumer, cluster):
    """It passes as one, `async with` yields it, its methods are coroutine functions with the client's signatures."""
    traced = consumer()
    assert isinstance(traced, aiokafka.AIOKafkaConsumer)
    async with traced as entered:
        assert entered is traced
        assert await traced.topics() == set()
    for name in ("getone", "getmany", "commit", "stop"):
        method = getattr(traced, name)
        assert inspect.iscoroutinefunction(method), name
        assert inspect.signature(method) == inspect.signature(getattr(FakeAIOKafkaConsumer(), name)), name
    if is_wrapped(traced):
        assert consumer(bare=traced).__wrapped__ is traced.__wrapped__
        assert isinstance(traced, otelkafka.TracedAIOKafkaConsumer)


@pytest.mark.skipif(INSTRUMENTED, reason="classes of the library alone are patched")
@awaited
async def test_anything_with_an_awaited_getone_is_wrapped(consumer, recorder):
    """It is iterated where it can be."""

    class Least:
        async def getone(self):
            return fake_record("t", b"v")

    traced = consumer(bare=Least())
    await traced.getone()
    await traced.getone()
    assert len(recorder.named("process t")) == 1


class Own(FakeAIOKafkaConsumer):
    """A subclass that overrides what is traced."""

    async def getone(self, *partitions):
        await asyncio.sleep(0)
        return await super().getone(*partitions)

    async def getmany(self, *partitions, **kwargs):
        return await super().getmany(*partitions, **kwargs)

    async def commit(self, offsets=None):
        await super().commit(offsets)


@awaited
async def test_subclass_that_overrides_a_traced_method_has_one_span_a_call(consumer, recorder, cluster):
    """Whatever the overriding method awaits."""
    fill(cluster)
    traced = consumer(bare=Own("t", cluster=cluster, group_id="g", enable_auto_commit=False))
    async for _ in traced:
        await traced.commit()
        break
    await traced.getone()
    await traced.getmany()
    assert len(recorder.named("process t")) == 2
    assert len(recorder.named("commit t")) == 1


@awaited
async def test_dropped_consumer_ends_its_span(consumer, recorder, cluster):
    """Without a collection, where nobody holds it."""
    fill(cluster)
    traced = consumer()
    gc.disable()
    try:
        await traced.getone()
        traced = None
        assert INSTRUMENTED or len(recorder.named("process t")) == 1
    finally:
        gc.enable()


class Walking(FakeAIOKafkaConsumer):
    """Adds a method that iterates the client past any wrapper."""

    async def walk(self):
        return [record async for record in self]


@pytest.mark.skipif(INSTRUMENTED, reason="a patched class sees what its own methods call")
@awaited
async def test_method_that_iterates_the_client_past_the_wrapper_is_reported(consumer, caplog):
    """Also in a comprehension."""
    await consumer(bare=Walking("t")).stop()
    assert "Walking.walk() calls __aiter__() of the client itself" in caplog.text
    await consumer().stop()
    assert len(caplog.records) == 1


@awaited
async def test_fetch_inside_of_a_block_leaves_its_span_open(consumer, recorder, cluster):
    """A `getmany()` that keeps the consumer in its group, a commit, and a `stop()`."""
    fill(cluster, 4)
    traced = consumer(config={"max_poll_records": 1})
    record = await traced.getone()
    with process_of(traced, record) as span:
        await traced.getmany()
        await traced.getone()
        assert trace.get_current_span() is not None
        await traced.commit()
        await traced.stop()
        assert span.is_recording()
    assert is_nothing_current()
    ended = {span.attributes["messaging.kafka.offset"]: span for span in recorder.named("process t")}
    assert 0 in ended
