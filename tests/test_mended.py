"""Defects that a review found, each with what must hold."""

import asyncio
import gc
import os
import sys
import threading
import weakref

import pytest
from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.errors import MessageSizeTooLargeError
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider

from otelkafka import ConsumerOptions, HeaderCarrier, ProducerOptions, process_batch, wrap_handler
from otelkafka.current import OpenSpan
from otelkafka.current import _Attached as Attached
from otelkafka.instrumentor import Patch
from otelkafka.testing import MetricRecorder
from otelkafka.wait import Handover, WaitHistory, wait_of
from tests.support.face import process_batch_of, process_of, wrap_consumer, wrap_producer
from tests.support.fakes import (
    FakeConsumer,
    FakeProducer,
    ambient_of,
    consumer_of,
    current,
    failed,
    kinds,
    options_of,
    producer_of,
    record,
)
from tests.support.internals import engine_of


def test_span_of_the_application_is_never_left_behind(recorder):
    """A record asked for inside the application's own span: what was current before that comes back, never an ended one."""
    consumer = consumer_of(recorder, *(record(at, headers=[]) for at in range(4)))
    parents = []
    for _ in range(3):
        with ambient_of(recorder, "job") as job:
            next(consumer)
            parents.append(job.get_span_context().span_id)
        assert not current().is_valid
    consumer.poll()
    assert not current().is_valid
    assert [span.parent.span_id for span in recorder.named("process t")] == parents


def test_span_of_the_application_inside_a_record_is_its_own_affair(recorder):
    """The application's span outlives the record's: nothing ended is current after both."""
    consumer = consumer_of(recorder, *(record(at, headers=[]) for at in range(3)))
    next(consumer)
    with ambient_of(recorder, "job") as job:
        next(consumer)
    job = job.get_span_context().span_id
    next(consumer)
    consumer.close()
    assert not current().is_valid
    first, second, third = recorder.named("process t")
    assert (first.parent, second.parent.span_id, third.parent) == (None, job, None)


@pytest.mark.parametrize("way", ["iterator", "generator"])
def test_loop_that_is_left_elsewhere_leaves_nothing_behind(recorder, way):
    """An iterator or generator that is dropped after the span around it has ended."""
    consumer = consumer_of(recorder, record(0), record(1))
    with ambient_of(recorder):
        loop = iter(consumer) if way == "iterator" else (each for each in consumer)
        next(loop)
    del loop
    assert not current().is_valid


def test_handler_gets_whatever_it_is_called_with(recorder):
    """A tuple with a record among other things, an argument that raises when it is looked at: no concern of ours."""

    class Lazy:
        def __getattr__(self, name):
            raise RuntimeError("outside of a request")

    handler = wrap_handler(lambda argument: argument, options_of(recorder))
    for argument in ((record(0), 3), [record(0), None], Lazy()):
        assert handler(argument) is argument
    assert recorder.spans == []


def test_generator_is_refused_before_it_is_emptied(recorder):
    """process_batch() of what can be walked through once only is a clear error."""
    records = (each for each in [record(0)])
    with pytest.raises(TypeError, match="give a list of records"):
        process_batch(records, options_of(recorder))
    assert len(list(records)) == 1


class BrokenHistograms(MeterProvider):
    """Histograms that raise when they are used."""

    def get_meter(self, *args, **kwargs):
        meter = super().get_meter(*args, **kwargs)
        create = meter.create_histogram

        def broken(*args, **kwargs):
            histogram = create(*args, **kwargs)
            histogram.record = lambda *_, **__: 1 / 0
            return histogram

        meter.create_histogram = broken
        return meter


def test_histogram_that_raises_costs_no_span(recorder, caplog):
    """The process span is current, ends and has its context, and so does the send's."""
    broken = {"meter_provider": BrokenHistograms(shutdown_on_exit=False)}
    for _ in consumer_of(recorder, record(0), **broken):
        assert current().is_valid
    with process_batch([record(0)], options_of(recorder, **broken)) as span:
        assert current() == span.get_span_context()
    producer_of(recorder, FakeProducer(), **broken).send("t", b"v").acknowledge()
    assert [span.name for span in recorder.spans] == ["process t", "process t", "send t"]
    assert "ZeroDivisionError" in caplog.text


def test_hand_overs_are_noted_while_others_look_them_up():
    """Records are processed in threads while their consumer polls."""
    history, failures = WaitHistory(0), []
    done = threading.Event()

    def look():
        while not done.is_set():
            try:
                history.handover_of(record(10**9))
            except RuntimeError as error:
                failures.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for at in range(60_000):
            history.note_handover("t", 0, at, at, Handover(at * 2_000_000, None))
    finally:
        done.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    assert failures == []


