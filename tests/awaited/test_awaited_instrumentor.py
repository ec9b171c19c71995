"""AIOKafkaInstrumentor: patched classes, their way back, hooks as contrib's instrumentation calls them, and peace."""

import asyncio
import inspect
import subprocess
import sys
from importlib.metadata import entry_points
from unittest.mock import AsyncMock, create_autospec

import aiokafka
import pytest
from opentelemetry import baggage, trace

import otelkafka
from otelkafka.instrumentor import AIOKafkaInstrumentor, KafkaInstrumentor
from otelkafka.testing import FakeAIOKafkaConsumer, FakeAIOKafkaProducer, fake_record
from tests.support.awaiting import awaited
from tests.support.fakes import TRACEPARENT, current, fill, is_nothing_current

pytestmark = pytest.mark.once

BAGGAGE = ("baggage", b"tenant=a")


def ours():
    return AIOKafkaInstrumentor()


def theirs():
    return pytest.importorskip("opentelemetry.instrumentation.aiokafka").AIOKafkaInstrumentor()


both = pytest.mark.parametrize("instrumentor", [ours, theirs])


@pytest.fixture(autouse=True)
def classes(monkeypatch):
    """Fakes in the place of aiokafka's classes, for an instrumentation to patch."""
    monkeypatch.setattr(aiokafka, "AIOKafkaProducer", type("AIOKafkaProducer", (FakeAIOKafkaProducer,), {}))
    monkeypatch.setattr(aiokafka, "AIOKafkaConsumer", type("AIOKafkaConsumer", (FakeAIOKafkaConsumer,), {}))


@pytest.fixture
def instrument(recorder):
    used = []

    def instrument(instrumentor=ours, **options):
        used.append(instrumentor())
        used[-1].instrument(**{"tracer_provider": recorder.tracer_provider, "skip_dep_check": True, **options})

    yield instrument
    for each in used:
        if each.is_instrumented_by_opentelemetry:
            each.uninstrument()


def clients(cluster, *topics, **config):
    return (
        aiokafka.AIOKafkaProducer(cluster),
        aiokafka.AIOKafkaConsumer(*(topics or ("t",)), cluster=cluster, group_id="g", **config),
    )


@awaited
async def test_unchanged_code_is_traced(instrument, recorder, cluster):
    """The same spans as wrapped, each once: sends, iteration, lists, batches, transactions, commits, rebalances."""
    instrument()
    producer, consumer = clients(cluster)
    producer_in_transactions = aiokafka.AIOKafkaProducer(cluster, transactional_id="tx")
    async with producer, consumer:
        await producer.send_and_wait("t", b"1")
        await (await producer.send("t", b"2"))
        batch = producer.create_batch()
        batch.append(key=None, value=b"3", timestamp=None)
        await producer.send_batch(batch, "t", partition=0)
        async with producer_in_transactions.transaction():
            await producer_in_transactions.send("t", b"4")
        async for record in consumer:
            assert current().is_valid
            await consumer.commit()
            if record.value == b"2":
                break
        assert is_nothing_current()
        await consumer.getone()
        for records in (await consumer.getmany()).values():
            for _ in records:
                assert trace.get_current_span().name == "process t"
    names = [span.name for span in recorder.spans]
    assert {name: names.count(name) for name in names} == {
        "send t": 4,
        "process t": 4,
        "commit t": 2,
        "commit transaction": 1,
        "assign t": 1,
    }
    sent = {span.context.span_id for span in recorder.named("send t")}
    assert {span.parent.span_id for span in recorder.named("process t")} == sent


@awaited
async def test_uninstrument_leaves_the_classes_as_they_were(instrument, recorder, cluster):
    """Clients that are there go on without spans, live iterators and listeners, too."""
    before = [dict(vars(kind)) for kind in (aiokafka.AIOKafkaProducer, aiokafka.AIOKafkaConsumer)]
    instrument()
    fill(cluster, 3)
    producer, consumer = clients(cluster)
    records = aiter(consumer)
    assert (await anext(records)).offset == 0
    AIOKafkaInstrumentor().uninstrument()
    assert is_nothing_current()
    assert (await anext(records)).offset == 1
    await producer.send("t", b"v")
    cluster.write(fake_record("t", b"v", partition=1))
    await consumer.getmany()
    await consumer.stop()
    assert [span.name for span in recorder.spans] == ["assign t", "process t"]
    after = [dict(vars(kind)) for kind in (aiokafka.AIOKafkaProducer, aiokafka.AIOKafkaConsumer)]
    assert [set(each) - {"__doc__"} for each in after] == [set(each) - {"__doc__"} for each in before]


@awaited
async def test_patched_methods_are_coroutine_functions(instrument, cluster):
    """What asks for that, a mock with a spec for example, gets the answer of the client."""
    instrument()
    for name in ("send", "getone", "getmany", "commit", "stop", "start", "__anext__", "send_batch"):
        for kind in (aiokafka.AIOKafkaProducer, aiokafka.AIOKafkaConsumer):
            if hasattr(kind, name):
                assert inspect.iscoroutinefunction(getattr(kind, name)), name
    mock = create_autospec(aiokafka.AIOKafkaProducer, instance=True)
    mock.send.return_value = 5
    assert await mock.send("t", b"v") == 5
    assert isinstance(AsyncMock(spec=aiokafka.AIOKafkaConsumer).getone, AsyncMock)


