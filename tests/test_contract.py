"""The contract, rule by rule, with clients that make on cue what a broker does now and then."""

import asyncio
import contextvars
import copy
import dataclasses
import gc
import pickle
import threading
import time
import types
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from kafka import ConsumerRebalanceListener, TopicPartition
from opentelemetry import baggage, context, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otelkafka import (
    ConsumerOptions,
    HeaderCarrier,
    Message,
    Options,
    ProducerOptions,
    extract,
    inject,
    process,
    process_batch,
    wrap_consumer,
    wrap_handler,
    wrap_producer,
)
from otelkafka.links import Predecessor
from otelkafka.testing import SpanRecorder, span_tree
from otelkafka.wait import Handover, Wait, WaitHistory
from tests.fakes import SPAN_ID, TRACE_ID, TRACEPARENT, FakeConsumer, FakeProducer, Metadata, record, traceparent


@pytest.fixture
def recorder():
    return SpanRecorder()


def consumer_of(recorder, *records, **options):
    return wrap_consumer(FakeConsumer(*records), ConsumerOptions(tracer_provider=recorder.tracer_provider, **options))


def producer_of(recorder, bare, **options):
    return wrap_producer(bare, ProducerOptions(tracer_provider=recorder.tracer_provider, **options))


def options_of(recorder, **options):
    return ConsumerOptions(tracer_provider=recorder.tracer_provider, **options)


def ambient_of(recorder, name="ambient"):
    return recorder.tracer_provider.get_tracer("test").start_as_current_span(name)


def current():
    return trace.get_current_span().get_span_context()


def kinds(span):
    return [link.attributes["otelkafka.link.type"] for link in span.links]


class Watching(Sampler):
    """Keeps what it is asked."""

    def __init__(self):
        self.asked = []

    def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, links=None, trace_state=None):
        self.asked.append((name, kind, dict(attributes or {})))
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)

    def get_description(self):
        return "watching"


def test_sampler_is_told_at_the_start_what_it_may_want():
    """System, operation, destination, template, partition, server, client and group are there at span start."""
    sampler = Watching()
    recorder = SpanRecorder(sampler)
    named = {"destination_template": lambda topic: f"{topic}-*"}
    bare = FakeProducer({"bootstrap_servers": "host:9092", "client_id": "p"})
    producer_of(recorder, bare, **named).send("t", b"v", partition=3)
    list(consumer_of(recorder, record(5), **named))
    common = {"messaging.system": "kafka", "messaging.destination.name": "t", "messaging.destination.template": "t-*"}
    server = {"server.address": "host", "server.port": 9092}
    assert sampler.asked == [
        (
            "send t-*",
            SpanKind.PRODUCER,
            {
                **common,
                **server,
                "messaging.operation.name": "send",
                "messaging.operation.type": "send",
                "messaging.client.id": "p",
                "messaging.destination.partition.id": "3",
            },
        ),
        (
            "process t-*",
            SpanKind.CONSUMER,
            {
                **common,
                **server,
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.client.id": "c",
                "messaging.consumer.group.name": "g",
                "messaging.destination.partition.id": "0",
            },
        ),
    ]


def test_send_hears_its_acknowledgement_and_returns_the_very_future(recorder):
    """The span ends at the ack, with what the ack says; hooks see the span, the message and the metadata."""
    bare, heard = FakeProducer(), []
    options = {
        "on_send": lambda span, message: heard.append((span.is_recording(), message)),
        "on_ack": lambda span, metadata: heard.append((span.is_recording(), metadata)),
    }
    future = producer_of(recorder, bare, **options).send("t", b"v", key=b"k")
    assert future is bare.futures[0]
    assert recorder.spans == []
    future.acknowledge()
    (span,) = recorder.spans
    assert heard == [(True, Message("t", b"v", b"k")), (True, Metadata)]
    assert span.attributes["messaging.destination.partition.id"] == "2"
    assert span.attributes["messaging.kafka.offset"] == 7
    future.acknowledge()
    assert len(recorder.spans) == 1


def test_send_span_names_the_leader_of_the_partition_that_the_acknowledgement_tells(recorder):
    """Before the ack the partition is not known, and the first bootstrap server stands for its leader."""

    class Cluster:
        cluster_id = "of three"

        def leader_for_partition(self, partition):
            return partition.partition

        def broker_metadata(self, node):
            return types.SimpleNamespace(host=f"node{node}", port=9090 + node)

    bare = FakeProducer({"bootstrap_servers": ["first:9092"]})
    bare._metadata = Cluster()
    future = producer_of(recorder, bare).send("t", b"v")
    future.acknowledge()
    (span,) = recorder.spans
    assert (span.attributes["server.address"], span.attributes["server.port"]) == ("node2", 9092)
    assert span.attributes["messaging.kafka.cluster.id"] == "of three"


