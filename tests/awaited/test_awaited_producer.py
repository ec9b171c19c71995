"""A producer of aiokafka: a send is a span from before the call until its future is done."""

import asyncio
import gc
import inspect
import logging
import weakref

import aiokafka
import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError, UnknownTopicOrPartitionError
from opentelemetry import baggage, context, trace
from opentelemetry.trace import StatusCode

from otelkafka.testing import FakeAIOKafkaProducer
from tests.support.awaiting import awaited
from tests.support.face import INSTRUMENTED, is_wrapped
from tests.support.fakes import TRACEPARENT, ambient_of, current, is_nothing_current
from tests.support.internals import followed_sends

GIVEN = [("a", b"b")]


def carried(record):
    """The span id in the headers of a record."""
    return dict(record.headers)["traceparent"].decode().split("-")[2]


@awaited
async def test_send_ends_when_its_future_does(producer, recorder):
    """The future is the client's own; the span knows partition and offset; nothing is current after the call."""
    traced = producer(config={"auto_complete": False, "client_id": "c"})
    future = await traced.send("t", b"v", b"k")
    assert isinstance(future, asyncio.Future)
    assert is_nothing_current()
    assert recorder.spans == []
    assert traced.complete_next()
    await asyncio.sleep(0)
    assert (await future).offset == 0
    (span,) = recorder.spans
    assert span.name == "send t"
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes["messaging.kafka.offset"] == 0
    assert span.attributes["messaging.destination.partition.id"] == "0"
    assert span.attributes["messaging.kafka.message.key"] == "k"
    assert span.attributes["messaging.client.id"] == "c"
    assert (span.attributes["server.address"], span.attributes["server.port"]) == ("localhost", 9092)
    assert span.attributes["otelkafka.send.blocked_duration"] >= 0


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("t", b"v", b"k", 0, 5, GIVEN), {}),
        (("t", b"v", b"k", 0, 5), {"headers": GIVEN}),
        (("t", b"v"), {"headers": GIVEN, "partition": 0}),
        (("t",), {"value": b"v", "headers": GIVEN, "timestamp_ms": 5}),
        ((), {"topic": "t", "value": b"v", "headers": GIVEN}),
    ],
)
@awaited
async def test_headers_are_carried_at_every_position(producer, recorder, args, kwargs):
    """A copy is sent; the caller's list stays."""
    traced = producer()
    await traced.send(*args, **kwargs)
    (record,), (span,) = traced.history, recorder.spans
    assert record.headers[0] == ("a", b"b")
    assert carried(record) == f"{span.context.span_id:016x}"
    assert GIVEN == [("a", b"b")]


@pytest.mark.parametrize("headers", [None, [], [("a", None)], [TRACEPARENT]])
@awaited
async def test_headers_that_aiokafka_takes_carry_the_context(producer, recorder, headers):
    """A value may be None; a context that is there already is the parent, and is replaced."""
    traced = producer()
    await traced.send("t", b"v", headers=headers)
    (record,), (span,) = traced.history, recorder.spans
    assert carried(record) == f"{span.context.span_id:016x}"
    assert [name for name, _ in record.headers].count("traceparent") == 1
    assert (span.parent is not None) == (headers == [TRACEPARENT])


@pytest.mark.parametrize("headers", [[("a", "text")], {"a": b"b"}, [["a", b"b"]], 5])
@awaited
async def test_headers_that_aiokafka_refuses_are_refused_with_its_error(producer, recorder, headers):
    """The same class and message as of the bare client."""
    errors = []
    for each in (FakeAIOKafkaProducer(), producer()):
        with pytest.raises(Exception) as caught:
            await each.send("t", b"v", headers=headers)
        errors.append((type(caught.value), str(caught.value)))
    assert errors[0] == errors[1]


@awaited
async def test_arguments_that_aiokafka_refuses_are_refused_with_its_error(producer, recorder):
    """What a subclass might take has a span with the error; none stays current."""
    traced = producer()
    for args, kwargs in [((), {}), (("t",), {"nope": 1}), (("t", b"v", b"k", 0, 5, [], 7), {})]:
        with pytest.raises(TypeError):
            await traced.send(*args, **kwargs)
    assert is_nothing_current()
    with pytest.raises(AssertionError):
        await traced.send("t")
    assert [span.attributes["error.type"] for span in recorder.spans] == ["TypeError", "AssertionError"]


