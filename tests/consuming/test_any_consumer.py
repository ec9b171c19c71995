"""`process()`, `process_batch()` and handlers without a consumer at hand: they find the one that handed a record over."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from kafka import TopicPartition

from otelkafka import ConsumerOptions, process, process_batch, wrap_handler
from otelkafka.testing import MetricRecorder, SpanRecorder
from tests.support import fakes
from tests.support.face import INSTRUMENTED, bare_of, process_of, wrap_consumer
from tests.support.fakes import (
    FakeConsumer,
    Listener,
    ambient_of,
    consumer_of,
    kinds,
    options_of,
    traceparent,
    write,
)

TOPIC = "found"  # of these tests alone: another test may have left a consumer that lives
record = partial(fakes.record, topic=TOPIC)
GROUP, CLIENT = "messaging.consumer.group.name", "messaging.client.id"


def in_a_thread(work, *arguments):
    """Call something where no context of ours is."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(work, *arguments).result()


def process_it(one, options=None):
    with process(one, options):
        pass


@wrap_handler
def handle(one):
    """Take one record, or several."""


def process_list(records, options=None):
    with process_batch(records, options):
        pass


def of_group(name, *records, **config):
    return FakeConsumer(*records, group_id=name, client_id=f"of {name}", **config)


def iterated(consumer):
    return list(consumer)


def polled(consumer):
    """What poll() returned, as a pool gets it: each list has had its iteration."""
    return [each for listed in consumer.poll().values() for each in listed]


STYLES = {
    "iterated by hand": (iterated, "manual"),
    "iterated": (iterated, "auto"),
    "polled by hand": (polled, "manual"),
    "polled": (polled, "auto"),
    "polled, of which none is traced": (polled, "iterate"),
}


@pytest.mark.parametrize(("take", "mode"), STYLES.values(), ids=STYLES)
@pytest.mark.parametrize(
    "how", [process_it, handle, lambda one: process_list([one])], ids=["block", "handler", "batch"]
)
def test_thread_that_knows_no_consumer_finds_it(wrap, recorder, metrics, take, mode, how):
    """The span and its metric say group and client, as those of the consumer's own `process()` do."""
    consumer = wrap(FakeConsumer(record(0), record(1)), process=mode)
    one = take(consumer)[0]
    recorder.clear()
    in_a_thread(how, one)
    (span,) = recorder.spans
    assert (span.attributes[GROUP], span.attributes[CLIENT]) == ("g", "c")
    assert span.attributes["server.address"] == "host"
    assert {shown[GROUP] for shown, _ in metrics.points("messaging.process.duration")} == {"g"}
    assert {shown[GROUP] for shown, _ in metrics.points("otelkafka.queue.duration")} == {"g"}


@pytest.mark.parametrize("take", [iterated, polled])
def test_wait_and_lag_are_known_in_a_thread(recorder, clock, take):
    """As of the hand-over: what passes until the thread begins is busy, also while the consumer polls."""
    consumer = consumer_of(recorder, record(0), process="manual")
    clock.advance(1)
    one, *_ = take(consumer)
    bare_of(consumer).poll = lambda: clock.advance(2)
    consumer.poll()
    in_a_thread(process_it, one)
    shown = recorder.spans[-1].attributes
    assert shown["otelkafka.consumer.lag"] == 9
    busy, fetch = shown["otelkafka.queue.busy_duration"], shown["otelkafka.queue.fetch_duration"]
    assert (busy, fetch) == (2, 0)


def test_copy_of_a_record_has_its_consumer(recorder):
    """Its value may have been decoded before it was handed on."""
    consumer = consumer_of(recorder, record(0), process="manual")
    (one,) = consumer
    in_a_thread(process_it, one._replace(value="decoded"))
    assert recorder.spans[-1].attributes[GROUP] == "g"


@pytest.mark.parametrize(
    "other", [record(2), record(0, partition=1), record(0, topic="u")], ids=["offset", "partition", "topic"]
)
def test_record_that_no_consumer_handed_over_has_none(recorder, other):
    """It was not read yet, or elsewhere: nothing is said of a group."""
    consumer = consumer_of(recorder, record(0), record(1))
    assert len(list(consumer)) == 2
    recorder.clear()
    in_a_thread(process_it, other, options_of(recorder))
    assert GROUP not in recorder.spans[0].attributes