@awaited
async def test_subclass_that_overrides_what_is_traced_has_one_span_a_call(instrument, recorder, cluster):
    """Also where it calls the client in a task of its own."""
    instrument()

    class Own(aiokafka.AIOKafkaConsumer):
        async def getone(self, *partitions):
            return await asyncio.create_task(super().getone(*partitions))

        async def commit(self, offsets=None):
            return await asyncio.create_task(super().commit(offsets))

    fill(cluster, 2)
    async with Own("t", cluster=cluster, group_id="g") as consumer:
        async for _ in consumer:
            await consumer.commit()
    names = [span.name for span in recorder.spans]
    assert {name: names.count(name) for name in names} == {"process t": 2, "commit t": 2, "assign t": 1}


@awaited
async def test_calls_of_other_tasks_are_calls_of_their_own(instrument, recorder, cluster):
    """While one task waits for a record, another commits and a third fetches: neither takes part in the first."""
    instrument()
    consumer = aiokafka.AIOKafkaConsumer("t", cluster=cluster, group_id="g", waits=True, enable_auto_commit=False)
    waiting = asyncio.create_task(anext(aiter(consumer)))
    await asyncio.sleep(0.005)
    with recorder.tracer_provider.get_tracer("test").start_as_current_span("ambient"):
        await consumer.commit({aiokafka.TopicPartition("t", 0): 0})
    assert len(recorder.named("commit t")) == 1
    fill(cluster, 1)
    await waiting
    await consumer.stop()
    assert len(recorder.named("process t")) == 1


@awaited
async def test_wrapped_client_of_an_instrumented_class_has_one_span(instrument, recorder, cluster):
    """The wrapper traces, in both orders."""
    options = {"tracer_provider": recorder.tracer_provider}
    producer, consumer = clients(cluster)
    wrapped = otelkafka.wrap_producer(producer, otelkafka.ProducerOptions(**options))
    instrument()
    receiving = otelkafka.wrap_consumer(consumer, otelkafka.ConsumerOptions(**options))
    await wrapped.send_and_wait("t", b"v")
    async for _ in receiving:
        await receiving.commit()
    await wrapped.stop()
    await receiving.stop()
    names = [span.name for span in recorder.spans]
    assert {name: names.count(name) for name in names} == {"send t": 1, "process t": 1, "commit t": 1, "assign t": 1}


@both
@pytest.mark.parametrize("way", ["positional", "named", "none"])
@awaited
async def test_hook_of_a_send_has_the_headers_by_name(instrument, instrumentor, cluster, way):
    """The context is in them already; what the hook adds is sent; it is awaited before the record is sent."""
    seen = []

    async def hook(span, args, kwargs):
        await asyncio.sleep(0)
        seen.append((span is trace.get_current_span(), args[0], sorted(name for name, _ in kwargs["headers"])))
        kwargs["headers"].append(("tenant", b"a"))

    instrument(instrumentor, async_produce_hook=hook)
    producer, _ = clients(cluster)
    given = [("x", b"y")]
    if way == "positional":
        await producer.send("t", b"v", None, None, None, given)
    else:
        await producer.send("t", b"v", **({"headers": given} if way == "named" else {}))
    (record,) = producer.history
    expected = ["traceparent"] if way == "none" else ["traceparent", "x"]
    assert seen == [(True, "t", expected)]
    assert sorted(name for name, _ in record.headers) == sorted(["tenant", *expected])


@both
@awaited
async def test_hook_of_a_record_is_awaited_inside_its_span(instrument, instrumentor, cluster):
    """Before the record is handed over, with the arguments of the call."""
    seen = []

    async def hook(span, record, args, kwargs):
        await asyncio.sleep(0)
        seen.append((span is trace.get_current_span(), record.offset, args, kwargs))

    instrument(instrumentor, async_consume_hook=hook)
    fill(cluster, 2)
    _, consumer = clients(cluster)
    place = aiokafka.TopicPartition("t", 0)
    await consumer.getone(place)
    assert seen == [(True, 0, (place,), {})]
    async for _ in consumer:
        assert seen[1:] == [(True, 1, (), {})]
    await consumer.stop()


@both
@awaited
async def test_hook_of_a_record_in_a_list_is_called(instrument, instrumentor, cluster):
    """It does not wait for anything."""
    seen = []

    async def hook(span, record, args, kwargs):
        seen.append((record.offset, baggage.get_baggage("tenant")))

    instrument(instrumentor, async_consume_hook=hook)
    cluster.write(fake_record("t", b"v", headers=[TRACEPARENT, BAGGAGE]))
    _, consumer = clients(cluster)
    for records in (await consumer.getmany()).values():
        list(records)
    await consumer.stop()
    assert seen == [(0, "a")]