def test_send_without_acks_has_no_offset(recorder):
    """acks=0 is told offset -1, which is none."""
    bare = FakeProducer()
    producer_of(recorder, bare).send("t", b"v").acknowledge(type("M", (), {"partition": 0, "offset": -1}))
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
    """A tuple of headers, a value that is no bytes: the client gets the very objects of the caller."""
    bare = FakeProducer()
    producer = producer_of(recorder, bare)
    for headers in ((("a", b"b"),), [("a", "b")], [("a", None)], "junk"):
        producer.send("t", b"v", headers=headers)
        assert bare.headers[-1] is headers


def test_tracestate_and_baggage_travel(recorder):
    """tracestate and baggage pass through a relay unharmed."""
    incoming = [TRACEPARENT, ("tracestate", b"vendor=x"), ("baggage", b"tenant=a")]
    bare = FakeProducer()
    producer_of(recorder, bare).send("t", b"v", headers=incoming)
    sent = dict(bare.headers[0])
    assert (sent["tracestate"], sent["baggage"]) == (b"vendor=x", b"tenant=a")
    assert sent["traceparent"].split(b"-")[1].decode() == TRACE_ID


class Prefixed(HeaderCarrier):
    """A carrier of the user's own."""

    def set(self, key, value):
        super().set(f"my-{key}", value)

    def get(self, key):
        return super().get(f"my-{key}")

    def keys(self):
        keys = super().keys()
        return [key.removeprefix("my-") for key in keys]


class BrokenCarrier(HeaderCarrier):
    def set(self, key, value):
        raise RuntimeError("set")

    def get(self, key):
        raise RuntimeError("get")


def test_carrier_of_the_users_own(recorder):
    """A carrier that adds a prefix is used on both sides, and a stale context of its own goes."""
    bare = FakeProducer()
    producer_of(recorder, bare, carrier=Prefixed, max_in_flight=0).send("t", b"v", headers=[("my-traceparent", b"old")])
    (headers,) = bare.headers
    assert [key for key, _ in headers] == ["my-traceparent"]
    list(consumer_of(recorder, record(0, headers=headers), carrier=Prefixed))
    sent, processed = recorder.spans
    assert processed.parent.span_id == sent.context.span_id


def test_broken_carrier_costs_nothing(recorder, caplog):
    """A carrier that raises neither loses a record nor keeps one from being sent."""
    bare = FakeProducer()
    producer_of(recorder, bare, carrier=BrokenCarrier).send("t", b"v", headers=[("x", b"y")])
    assert bare.headers == [[("x", b"y")]]
    assert len(list(consumer_of(recorder, record(0), carrier=BrokenCarrier))) == 1
    assert {each.args[0] for each in caplog.records} <= {"inject", "extract"}


@pytest.mark.parametrize("style", ["iterate", "poll"])
@pytest.mark.parametrize("mode", ["auto", "iterate", "manual"])
def test_process_option_says_which_records_get_spans(recorder, style, mode):
    """auto: iterated and polled; iterate: iterated only; manual: none."""
    consumer = consumer_of(recorder, record(0), process=mode)
    records = consumer if style == "iterate" else consumer.poll()[TopicPartition("t", 0)]
    assert [each.offset for each in records] == [0]
    expected = mode == "auto" or (mode == "iterate" and style == "iterate")
    assert len(recorder.spans) == expected


def test_exception_in_the_loop_body_leaves_the_span_unset(recorder):
    """An iterator cannot see that the body raised; the exception itself passes."""
    error = ValueError("boom")
    with pytest.raises(ValueError) as raised:
        for _ in consumer_of(recorder, record(0)):
            raise error
    assert raised.value is error
    del raised
    assert recorder.spans[0].status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("record_exceptions", [True, False])
def test_error_of_a_body_is_told_as_the_options_want(recorder, record_exceptions):
    """record_exceptions=False: error.type and status only, no message, no stack trace."""
    consumer = consumer_of(recorder, process="manual", record_exceptions=record_exceptions)
    with pytest.raises(ValueError), consumer.process(record(0)):
        raise ValueError("secret")
    (span,) = recorder.spans
    assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "ValueError")
    assert ("secret" in str(span.to_json())) is record_exceptions


def test_batch_error_and_attributes(recorder):
    """A batch tells what all share on the span, what differs on the links, and its body's exception."""
    consumer = consumer_of(recorder, process="manual")
    records = [record(at, headers=[traceparent(at)], key=b"k%d" % at, partition=at) for at in range(2)]
    with pytest.raises(ValueError), consumer.process_batch(records) as span:
        assert current() == span.get_span_context()
        raise ValueError
    (span,) = recorder.spans
    assert (span.name, span.kind, span.parent) == ("process t", SpanKind.CONSUMER, None)
    assert span.attributes["messaging.batch.message_count"] == 2
    assert span.attributes["error.type"] == "ValueError"
    assert "messaging.destination.partition.id" not in span.attributes
    assert [
        (link.attributes["messaging.destination.partition.id"], link.attributes["messaging.kafka.message.key"])
        for link in span.links
    ] == [("0", "k0"), ("1", "k1")]