def test_chain_of_tasks_does_not_grow(recorder):
    """Tasks that each take a record and start the next: no span of an earlier one is kept."""
    consumer = consumer_of(recorder, *(record(at) for at in range(400)))

    def count():
        gc.collect()
        return sum(isinstance(each, OpenSpan) for each in gc.get_objects())

    before, kept = count(), []

    async def work(left):
        next(consumer)
        if left:
            return asyncio.get_running_loop().create_task(work(left - 1))
        kept.append(count() - before)
        return None

    async def main():
        task = asyncio.create_task(work(300))
        while task is not None:
            task = await task

    asyncio.run(main())
    consumer.close()
    assert kept[0] < 5


def test_carrier_with_headers_that_cannot_be_sent_is_contained(recorder, caplog):
    """What send() would refuse is not given to it: the record goes out as the caller gave it."""

    class Tuples(HeaderCarrier):
        headers = property(lambda self: tuple(self._headers))

    bare = FakeProducer()
    producer_of(recorder, bare, carrier=Tuples).send("t", b"v", headers=[("x", b"y")])
    assert bare.headers == [[("x", b"y")]]
    assert "must be a list" in caplog.text


def test_decorated_method_that_is_wrapped_again_is_one_layer(recorder):
    """A bound handler is recognized."""
    options = options_of(recorder)

    class Service:
        @wrap_handler(options=options)
        def handle(self, records):
            return len(records)

    assert wrap_handler(Service().handle, options)([record(0), record(1)]) == 2
    assert len(recorder.spans) == 1


def test_handler_of_the_batch_that_is_open_adds_no_span(recorder):
    """A list handler inside process_batch() of the same list records its exception on the open span."""
    options, records = options_of(recorder), [record(0), record(1)]
    handler = wrap_handler(lambda _: 1 / 0, options)
    with pytest.raises(ZeroDivisionError), process_batch(records, options):
        handler(records)
    (span,) = recorder.spans
    assert span.attributes["error.type"] == "ZeroDivisionError"
    assert len(span.events) == 1


def test_subclass_of_a_list_goes_through_untouched(recorder):
    """What one release refuses as headers is not made acceptable by us."""

    class Own(list):
        pass

    bare, own = FakeProducer(), Own([("x", b"y")])
    producer_of(recorder, bare).send("t", b"v", headers=own)
    assert bare.headers[0] is own


def test_empty_list_among_others_costs_nothing(recorder):
    """poll() of a fake with an empty list: the other lists are dispatched."""

    class WithEmpty(FakeConsumer):
        def poll(self):
            return {TopicPartition("t", 1): [], **super().poll()}

    consumer = wrap_consumer(WithEmpty(record(0)), options_of(recorder))
    assert [each.offset for records in consumer.poll().values() for each in records] == [0]
    assert len(recorder.spans) == 1


def test_record_that_is_too_large_by_itself_was_not_sent_without_context(recorder):
    """Refused with and without our header: the span says that it failed, and no more."""

    class TooLarge(FakeProducer):
        def send(self, *args, **kwargs):
            from kafka.errors import MessageSizeTooLargeError

            raise MessageSizeTooLargeError

    from kafka.errors import MessageSizeTooLargeError

    with pytest.raises(MessageSizeTooLargeError):
        producer_of(recorder, TooLarge()).send("t", b"v")
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


def test_function_of_a_topic_that_failed_is_asked_again(recorder):
    """A failure is not what the options say of the topic."""
    answers = [OSError(), False]

    def trace_topic(_):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    producer = producer_of(recorder, FakeProducer(), trace_topic=trace_topic, max_in_flight=0)
    for _ in range(3):
        producer.send("t", b"v")
    assert len(recorder.spans) == 1


def test_link_that_max_links_leaves_out_is_told(recorder):
    """max_links=0: the span says how many were left out, and they are counted."""
    metrics = MetricRecorder()
    options = {"max_links": 0, "relation": "link", "meter_provider": metrics.meter_provider}
    list(consumer_of(recorder, record(0), **options))
    (span,) = recorder.spans
    assert kinds(span) == []
    assert span.attributes["otelkafka.links.dropped"] == 1
    assert metrics.points("otelkafka.telemetry.dropped") == [({"otelkafka.drop.reason": "links"}, 1)]


def test_malformed_header_costs_only_the_headers(recorder):
    """capture_headers of what is no header: everything else is told."""
    list(consumer_of(recorder, record(0, headers=["junk"]), capture_headers=["x"]))
    assert recorder.spans[0].attributes["messaging.kafka.offset"] == 0
    assert "otelkafka.queue.duration" in recorder.spans[0].attributes


def test_assignments_are_not_compared_where_a_listener_tells(recorder):
    """A consumer that subscribes after it was wrapped has our listener."""

    class Counting(FakeConsumer):
        asked = 0

        def subscribe(self, topics=(), pattern=None, listener=None):
            pass

        def assignment(self):
            self.asked += 1
            return super().assignment()

    bare = Counting(record(0), record(1))
    consumer = wrap_consumer(bare, ConsumerOptions(tracer_provider=recorder.tracer_provider))
    consumer.subscribe(["t"])
    list(consumer)
    assert engine_of(consumer).history.told
    assert bare.asked == 0
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert wrap_producer(FakeProducer(), ProducerOptions()) is not None