@awaited
async def test_hooks_may_be_plain_functions(instrument, cluster):
    """Contrib's instrumentation leaves those out."""
    seen = []
    instrument(
        async_produce_hook=lambda span, args, kwargs: seen.append(args[0]),
        async_consume_hook=lambda span, record, args, kwargs: seen.append(record.value),
    )
    producer, consumer = clients(cluster)
    await producer.send("t", b"v")
    async for _ in consumer:
        pass
    assert seen == ["t", b"v"]


@awaited
async def test_hook_that_raises_or_waits_where_it_cannot_is_contained(instrument, cluster, caplog):
    """The Kafka call goes on."""

    async def fail(*_):
        await asyncio.sleep(0)
        raise ZeroDivisionError

    instrument(async_produce_hook=fail, async_consume_hook=fail)
    producer, consumer = clients(cluster)
    await producer.send_and_wait("t", b"v")
    await producer.send_and_wait("t", b"v")
    await consumer.getone()
    for records in (await consumer.getmany()).values():
        assert [record.value for record in records] == [b"v"]
    await consumer.stop()
    assert "async_produce_hook failed" in caplog.text
    assert "async_consume_hook failed" in caplog.text
    assert "it waits, and can be awaited" in caplog.text


@awaited
async def test_record_whose_hook_is_cancelled_is_not_lost(instrument, recorder, cluster):
    """The client has read it already: it is read once more."""

    async def hook(span, record, args, kwargs):
        await asyncio.sleep(10 if record.value == b"slow" else 0)

    instrument(async_consume_hook=hook)
    cluster.write(fake_record("t", b"slow"))
    _, consumer = clients(cluster)
    task = asyncio.create_task(consumer.getone())
    await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    AIOKafkaInstrumentor().uninstrument()
    assert (await consumer.getone()).value == b"slow"
    await consumer.stop()


def test_wrong_options_are_refused(instrument):
    """Hooks by the names of kafka-python's instrumentation among them, with the right ones."""
    with pytest.raises(TypeError, match="give one of async_produce_hook, async_consume_hook"):
        instrument(produce_hook=print)
    with pytest.raises(TypeError, match="give a function"):
        instrument(async_consume_hook=5)
    assert inspect.getattr_static(aiokafka.AIOKafkaProducer, "send").__module__.startswith("otelkafka.testing")


def test_both_instrumentors_are_found_by_opentelemetry_instrument():
    """Each by an entry point of its own, so that each can be left out."""
    found = {each.name: each.load() for each in entry_points(group="opentelemetry_instrumentor")}
    assert found["otelkafka"] is KafkaInstrumentor
    assert found["otelkafka-aiokafka"] is AIOKafkaInstrumentor
    assert AIOKafkaInstrumentor().instrumentation_dependencies() == ("aiokafka >= 0.10, < 1",)


@pytest.mark.parametrize("first", [ours, theirs])
@awaited
async def test_neighbour_is_put_aside(instrument, recorder, cluster, caplog, first):
    """Whichever instruments first: one span a send and a record, ours from the second on, and a warning."""
    instrument(first)
    instrument(theirs if first is ours else ours)
    producer, consumer = clients(cluster)
    for _ in range(2):
        await producer.send_and_wait("t", b"v")
    async for _ in consumer:
        pass
    await consumer.stop()
    assert len(recorder.named("send t")) + len(recorder.named("t send")) == 2
    assert len(recorder.named("process t")) == 2
    assert len(recorder.named("send t")) >= 1
    assert len(recorder.named("t receive")) <= 1
    assert "set OTEL_PYTHON_DISABLED_INSTRUMENTATIONS to aiokafka, or to otelkafka-aiokafka" in caplog.text


@awaited
async def test_wrapped_client_of_a_class_that_they_patched_has_one_span(instrument, recorder, cluster):
    """Contrib's wrapper is called past."""
    instrument(theirs)
    producer, _ = clients(cluster)
    options = otelkafka.ProducerOptions(tracer_provider=recorder.tracer_provider)
    await otelkafka.wrap_producer(producer, options).send_and_wait("t", b"v")
    assert [span.name for span in recorder.spans] == ["send t"]


PATCHED_LATER = """
import sys
from otelkafka.instrumentor import AIOKafkaInstrumentor
AIOKafkaInstrumentor().instrument(skip_dep_check=True)
print([name for name in sys.modules if name.split(".")[0] in ("kafka", "aiokafka")])
import aiokafka
print(aiokafka.AIOKafkaProducer.send.__wrapped__.__qualname__, "kafka" in sys.modules)
AIOKafkaInstrumentor().uninstrument()
print(hasattr(aiokafka.AIOKafkaProducer.send, "__wrapped__"))
"""


def test_aiokafka_is_imported_by_the_application():
    """And patched when it is; kafka-python is not imported at all."""
    done = subprocess.run([sys.executable, "-c", PATCHED_LATER], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\nAIOKafkaProducer.send False\nFalse\n", done.stderr