def test_batch_of_several_topics(recorder):
    """Several topics: `process` alone, no destination; a template that they share names them."""
    records = [record(0, topic="a"), record(1, topic="b")]
    with process_batch(records, options_of(recorder)):
        pass
    with process_batch(records, options_of(recorder, destination_template=lambda _: "shared")):
        pass
    plain, templated = recorder.spans
    assert plain.name == "process"
    assert "messaging.destination.name" not in plain.attributes
    assert templated.name == "process shared"
    assert templated.attributes["messaging.destination.template"] == "shared"


def test_links_prefer_sampled_contexts_and_say_what_they_drop(recorder):
    """Beyond max_links the sampled creation contexts stay, and the span says how many were left out."""
    records = [record(at, headers=[traceparent(at, sampled=at >= 3)]) for at in range(5)]
    with process_batch(records, options_of(recorder, max_links=2)):
        pass
    (span,) = recorder.spans
    assert [link.context.span_id for link in span.links] == [4, 5]
    assert span.attributes["otelkafka.links.dropped"] == 3


def test_batch_carries_no_records_baggage(recorder):
    """A record's baggage is current in the body in both relations; a batch carries none."""
    carried = record(0, headers=[TRACEPARENT, ("baggage", b"tenant=a")])
    for relation in ("parent", "link"):
        for _ in consumer_of(recorder, carried, relation=relation):
            assert baggage.get_baggage("tenant") == "a"
    with process_batch([carried], options_of(recorder)):
        assert baggage.get_baggage("tenant") is None


def test_record_without_context_is_the_ambient_spans_child_or_a_root(recorder):
    """In both relations: without a valid context in the record, child of the ambient span, else a root."""
    for relation in ("parent", "link"):
        recorder.clear()
        list(consumer_of(recorder, record(0, headers=[]), relation=relation))
        with ambient_of(recorder) as ambient:
            list(consumer_of(recorder, record(0, headers=[]), relation=relation))
        root, child, _ = recorder.spans
        assert root.parent is None
        assert child.parent.span_id == ambient.get_span_context().span_id
        assert root.links == child.links == ()


def test_wait_adds_up_and_busy_names_the_predecessor(recorder):
    """before + busy + fetch = queue.duration; a record older than its consumer has the rest before."""
    wrapped = time.time_ns()
    consumer = consumer_of(recorder)
    old = int(time.time() * 1000) - 60_000
    consumer.__wrapped__.records += [record(0, timestamp=old), record(1, timestamp=old)]
    for _ in consumer:
        time.sleep(0.02)
    for span in recorder.spans:
        told = span.attributes
        attended = (span.start_time - wrapped) / 1e9
        parts = told["otelkafka.queue.busy_duration"] + told["otelkafka.queue.fetch_duration"]
        before = told["otelkafka.queue.duration"] - parts
        assert before >= 59
        assert parts <= attended
        assert told["otelkafka.queue.duration"] == pytest.approx((span.start_time - old * 10**6) / 1e9)
    assert kinds(recorder.spans[0]) == []
    assert kinds(recorder.spans[1]) == ["predecessor"]
    told = recorder.spans[1].links[0].attributes
    assert (told["messaging.destination.name"], told["messaging.kafka.offset"]) == ("t", 0)
    assert told["otelkafka.process.duration"] >= 0.02
    assert recorder.spans[1].attributes["otelkafka.consumer.lag"] == 8


def test_predecessor_is_named_where_it_was_not_sampled():
    """The link carries the culprit's position although nothing of it was recorded."""
    recorder = SpanRecorder(ParentBased(ALWAYS_OFF))
    consumer = consumer_of(recorder)
    consumer.__wrapped__.records += [record(0, headers=[traceparent(0, sampled=False)]), record(1)]
    for _ in consumer:
        time.sleep(0.01)
    (span,) = recorder.spans
    (link,) = span.links
    assert link.attributes["messaging.kafka.offset"] == 0


def test_next_leaves_its_span_current_until_the_next_call(recorder):
    """next(): until the next call or close(); it works again after a StopIteration."""
    consumer = consumer_of(recorder, record(0))
    next(consumer)
    assert current().is_valid
    with pytest.raises(StopIteration):
        next(consumer)
    assert not current().is_valid
    consumer.__wrapped__.records.append(record(1))
    next(consumer)
    consumer.close()
    assert not current().is_valid
    assert len(recorder.spans) == 2


def test_nested_consumers_keep_to_their_own_spans(recorder):
    """A consumer iterated inside another's loop ends its own spans only."""
    outer, inner = consumer_of(recorder, record(0)), consumer_of(recorder, record(1, topic="u"))
    for _ in outer:
        around = current()
        for _ in inner:
            assert current() != around
        assert current() == around
    assert [span.name for span in recorder.spans] == ["process u", "process t"]
    assert not current().is_valid