def test_record_of_long_ago_has_its_consumer(recorder, clock):
    """A pool may be far behind: what was handed over is known longer than when."""
    consumer = consumer_of(recorder, record(0), process="manual")
    first = next(consumer)
    for at in range(1, 2000):
        write(consumer, record(at))
        clock.advance(0.01)
        next(consumer)
    in_a_thread(process_it, first)
    assert recorder.spans[-1].attributes[GROUP] == "g"


@pytest.mark.parametrize("first", ["a", "b"])
def test_last_of_two_consumers_that_handed_a_record_over_has_it(recorder, clock, first):
    """Two groups read one topic: the one whose hand-over of this very record is the latest."""
    a, b = (wrap_consumer(of_group(name, record(0)), options_of(recorder, process="manual")) for name in "ab")
    for consumer in (a, b) if first == "a" else (b, a):
        clock.advance(1)
        (one,) = consumer
    in_a_thread(process_it, one)
    assert recorder.spans[-1].attributes[GROUP] == ("b" if first == "a" else "a")


def test_consumer_that_has_come_less_far_handed_an_iterated_record_over_last(recorder, clock):
    """No time is noted of an iterated record: of two groups, the one that has handed over fewer records since."""
    records = [record(at) for at in range(9)]
    ahead, behind = (wrap_consumer(of_group(name, *records), options_of(recorder)) for name in ("ahead", "behind"))
    list(ahead)
    one = next(iter(behind))
    recorder.clear()
    in_a_thread(process_it, one)
    in_a_thread(process_it, records[5])
    assert [span.attributes[GROUP] for span in recorder.spans] == ["behind", "ahead"]


def test_options_of_the_consumer_are_used(recorder):
    """Its providers, its relation: what its own process() would use."""
    consumer = consumer_of(recorder, record(0), process="manual", relation="both", capture_key=False)
    (one,) = consumer
    in_a_thread(process_it, one._replace(key=b"k"))
    (span,) = recorder.spans
    assert kinds(span) == ["creation"]
    assert "messaging.kafka.message.key" not in span.attributes


def test_options_that_are_given_win(recorder, clock):
    """Providers and all, with what is known of the consumer: its group, its client, the wait."""
    mine, metrics = SpanRecorder(), MetricRecorder()
    consumer = consumer_of(recorder, record(0), process="manual", capture_key=False)
    (one,) = consumer
    clock.advance(1)
    options = ConsumerOptions(tracer_provider=mine.tracer_provider, meter_provider=metrics.meter_provider)
    in_a_thread(process_it, one._replace(key=b"k"), options)
    in_a_thread(process_it, one, options)
    assert recorder.spans == []
    shown = mine.spans[0].attributes
    assert (shown[GROUP], shown["messaging.kafka.message.key"]) == ("g", "k")
    assert shown["otelkafka.queue.busy_duration"] == 1
    assert [shown[GROUP] for shown, _ in metrics.points("messaging.process.duration")] == ["g"]
    assert set(metrics.metrics).isdisjoint({"otelkafka.consumer.time", "otelkafka.consumer.lag"})


def test_batch_has_the_consumer_of_its_last_record(recorder):
    """A buffer may hold records of several."""
    first = consumer_of(recorder, record(0), process="manual")
    last = wrap_consumer(of_group("last", record(0, topic="u")), options_of(recorder, process="manual"))
    batch = [*first, *last]
    in_a_thread(process_list, batch)
    assert recorder.spans[-1].attributes[GROUP] == "last"


def test_record_whose_span_is_open_is_joined(recorder):
    """In the loop nothing is asked for: the block joins the open span."""
    for one in consumer_of(recorder, record(0), record(1)):
        if one.offset:
            handle(one)
        else:
            process_it(one)
    assert len(recorder.spans) == 2