@awaited
async def test_send_and_wait_is_one_send(producer, recorder):
    """It returns the record's metadata, and its span has ended by then."""
    traced = producer()
    metadata = await traced.send_and_wait("t", b"v", partition=0)
    assert (metadata.partition, metadata.offset) == (0, 0)
    assert [span.name for span in recorder.spans] == ["send t"]


@awaited
async def test_send_and_wait_of_a_subclass_is_one_send(producer, recorder, cluster):
    """Whether it calls that of the client, or `send()` itself."""

    class Waiting(FakeAIOKafkaProducer):
        async def send_and_wait(self, topic, value):
            return await super().send_and_wait(topic, value, key=b"own")

    class Sending(FakeAIOKafkaProducer):
        async def send_and_wait(self, topic, value):
            return await (await self.send(topic, value, b"own"))

    for kind in (Waiting, Sending):
        await producer(kind(cluster)).send_and_wait("t", b"v")
    assert [span.attributes["messaging.kafka.message.key"] for span in recorder.spans] == ["own", "own"]


class Least:
    """What has a `send()` that is awaited, and returns what it likes."""

    def __init__(self):
        self.headers = []

    async def send(self, topic, value=None, key=None, partition=None, timestamp_ms=None, headers=None):
        self.headers.append(headers)
        return "sent"

    async def send_and_wait(self, topic, value=None, headers=None):
        self.headers.append(headers)
        return "sent"


@pytest.mark.skipif(INSTRUMENTED, reason="classes of the library alone are patched")
@awaited
async def test_anything_with_an_awaited_send_is_wrapped(producer, recorder):
    """Its result passes unchanged, and ends the span."""
    bare = Least()
    traced = producer(bare)
    assert await traced.send("t", b"v") == "sent"
    assert await traced.send_and_wait("t", b"v") == "sent"
    assert all(headers for headers in bare.headers)
    assert [span.name for span in recorder.spans] == ["send t"] * 2


@awaited
async def test_error_of_the_broker_ends_the_span_with_its_name(producer, recorder):
    """By the future, as the client raises it."""
    traced = producer(config={"auto_complete": False})
    future = await traced.send("t", b"v")
    error = UnknownTopicOrPartitionError()
    traced.error_next(error)
    await asyncio.sleep(0)
    with pytest.raises(UnknownTopicOrPartitionError) as caught:
        await future
    assert caught.value is error
    (span,) = recorder.spans
    assert span.attributes["error.type"] == "UNKNOWN_TOPIC_OR_PARTITION"
    assert span.status.status_code is StatusCode.ERROR


@awaited
async def test_failure_that_nobody_retrieves_is_still_reported_by_asyncio(producer, recorder, caplog):
    """ "Future exception was never retrieved": to follow a future retrieves nothing."""
    traced = producer(config={"auto_complete": False})
    future = await traced.send("t", b"v")
    traced.error_next(KafkaTimeoutError())
    await asyncio.sleep(0)
    assert len(recorder.spans) == 1
    with caplog.at_level(logging.ERROR, "asyncio"):
        del future
        gc.collect()
    assert "never retrieved" in caplog.text


@awaited
async def test_error_of_a_serializer_passes_and_ends_the_span(producer, recorder):
    """What the client raises is what the caller gets; it was never sent, and is not counted."""

    def fail(_):
        raise ZeroDivisionError

    traced = producer(config={"value_serializer": fail})
    with pytest.raises(ZeroDivisionError):
        await traced.send("t", b"v")
    assert is_nothing_current()
    assert recorder.spans[0].attributes["error.type"] == "ZeroDivisionError"


@awaited
async def test_record_that_our_header_makes_too_large_is_sent_as_given(producer, recorder):
    """Once more, without the context; one that is too large without it is refused."""
    traced = producer(config={"max_request_size": 200})
    await traced.send("t", b"v" * 60)
    assert traced.history[0].headers == []
    assert recorder.spans[0].attributes["otelkafka.send.without_context"] is True
    with pytest.raises(MessageSizeTooLargeError):
        await traced.send("t", b"v" * 200)
    assert recorder.spans[1].status.status_code is StatusCode.ERROR