def test_records_in_threads_and_tasks_have_spans_of_their_own(recorder):
    """process="manual" and process(record) where the work is: each its own span, current there only."""
    consumer = consumer_of(recorder, *(record(at) for at in range(4)), process="manual")
    records = list(consumer)

    def work(each):
        with consumer.process(each) as span:
            assert current() == span.get_span_context()
        assert not current().is_valid

    with ThreadPoolExecutor(2) as executor:
        list(executor.map(work, records[:2]))

    async def task(each):
        with consumer.process(each) as span:
            await asyncio.sleep(0.01)
            assert current() == span.get_span_context()

    async def main():
        await asyncio.gather(*map(task, records[2:]))

    asyncio.run(main())
    assert sorted(span.attributes["messaging.kafka.offset"] for span in recorder.spans) == [0, 1, 2, 3]


def test_iterator_that_ends_in_a_copied_context_logs_nothing(recorder, caplog):
    """Attached in one contextvars.Context, ended in a copy of it: no detach is tried there, nothing is logged."""
    consumer = consumer_of(recorder, record(0), record(1))
    next(consumer)
    contextvars.copy_context().run(next, consumer)
    consumer.close()
    assert not current().is_valid
    assert len(recorder.spans) == 2
    assert caplog.records == []


@pytest.mark.parametrize("form", ["one", "list", "polled", "async", "keyword"])
def test_handlers_of_every_form(recorder, form):
    """One record, a list, what poll() returned; sync or async; by position or keyword: a span, with the exception."""
    seen = []

    def look(_):
        seen.append(current())
        raise ValueError("boom")

    async def look_async(argument):
        look(argument)

    options = options_of(recorder)
    handler = wrap_handler(wrap_handler(look_async if form == "async" else look, options), options)
    consumer = consumer_of(recorder, record(0))
    with pytest.raises(ValueError):
        if form == "list":
            handler([record(0), record(1)])
        elif form == "polled":
            handler(consumer.poll())
        elif form == "keyword":
            handler(_=record(0))
        elif form == "async":
            asyncio.run(handler(record(0)))
        else:
            handler(record(0))
    (span,) = recorder.spans
    assert seen == [span.context]
    assert span.status.description == "boom"


def test_handler_on_the_open_record_adds_no_span(recorder):
    """A wrapped handler inside the loop records its exception on the open span."""
    handler = wrap_handler(lambda _: 1 / 0, options_of(recorder))
    for each in consumer_of(recorder, record(0)):
        with pytest.raises(ZeroDivisionError):
            handler(each)
    (span,) = recorder.spans
    assert span.attributes["error.type"] == "ZeroDivisionError"
    assert len(span.events) == 1


def test_handler_without_a_record_is_called_plainly(recorder):
    """A call that has no record among its arguments has no span."""
    assert wrap_handler(lambda number: number + 1, options_of(recorder))(1) == 2
    assert recorder.spans == []


def test_untraced_topic_is_consumed_with_the_records_context(recorder):
    """trace_topic False: no span; the record's context is current in the body."""
    for _ in consumer_of(recorder, record(0), trace_topic=lambda _: False):
        assert f"{current().trace_id:032x}" == TRACE_ID
    assert recorder.spans == []
    assert not current().is_valid


@pytest.mark.parametrize("name", ["{destination}: {operation}", lambda operation, topic: f"{topic}: {operation}"])
def test_span_names_are_the_users(recorder, name):
    """A template or a function names the spans."""
    list(consumer_of(recorder, record(0), span_name=name))
    assert recorder.spans[0].name == "t: process"


def test_hook_of_the_consumer_sees_span_and_record(recorder):
    """on_process is called with the span and the record; what it raises is contained."""
    heard = []
    one = record(0)
    list(consumer_of(recorder, one, on_process=lambda span, each: heard.append((span.is_recording(), each))))
    list(consumer_of(recorder, record(1), on_process=lambda *_: 1 / 0))
    assert heard[0][0] is True
    assert heard[0][1] is one
    assert len(recorder.spans) == 2


def test_wrapping_twice_is_one_layer_around_the_same_client(recorder):
    """A wrapped client that is wrapped again is one layer, with the state that it had: one span a record."""
    first = consumer_of(recorder, record(0))
    second = wrap_consumer(first, options_of(recorder, relation="link"))
    assert second.__wrapped__ is first.__wrapped__
    list(second)
    assert kinds(recorder.spans[0])[0] == "creation"
    bare = FakeProducer()
    again = producer_of(recorder, producer_of(recorder, bare))
    again.send("t", b"v")
    again.close()
    assert len(recorder.named("send t")) == 1