def test_consumer_is_kept_by_nothing(recorder):
    """One that was dropped is collected at once, and its records have no consumer any more."""
    consumer = consumer_of(recorder, record(0), process="manual")
    (one,) = consumer
    in_a_thread(process_it, one)
    in_a_thread(process_it, one, options_of(recorder, relation="link"))
    gone = weakref.ref(bare_of(consumer))
    gc.disable()
    try:
        del consumer
        assert gone() is None
    finally:
        gc.enable()
    recorder.clear()
    in_a_thread(process_it, one, options_of(recorder))
    assert GROUP not in recorder.spans[0].attributes


@pytest.mark.skipif(INSTRUMENTED, reason="a patched client is not wrapped twice")
def test_consumer_that_was_wrapped_again_is_the_one_of_now(recorder):
    """Both share what was handed over; the newer options are used."""
    before = consumer_of(recorder, record(0), process="manual")
    now = wrap_consumer(before, options_of(recorder, process="manual", relation="link"))
    (one,) = before
    in_a_thread(process_it, one)
    assert kinds(recorder.spans[-1]) == ["creation"]
    assert now is not before


def test_listener_that_waits_for_a_pool_has_its_consumer(recorder, clock):
    """The wait of a revoked partition's records is known until the revocation after it, for they may be in process."""
    consumer = wrap_consumer(FakeConsumer(), options_of(recorder, process="manual", rebalance_spans=False))
    taken = []

    class Draining(Listener):
        def on_partitions_revoked(self, revoked):
            clock.advance(3)
            for one in taken:
                in_a_thread(process_it, one)

    bare_of(consumer).cluster.create_topic(TOPIC)
    consumer.subscribe([TOPIC], listener=Draining())
    write(consumer, record(0))
    taken += polled(consumer)
    listener = bare_of(consumer).listener
    listener.on_partitions_revoked([TopicPartition(TOPIC, 0)])
    shown = recorder.spans[-1].attributes
    assert (shown[GROUP], shown["otelkafka.queue.busy_duration"]) == ("g", 3)
    taken.clear()
    listener.on_partitions_assigned([TopicPartition(TOPIC, 1)])
    listener.on_partitions_revoked([TopicPartition(TOPIC, 1)])
    in_a_thread(process_it, record(0))
    shown = recorder.spans[-1].attributes
    assert (shown[GROUP], "otelkafka.consumer.lag" in shown) == ("g", False)


def test_what_kept_the_consumer_busy_is_its_own(recorder, clock):
    """What its pool processed before is what kept a record waiting."""
    consumer = consumer_of(recorder, *(record(at, headers=[traceparent(at)]) for at in range(2)), process="manual")
    records = list(consumer)
    clock.advance(0.01)

    def work():
        for one in records:
            with process(one):
                clock.advance(0.02)

    in_a_thread(work)
    assert kinds(recorder.spans[1]) == ["busy"]


def test_many_threads_find_their_consumer_while_it_goes_on(recorder):
    """Nothing is locked, and nothing fails, while consumers come and go."""
    consumer = consumer_of(recorder, *(record(at) for at in range(300)), process="manual")
    done = threading.Event()

    def come_and_go():
        while not done.is_set():
            list(consumer_of(recorder, record(0, topic="u"), process="manual"))

    coming = threading.Thread(target=come_and_go)
    coming.start()
    try:
        with ThreadPoolExecutor(4) as executor:
            list(executor.map(process_it, consumer))
    finally:
        done.set()
        coming.join()
    processed = recorder.named(f"process {TOPIC}")
    assert len(processed) == 300
    assert {span.attributes.get(GROUP) for span in processed} == {"g"}


def test_body_of_a_handler_is_recorded_where_its_consumer_is_known(recorder):
    """Joined or not, inside of a span or not, what it raises is on the one span of its record."""
    consumer = consumer_of(recorder, record(0), process="manual")
    (one,) = consumer

    @wrap_handler
    def failing(_):
        raise ValueError

    with ambient_of(recorder), pytest.raises(ValueError), process_of(consumer, one):
        failing(one)
    (span,) = recorder.named(f"process {TOPIC}")
    assert span.attributes["error.type"] == "ValueError"