def _count(*kinds):
    gc.collect()
    return sum(type(each) in kinds for each in gc.get_objects())


def test_two_consumers_in_turn_grow_nothing_and_leave_nothing(recorder):
    """`zip(a, b)`: each ends its span inside the other's, and the iterators are dropped in the order that opened them."""
    one, other = (consumer_of(recorder, *map(record, range(300))) for _ in range(2))
    before = _count(OpenSpan, Attached)
    for mine, _ in zip(one, other, strict=True):
        if mine.offset == 200:
            assert _count(OpenSpan, Attached) - before < 10
            break
    assert not current().is_valid
    assert len(recorder.spans) == 402


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
    assert not current().is_valid
    assert len(recorder.spans) == 3


def test_chain_of_tasks_that_overlap_does_not_grow(recorder):
    """Tasks that each start the next inside their own span: nothing of those that are over is kept."""
    consumer, before, kept = consumer_of(recorder, process="manual"), _count(OpenSpan, Attached), []

    async def work(left):
        with process_of(consumer, record(left)):
            following = asyncio.create_task(work(left - 1)) if left else None
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        kept.append(_count(OpenSpan, Attached) - before if left % 50 == 0 else 0)
        return following

    async def main():
        task = asyncio.create_task(work(200))
        while task is not None:
            task = await task

    asyncio.run(main())
    assert max(kept) < 20


@pytest.mark.parametrize("style", ["iterate", "poll"])
def test_loop_that_is_left_after_its_consumer_was_closed_elsewhere_leaves_nothing_behind(recorder, style):
    """close() in another thread ends the span; leaving the loop restores the context of this one."""
    consumer = consumer_of(recorder, record(0), record(1))
    for _ in consumer if style == "iterate" else next(iter(consumer.poll().values())):
        closing = threading.Thread(target=consumer.close)
        closing.start()
        closing.join()
        break
    assert not current().is_valid
    assert len(recorder.spans) == 1


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
    assert not engine_of(inner).processing.in_process.works


@pytest.mark.parametrize("style", ["iterate", "process"])
def test_clock_that_is_set_back_makes_no_negative_duration(recorder, metrics, clock, caplog, style):
    """A span does not end before it starts; its duration counts, as nothing."""
    providers = {"meter_provider": metrics.meter_provider}
    bare = FakeProducer()
    producer_of(recorder, bare, **providers).send("t", b"v")
    clock.advance(-10)
    bare.futures[0].acknowledge()
    consumer = consumer_of(recorder, record(0), **providers)
    if style == "iterate":
        for _ in consumer:
            clock.advance(-10)
    else:
        with process_of(consumer, record(0)):
            clock.advance(-10)
    assert [span.end_time - span.start_time for span in recorder.spans] == [0, 0]
    assert metrics.points("messaging.client.operation.duration")
    assert metrics.points("messaging.process.duration")
    assert not caplog.text


def test_wait_adds_up_after_the_clock_was_set_back():
    """Handed over at a time that is yet to come: what lies beyond the start is no part of the wait."""
    second = 10**9
    history = WaitHistory(0)
    history.note_fetch(80 * second, 100 * second)
    wait = wait_of(record(0, timestamp=88_000), 90 * second, 100 * second, history)
    assert (wait.queue, wait.busy, wait.fetch) == (2 * second, 0, 2 * second)


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


def test_client_that_cannot_be_traced_raises_its_own_error_and_leaves_nothing():
    """No engine for a client of a patched class: its error has no other as its context, and nothing piles up."""

    class Refusing:
        def send(self):
            raise KeyError

    patch = Patch(Refusing, ["send"], lambda _: 1 / 0)
    patch.apply()
    client = Refusing()
    for _ in range(3):
        with pytest.raises(KeyError) as caught:
            client.send()
        assert caught.value.__context__ is None
    assert weakref.getweakrefcount(client) == 0


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


def test_commit_inside_of_a_listener_is_traced(recorder):
    """Releases before 3.0 call the listener inside poll(), in the same thread."""

    class Listener(ConsumerRebalanceListener):
        def on_partitions_assigned(self, assigned):
            pass

        def on_partitions_revoked(self, revoked):
            consumer.commit()

    class Revoking(FakeConsumer):
        def poll(self):
            self.listener.on_partitions_revoked(self.assignment())
            return super().poll()

        def commit(self, offsets=None):
            pass

    consumer = wrap_consumer(Revoking(), options_of(recorder))
    consumer.subscribe(["t"], listener=Listener())
    consumer.poll()
    assert [span.name for span in recorder.spans] == ["commit t", "revoke t"]