def test_wrapper_delays_no_end_of_its_client(recorder):
    """No reference cycle: without a collection, the client goes when its wrapper does."""
    gc.disable()
    try:
        for make in (lambda: consumer_of(recorder, record(0)), lambda: producer_of(recorder, FakeProducer())):
            wrapped = make()
            gone = weakref.ref(wrapped.__wrapped__)
            if hasattr(wrapped, "poll"):
                list(wrapped)
            else:
                wrapped.send("t", b"v").acknowledge()
            wrapped = None
            assert gone() is None
    finally:
        gc.enable()


def test_without_an_sdk_everything_passes(monkeypatch):
    """With the API alone nothing is recorded, and the context still propagates."""
    api_only = trace.NoOpTracerProvider()
    bare = FakeProducer()
    wrap_producer(bare, ProducerOptions(tracer_provider=api_only)).send("t", b"v", headers=[TRACEPARENT])
    assert bare.headers == [[TRACEPARENT]]
    for _ in wrap_consumer(FakeConsumer(record(0)), ConsumerOptions(tracer_provider=api_only)):
        assert f"{current().trace_id:032x}" == TRACE_ID


class GroupConsumer(FakeConsumer):
    """Takes a listener, and calls it as its group would."""

    def subscribe(self, topics=(), pattern=None, listener=None):
        self.listener = listener


def test_listener_of_the_user_hears_and_raises(recorder):
    """Ours tells the user's listener, and lets its exceptions through; without one ours stands alone."""

    class Listener(ConsumerRebalanceListener):
        def on_partitions_assigned(self, assigned):
            raise ValueError("mine")

        def on_partitions_revoked(self, revoked):
            return list(revoked)

        def on_partitions_lost(self, lost):
            return list(lost)

    consumer = wrap_consumer(GroupConsumer(), options_of(recorder))
    partitions = [TopicPartition("t", 0)]
    for subscribe in (
        lambda: consumer.subscribe(["t"], listener=Listener()),
        lambda: consumer.subscribe(["t"], None, Listener()),
    ):
        subscribe()
        ours = consumer.__wrapped__.listener
        with pytest.raises(ValueError, match="mine"):
            ours.on_partitions_assigned(partitions)
        assert ours.on_partitions_revoked(partitions) == ours.on_partitions_lost(partitions) == partitions
    consumer.subscribe(["t"])
    alone = consumer.__wrapped__.listener
    assert isinstance(alone, ConsumerRebalanceListener)
    assert alone.on_partitions_assigned(partitions) is None
    junk = object()
    consumer.subscribe(["t"], listener=junk)
    assert consumer.__wrapped__.listener is junk


def test_async_listener_is_awaited(recorder):
    """A listener with async methods is composed with one of its kind."""
    kafka = pytest.importorskip("kafka")
    if not hasattr(kafka, "AsyncConsumerRebalanceListener"):
        pytest.skip("this release of kafka-python has no async listeners")
    heard = []

    class Listener(kafka.AsyncConsumerRebalanceListener):
        async def on_partitions_assigned(self, assigned):
            heard.append(assigned)

        async def on_partitions_revoked(self, revoked):
            heard.append(revoked)

        async def on_partitions_lost(self, lost):
            heard.append(lost)

    consumer = wrap_consumer(GroupConsumer(), options_of(recorder))
    consumer.subscribe(["t"], listener=Listener())
    ours, partitions = consumer.__wrapped__.listener, [TopicPartition("t", 0)]

    async def rebalance():
        await ours.on_partitions_assigned(partitions)
        await ours.on_partitions_revoked(partitions)
        await ours.on_partitions_lost(partitions)

    asyncio.run(rebalance())
    assert heard == [partitions] * 3


def test_inject_and_extract_without_a_client(recorder):
    """inject() takes the current or a given context; extract() starts from nothing."""
    with ambient_of(recorder) as ambient:
        headers = inject([("x", b"y")])
        assert not trace.get_current_span(extract([])).get_span_context().is_valid
    assert trace.get_current_span(extract(headers)).get_span_context().span_id == ambient.get_span_context().span_id
    given = context.Context()
    assert inject([("x", b"y")], given) == [("x", b"y")]


def test_process_without_a_consumer(recorder):
    """process(record) makes the same span without group and split, and is its body's current one."""
    with process(record(0), options_of(recorder)) as span:
        assert current() == span.get_span_context()
    (ended,) = recorder.spans
    assert ended.attributes["otelkafka.queue.duration"] >= 0
    assert "otelkafka.queue.busy_duration" not in ended.attributes


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


def test_batch_of_a_consumer_is_the_same_batch(recorder):
    """consumer.process_batch() knows the group and the split, and spends the lists that poll() returned."""
    consumer = consumer_of(recorder, record(0), record(1, topic="u"))
    polled = consumer.poll()
    with consumer.process_batch(polled):
        assert [each.offset for records in polled.values() for each in records] == [0, 1]
    (span,) = recorder.spans
    assert span.name == "process"
    assert span.attributes["messaging.consumer.group.name"] == "g"
    assert span.attributes["otelkafka.queue.busy_duration"] >= 0