@awaited
async def test_cancelled_wait_ends_the_span_with_the_future(producer, recorder):
    """Who awaits the future cancels it, though the record may still go out."""
    traced = producer(config={"auto_complete": False})
    task = asyncio.create_task(traced.send_and_wait("t", b"v"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert traced.complete_next()
    (span,) = recorder.spans
    assert span.attributes["error.type"] == "CancelledError"


class Slow(FakeAIOKafkaProducer):
    """Waits for metadata until the test lets it go on."""

    async def send(self, *args, **kwargs):
        await self.metadata.wait()
        self.seen = current()
        return await super().send(*args, **kwargs)


@pytest.mark.skipif(INSTRUMENTED, reason="the class that overrides is around the patched one there")
@awaited
async def test_cancelled_send_ends_the_span_and_leaves_the_context(producer, recorder, cluster):
    """While it waits for metadata the span is current in the client's call, and in that task alone."""
    bare = Slow(cluster)
    bare.metadata = asyncio.Event()
    traced = producer(bare)
    first, second = (asyncio.create_task(traced.send("t", b"v")) for _ in range(2))
    await asyncio.sleep(0)
    assert is_nothing_current()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    bare.metadata.set()
    await (await second)
    cancelled, sent = recorder.spans
    assert cancelled.attributes["error.type"] == "CancelledError"
    assert bare.seen.span_id == sent.context.span_id
    assert len(bare.history) == 1


@pytest.mark.skipif(INSTRUMENTED, reason="the class that overrides is around the patched one there")
@awaited
async def test_send_that_is_dropped_half_way_restores_no_foreign_context(producer, recorder, cluster):
    """A coroutine that nobody awaits to its end is closed where it happens."""
    bare = Slow(cluster)
    bare.metadata = asyncio.Event()
    half_way = producer(bare).send("t", b"v")
    half_way.send(None)
    with ambient_of(recorder) as ambient:
        half_way.close()
        assert trace.get_current_span() is ambient
    assert recorder.spans[0].attributes["error.type"] == "GeneratorExit"


@awaited
async def test_stop_ends_what_is_in_flight(producer, recorder):
    """Once, with an error of our own; what is done by then ends with its outcome."""
    traced = producer(config={"auto_complete": False})
    done, lost = [await traced.send("t", b"v") for _ in range(2)]
    traced.complete_next()
    async with traced:
        pass
    assert [span.attributes.get("error.type") for span in recorder.spans] == [None, "NotAcknowledgedError"]
    assert done.done()
    lost.cancel()


@awaited
async def test_producer_that_is_dropped_ends_what_is_in_flight(producer, recorder, cluster):
    """Without a `stop()`; a future that is held holds no producer."""
    traced = producer(config={"auto_complete": False})
    future = await traced.send("t", b"v")
    gone = weakref.ref(traced.__wrapped__ if is_wrapped(traced) else traced)
    del traced
    gc.collect()
    assert gone() is None
    assert recorder.wait_for("send t")[0].attributes["error.type"] == "NotAcknowledgedError"
    future.cancel()


@awaited
async def test_many_sends_leave_nothing_behind(producer):
    """Neither those that are acknowledged, nor those that never are."""
    traced = producer(config={"auto_complete": False})
    futures = [await traced.send("t", b"v") for _ in range(50)]
    for _ in range(40):
        traced.complete_next()
    await asyncio.sleep(0)
    followed = followed_sends(traced)
    assert len(followed) == 10
    await traced.stop()
    assert not followed
    for future in futures:
        future.cancel()


@awaited
async def test_sends_are_children_of_what_is_around(producer, recorder):
    """The ambient span, also in tasks."""
    traced = producer()
    with ambient_of(recorder) as ambient:
        await asyncio.gather(*(traced.send("t", b"v") for _ in range(3)))
    assert {span.parent.span_id for span in recorder.named("send t")} == {ambient.get_span_context().span_id}


@awaited
async def test_hooks_get_span_and_message_or_metadata(producer, recorder):
    """`on_send` before, `on_ack` when the future is done."""
    calls = []
    traced = producer(
        on_send=lambda span, message: calls.append((message.topic, message.headers, message.partition)),
        on_ack=lambda span, metadata: calls.append(metadata.offset),
    )
    await traced.send("t", b"v", b"k", 0, 5, GIVEN)
    assert calls == [("t", GIVEN, 0), 0]


@awaited
async def test_metrics_of_a_producer(producer, metrics):
    """Attempted sends are counted, and their duration measured."""
    traced = producer()
    for _ in range(3):
        await traced.send("t", b"v")
    assert [value for _, value in metrics.points("messaging.client.sent.messages")] == [3]
    assert [count for _, count in metrics.points("messaging.client.operation.duration")] == [3]


@awaited
async def test_batch_is_one_send_whose_context_each_record_carries(producer, recorder, metrics):
    """With the count of its records, from the first one on."""
    traced = producer()
    batch = traced.create_batch()
    with ambient_of(recorder) as ambient:
        for value in (b"1", b"2", b"3"):
            assert batch.append(key=None, value=value, timestamp=None, headers=GIVEN).offset == int(value) - 1
        metadata = await (await traced.send_batch(batch, "t", partition=0))
    assert metadata.offset == 0
    (span,) = recorder.named("send t")
    assert span.parent.span_id == ambient.get_span_context().span_id
    assert span.attributes["messaging.batch.message_count"] == 3
    assert span.attributes["messaging.destination.partition.id"] == "0"
    assert span.attributes["messaging.kafka.offset"] == 0
    assert [carried(record) for record in traced.history] == [f"{span.context.span_id:016x}"] * 3
    assert [record.headers[0] for record in traced.history] == GIVEN * 3
    assert [value for _, value in metrics.points("messaging.client.sent.messages")] == [3]


@awaited
async def test_batch_is_linked_to_the_other_traces_of_its_records(producer, recorder):
    """Its span is of the trace of the first one."""
    traced = producer()
    batch, contexts = traced.create_batch(), []
    for value in (b"1", b"2", b"3"):
        with ambient_of(recorder) as ambient:
            contexts.append(ambient.get_span_context().span_id)
            batch.append(key=None, value=value, timestamp=None)
    await traced.send_batch(batch, "t", partition=0)
    (span,) = recorder.named("send t")
    assert [span.parent.span_id, *(link.context.span_id for link in span.links)] == contexts


@awaited
async def test_records_of_a_batch_carry_baggage_and_the_origin_of_their_pipeline(producer, recorder):
    """Each that of the code that appends it; the origin is the batch's first record."""
    traced = producer(pipeline_time=True)
    batch = traced.create_batch()
    for tenant in ("a", "b"):
        token = context.attach(baggage.set_baggage("tenant", tenant))
        batch.append(key=None, value=b"v", timestamp=None)
        context.detach(token)
    await traced.send_batch(batch, "t", partition=0)
    carried_baggage = [dict(record.headers)["baggage"].decode() for record in traced.history]
    assert ["tenant=a" in carried_baggage[0], "tenant=b" in carried_baggage[1]] == [True, True]
    assert all("otelkafka.origin=" in each for each in carried_baggage)


@awaited
async def test_batch_that_is_full_or_refused_is_as_without_us(producer, recorder):
    """`append()` returns None; an error of `send_batch()` passes, and ends the span."""
    traced = producer(config={"max_batch_size": 150})
    batch = traced.create_batch()
    assert batch.append(key=None, value=b"v", timestamp=None) is not None
    assert batch.append(key=None, value=b"v" * 200, timestamp=None) is None
    assert batch.append(key=None, value=b"v", timestamp=None) is None
    await traced.stop()
    with pytest.raises(aiokafka.errors.ProducerClosed):
        await traced.send_batch(batch, "t", partition=0)
    assert recorder.spans[0].attributes["error.type"] == "ProducerClosed"


@awaited
async def test_batch_of_a_bare_producer_is_a_send_without_context(producer, recorder, cluster):
    """It was made before anything traced it."""
    batch = FakeAIOKafkaProducer(cluster).create_batch()
    batch.append(key=None, value=b"v", timestamp=None)
    traced = producer()
    await traced.send_batch(batch, topic="t", partition=0)
    assert traced.history[0].headers == []
    assert recorder.spans[0].attributes["messaging.batch.message_count"] == 1


@awaited
async def test_batch_of_a_topic_that_is_not_traced_has_no_span(producer, recorder):
    """The context is carried nevertheless."""
    traced = producer(trace_topic=lambda topic: topic != "t")
    batch = traced.create_batch()
    with ambient_of(recorder) as ambient:
        batch.append(key=None, value=b"v", timestamp=None)
        await traced.send_batch(batch, "t", partition=0)
    assert [span.name for span in recorder.spans] == ["ambient"]
    assert f"{ambient.get_span_context().trace_id:032x}" in dict(traced.history[0].headers)["traceparent"].decode()


@awaited
async def test_transaction_is_committed_inside_a_span(producer, recorder):
    """`async with producer.transaction()` calls the traced methods."""
    traced = producer(config={"transactional_id": "tx"})
    async with traced.transaction():
        await traced.send("t", b"v")
        await traced.send_offsets_to_transaction({aiokafka.TopicPartition("u", 0): 5}, "g")
    assert [span.name for span in recorder.spans] == ["send t", "commit transaction"]


@awaited
async def test_transaction_is_aborted_where_its_body_raises(producer, recorder):
    """The span says how many sends it voided; what the body raised passes."""
    traced = producer(config={"transactional_id": "tx"})
    with ambient_of(recorder):
        transaction = traced.transaction()
        with pytest.raises(ZeroDivisionError):
            async with transaction:
                await traced.send("t", b"v")
                await traced.send_offsets_to_transaction({aiokafka.TopicPartition("u", 0): 5}, "g")
                raise ZeroDivisionError
    assert [span.name for span in recorder.spans][:3] == ["send t", "send offsets", "abort transaction"]
    assert recorder.named("abort transaction")[0].attributes["otelkafka.transaction.voided"] == 1


@awaited
async def test_transaction_that_is_refused_has_a_span_with_the_error(producer, recorder):
    """Of a producer without a `transactional_id`."""
    traced = producer()
    with pytest.raises(aiokafka.errors.IllegalOperation):
        async with traced.transaction():
            pass
    assert recorder.spans[0].name == "begin transaction"
    assert recorder.spans[0].attributes["error.type"] == "IllegalOperation"


@awaited
async def test_traced_producer_is_used_as_the_client_itself(producer, cluster):
    """It passes as one, its methods are coroutine functions with the client's signatures, `async with` yields it."""
    traced = producer()
    assert isinstance(traced, aiokafka.AIOKafkaProducer)
    async with traced as entered:
        assert entered is traced
        assert await traced.partitions_for("t") == set()
    for name in ("send", "send_and_wait", "send_batch", "stop"):
        method = getattr(traced, name)
        assert inspect.iscoroutinefunction(method), name
        assert inspect.signature(method) == inspect.signature(getattr(FakeAIOKafkaProducer(), name)), name
    assert not hasattr(traced, "close")
    if is_wrapped(traced):
        assert producer(traced).__wrapped__ is traced.__wrapped__


class Answering(FakeAIOKafkaProducer):
    """Adds a method that calls the client past any wrapper, and overrides one that does not."""

    async def answer(self, value):
        return await self.send("answers", value)

    async def send_and_wait(self, topic, value=None, **more):
        return await (await self.send(topic, value, **more))


@pytest.mark.skipif(INSTRUMENTED, reason="a patched class sees what its own methods call")
@awaited
async def test_method_that_calls_the_client_past_the_wrapper_is_reported(producer, caplog):
    """Those of aiokafka itself are not, and one that runs with the wrapper is not."""
    await producer(Answering()).stop()
    await producer(FakeAIOKafkaProducer()).stop()
    assert "Answering.answer() calls send() of the client itself" in caplog.text
    assert len(caplog.records) == 1