def test_batch_of_nothing_has_no_span(recorder):
    """An empty batch, or one of topics left out, has no span, and its body runs."""
    for records, options in (([], {}), ({}, {}), ([record(0)], {"trace_topic": lambda _: False})):
        with process_batch(records, options_of(recorder, **options)) as span:
            assert not span.is_recording()
    assert recorder.spans == []


def test_batch_is_left_alone_where_telemetry_is_suppressed(recorder):
    """suppress_instrumentation(): no span of a batch, of a poll, or of one that failed."""
    token = context.attach(context.set_value("suppress_instrumentation", True))
    try:
        with process_batch([record(0)], options_of(recorder)), process(record(0), options_of(recorder)):
            pass
        with pytest.raises(OSError):
            next(consumer_of(recorder, OSError("gone")))
    finally:
        context.detach(token)
    assert recorder.spans == []


def test_poll_span_leaves_out_topics_that_are_not_traced(recorder):
    """A poll of topics left out by trace_topic has no span; of others with them, one that speaks of the others."""
    options = {"poll_spans": True, "process": "manual", "trace_topic": lambda topic: topic != "u"}
    consumer = consumer_of(recorder, record(0, topic="u"), **options)
    consumer.poll()
    assert recorder.spans == []
    consumer.__wrapped__.records = [record(0, topic="u"), record(1)]
    consumer.poll()
    (span,) = recorder.spans
    assert (span.name, span.attributes["messaging.batch.message_count"]) == ("poll t", 1)


@pytest.mark.parametrize("form", [copy.copy, copy.deepcopy, lambda client: pickle.loads(pickle.dumps(client))])
def test_copies_are_traced_where_the_client_can_be_copied(recorder, form):
    """A copy is what the client makes of itself, traced by the same options."""
    consumer = wrap_consumer(FakeConsumer(record(0)))
    made = form(consumer)
    assert type(made) is type(consumer)
    assert made.__wrapped__ is not consumer.__wrapped__
    assert [each.offset for each in made] == [0]


def test_client_that_is_no_context_manager_is_closed_all_the_same(recorder):
    """`with` yields the wrapper and closes it, also on releases whose client has no __enter__."""
    bare = FakeConsumer(record(0))
    with wrap_consumer(bare, options_of(recorder)) as consumer:
        next(consumer)
    assert bare.closed == 1
    assert len(recorder.spans) == 1


def test_recorder_that_waits_in_vain_shows_what_there_is(recorder):
    """wait_for() fails with the tree of the spans that have ended."""
    with ambient_of(recorder, "other"):
        pass
    with pytest.raises(AssertionError, match=r"0 of 1 spans 'send t' ended within 0 s; there are:\n.* other"):
        recorder.wait_for("send t", timeout=0)


def test_tree_shows_parents_order_and_failures(recorder):
    """A line a span, children below their parents in the order of their start, failures with their message."""
    with pytest.raises(ValueError), ambient_of(recorder, "root"):
        with ambient_of(recorder, "first"):
            pass
        with ambient_of(recorder, "second"):
            raise ValueError("boom")
    lines = [line.split("ms  ")[-1] for line in span_tree(recorder.spans).splitlines()]
    assert lines == ["root  ERROR ValueError: boom", "  first", "  second  ERROR ValueError: boom"]


def test_history_is_bounded_and_answers_coarsely_what_is_long_past():
    """Marks are thinned out and hand-overs forgotten; the total never is."""
    history = WaitHistory(0)
    step = 2_000_000
    for at in range(1, 10_001):
        history.enter(at * step)
        history.leave(at * step + step // 2)
        history.note_handover("t", 0, at, at, Handover(at * step, None))
    end = 10_001 * step
    assert len(history._marks) <= 4097
    assert history.fetched(0, end) == 10_000 * step // 2
    assert history.fetched(end - 100 * step, end) == pytest.approx(50 * step, rel=0.05)
    assert history.fetched(0, end // 2) == pytest.approx(end // 4, rel=0.01)
    assert history.fetched(-5, 0) == history.fetched(5, 5) == 0
    assert history.handover_of(record(10_000)).time == 10_000 * step
    assert history.handover_of(record(1)) is None


def test_history_counts_the_fetch_that_lasts():
    """leave() without enter() changes nothing, and hand-overs close together are one."""
    history = WaitHistory(0)
    history.leave(5_000_000)
    assert history.fetched(0, 5_000_000) == 0
    history.note_handover("t", 0, 1, 1, Handover(10, None))
    history.note_handover("t", 0, 2, 2, Handover(20, None))
    assert history.handover_of(record(2)) == history.handover_of(record(1))


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


def test_failed_send_tells_how_long_it_was_blocked(recorder):
    """The time inside send() is told whether it returns or raises."""

    class Blocking(FakeProducer):
        def send(self, *args, **kwargs):
            time.sleep(0.01)
            if not self.config:
                raise OSError
            return super().send(*args, **kwargs)

    blocking = Blocking({"client_id": "p"})
    producer_of(recorder, blocking).send("t", b"v")
    producer_of(recorder, Blocking({"client_id": "p"}), max_in_flight=0).send("t", b"v")
    with pytest.raises(OSError):
        producer_of(recorder, Blocking()).send("t", b"v")
    for future in blocking.futures:
        future.acknowledge()
    assert len(recorder.spans) == 3
    for span in recorder.spans:
        assert 0.01 <= span.attributes["otelkafka.send.blocked_duration"] <= (span.end_time - span.start_time) / 1e9


def test_header_that_a_reader_would_take_for_the_context_does_not_go_stale(recorder):
    """What the propagator reads is taken away, also where it is not among the fields that it writes."""

    class Old(TraceContextTextMapPropagator):
        """Reads a name that it does not write any more."""

        def extract(self, carrier, context=None, getter=None):
            getter.get(carrier, "old-context")
            return super().extract(carrier, context, getter)

    bare = FakeProducer()
    producer_of(recorder, bare, propagator=Old()).send("t", b"v", headers=[("old-context", b"1"), ("x", b"y")])
    assert [key for key, _ in bare.headers[0]] == ["x", "traceparent"]


def test_baggage_is_merged_entry_by_entry(recorder):
    """Sent: the ambient entries over those of the headers. Consumed: the record's over the ambient ones."""
    carried = [TRACEPARENT, ("baggage", b"both=record,record=1")]
    token = context.attach(baggage.set_baggage("ambient", "1", baggage.set_baggage("both", "ambient")))
    try:
        bare = FakeProducer()
        producer_of(recorder, bare).send("t", b"v", headers=carried)
        assert baggage.get_all(extract(bare.headers[0])) == {"both": "ambient", "ambient": "1", "record": "1"}
        for relation in ("parent", "link"):
            for _ in consumer_of(recorder, record(0, headers=carried), relation=relation):
                assert baggage.get_all() == {"both": "record", "ambient": "1", "record": "1"}
    finally:
        context.detach(token)


def test_record_without_a_context_never_inherits_the_callers(recorder):
    """extract() starts from nothing, whatever is current."""
    with ambient_of(recorder):
        token = context.attach(baggage.set_baggage("a", "1"))
        found = extract([("x", b"y")])
        assert extract([("x", b"y")], Options(propagator=W3CBaggagePropagator())) == context.Context()
        context.detach(token)
    assert baggage.get_all(found) == {}
    assert not trace.get_current_span(found).get_span_context().is_valid


def test_batch_tells_the_longest_wait_and_each_link_its_own(recorder):
    """What differs from record to record is on its link; the longest wait is on the span."""
    now = int(time.time() * 1000)
    records = [record(at, headers=[traceparent(at)], timestamp=now - age) for at, age in enumerate((2000, 9000, 1000))]
    with process_batch(records, options_of(recorder)):
        pass
    (span,) = recorder.spans
    waits = [link.attributes["otelkafka.queue.duration"] for link in span.links]
    assert span.attributes["otelkafka.queue.duration"] == max(waits) == waits[1]


@pytest.mark.parametrize(("room", "expected"), [(0, []), (1, ["predecessor"]), (2, ["predecessor", "creation"])])
def test_predecessor_counts_among_the_links(recorder, room, expected):
    """One predecessor link, within max_links, in a batch."""
    consumer = consumer_of(recorder, record(0), record(1), max_links=room, process="manual")
    with consumer.process(next(consumer)):
        time.sleep(0.005)
    with consumer.process_batch([next(consumer), record(2)]):
        pass
    assert kinds(recorder.spans[1]) == expected


def test_links_of_a_record_keep_to_max_links(recorder):
    """max_links=0: neither an ambient nor a creation link."""
    with ambient_of(recorder):
        list(consumer_of(recorder, record(0), max_links=0))
        list(consumer_of(recorder, record(0), max_links=0, relation="link"))
    assert [span.links for span in recorder.spans[:2]] == [(), ()]


def test_predecessor_is_not_named_for_less_than_a_millisecond():
    """A consumer that was busy for a moment is not worth a link."""
    wait = Wait(queue=5, busy=1_000_000, fetch=0, timestamp_type=None, clock_skew=False)
    context = trace.get_current_span(extract([TRACEPARENT])).get_span_context()
    assert Predecessor(context, {}).kept_busy(wait) is False
    assert Predecessor(context, {}).kept_busy(wait._replace(busy=1_000_001)) is True


def test_empty_poll_is_returned_as_it_is(recorder):
    """What a poll without records returns is the client's own object."""

    class Empty(FakeConsumer):
        nothing = {}

        def poll(self):
            return self.nothing

    consumer = wrap_consumer(Empty(), options_of(recorder, poll_spans=True))
    assert consumer.poll() is Empty.nothing
    assert recorder.spans == []


def test_span_of_a_polled_list_ends_before_the_next_one_starts(recorder):
    """One after the other, also where the list is iterated elsewhere than where it was polled."""
    consumer = consumer_of(recorder, record(0), record(1))
    (records,) = consumer.poll().values()
    iterator = iter(records)
    contextvars.copy_context().run(next, iterator)
    contextvars.copy_context().run(next, iterator)
    assert len(recorder.spans) == 1
    del iterator
    assert len(recorder.spans) == 2


def test_span_ends_once(recorder, caplog):
    """A span that is ended from two places ends once, with the first word on it."""
    consumer = consumer_of(recorder, record(0))
    iterator = iter(consumer)
    next(iterator)
    consumer.close()
    del iterator
    assert len(recorder.spans) == 1
    heard = []
    bare = FakeProducer()
    future = producer_of(recorder, bare, on_ack=lambda *_: heard.append(1)).send("t", b"v")
    future.acknowledge()
    future.acknowledge()
    future.fail(OSError())
    assert heard == [1]
    assert caplog.records == []


def test_error_that_passes_two_recorders_is_recorded_once(recorder):
    """A handler inside process() on the same record: one exception event."""
    handler = wrap_handler(lambda _: 1 / 0, options_of(recorder))
    one = record(0)
    with pytest.raises(ZeroDivisionError), process(one, options_of(recorder)):
        handler(one)
    (span,) = recorder.spans
    assert len(span.events) == 1


def test_wrapping_again_ends_what_is_open(recorder):
    """A consumer that is wrapped again inside a record's span leaves nothing open."""
    consumer = consumer_of(recorder, record(0))
    next(consumer)
    wrap_consumer(consumer, options_of(recorder))
    assert len(recorder.spans) == 1
    assert not current().is_valid


def test_context_is_carried_on_by_spans_that_are_none(recorder):
    """Without an SDK the oldest OpenTelemetry answers with an invalid span: the parent's context goes on."""

    class Oldest(trace.NoOpTracer):
        def start_span(self, *_, **__):
            return trace.INVALID_SPAN

    class OldestProvider(trace.TracerProvider):
        def get_tracer(self, *_, **__):
            return Oldest()

    bare = FakeProducer()
    wrap_producer(bare, ProducerOptions(tracer_provider=OldestProvider())).send("t", b"v", headers=[TRACEPARENT])
    assert bare.headers == [[TRACEPARENT]]


def test_revoked_partition_is_forgotten(recorder):
    """What was noted of a partition goes with it, so that another turn of it starts anew."""
    consumer = wrap_consumer(GroupConsumer(), options_of(recorder))
    consumer.subscribe(["t"])
    listener, history = consumer.__wrapped__.listener, consumer._self_history
    for leave in (listener.on_partitions_revoked, listener.on_partitions_lost):
        listener.on_partitions_assigned([TopicPartition("t", 0)])
        assert set(history._assigned) == {("t", 0)}
        leave([TopicPartition("t", 0)])
        assert history._assigned == {}


def test_options_are_frozen_and_keyword_only():
    """Options cannot be changed, nor given by position."""
    for options in (Options, ProducerOptions, ConsumerOptions):
        with pytest.raises(dataclasses.FrozenInstanceError):
            options().capture_key = False
        with pytest.raises(TypeError):
            options(None)
        assert not hasattr(options(), "__dict__")


def test_class_in_place_of_a_client_is_refused():
    """The class itself, which somebody forgot to call, is told at once."""
    with pytest.raises(TypeError, match="give a KafkaConsumer"):
        wrap_consumer(FakeConsumer)
    with pytest.raises(TypeError, match="give a KafkaProducer"):
        wrap_producer(FakeProducer)


def test_time_between_hand_over_and_start_is_busy(recorder):
    """From its hand-over to the start of its span a record waits for its consumer's code, also while that polls."""
    consumer = consumer_of(recorder, record(0), process="manual")
    one = next(consumer)
    consumer.__wrapped__.poll = lambda: time.sleep(0.02)
    consumer.poll()
    with consumer.process(one):
        pass
    told = recorder.spans[0].attributes
    assert told["otelkafka.queue.busy_duration"] >= 0.02
    assert told["otelkafka.queue.fetch_duration"] < 0.02


def test_generator_that_is_closed_inside_a_span_is_no_failure(recorder):
    """A generator that is dropped in the middle of process() leaves the span unset."""

    def answers():
        with process(record(0), options_of(recorder)):
            yield 1

    generator = answers()
    next(generator)
    generator.close()
    (span,) = recorder.spans
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()
