"""Where a record's wait went."""

import sys
import threading

import pytest
from kafka import TopicPartition
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import INVALID_SPAN

from otelkafka import process_batch
from otelkafka.testing import SpanRecorder
from tests.support.face import bare_of, process_batch_of, process_of, wrap_consumer
from tests.support.fakes import (
    FakeConsumer,
    attended_since,
    consumer_of,
    kinds,
    options_of,
    record,
    traceparent,
    write,
)
from tests.support.internals import Destination, Handover, Processed, WaitHistory
from tests.support.memory import largest_within
from tests.support.sides import Side, late


def test_clock_skew_and_headers_and_hashed_keys(recorder, clock):
    """A timestamp in the future is clamped and marked; headers and keys are recorded as the options ask."""
    future = record(0, timestamp=clock.now // 1_000_000 + 60_000, key=b"k", headers=[("x-a", b"1"), ("y", b"2")])
    list(consumer_of(recorder, future, capture_headers=["x-*"], capture_key=lambda key: f"#{key.decode()}"))
    shown = recorder.spans[0].attributes
    assert shown["otelkafka.queue.clock_skew"] is True
    assert shown["otelkafka.queue.duration"] == 0
    assert shown["messaging.kafka.message.key"] == "#k"
    assert shown["messaging.header.x-a"] == ("1",)
    assert "messaging.header.y" not in shown


def test_wait_adds_up_and_a_link_leads_to_what_kept_the_consumer_busy(recorder, clock):
    """before + busy + fetch = queue.duration; a record older than its consumer has the rest before."""
    old = clock.now // 1_000_000
    clock.advance(60)
    consumer = consumer_of(recorder)
    write(consumer, record(0, timestamp=old), record(1, timestamp=old))
    for _ in consumer:
        clock.advance(0.02)
    first, second = (span.attributes for span in recorder.spans)
    assert (first["otelkafka.queue.duration"], first["otelkafka.queue.busy_duration"]) == (60, 0)
    assert (second["otelkafka.queue.duration"], second["otelkafka.queue.busy_duration"]) == (60.02, 0.02)
    assert first["otelkafka.queue.fetch_duration"] == second["otelkafka.queue.fetch_duration"] == 0
    assert [kinds(span) for span in recorder.spans] == [[], ["busy"]]
    shown = recorder.spans[1].links[0].attributes
    assert (shown["messaging.destination.name"], shown["messaging.kafka.offset"]) == ("t", 0)
    assert shown["otelkafka.process.duration"] == 0.02
    assert second["otelkafka.consumer.lag"] == 8


def test_busy_link_leads_to_what_was_not_sampled_too(clock):
    """The link carries the culprit's position although nothing of it was recorded."""
    recorder = SpanRecorder(ParentBased(ALWAYS_OFF))
    consumer = consumer_of(recorder)
    write(consumer, record(0, headers=[traceparent(0, sampled=False)]), record(1))
    for _ in consumer:
        clock.advance(0.01)
    (span,) = recorder.spans
    (link,) = span.links
    assert link.attributes["messaging.kafka.offset"] == 0


def test_history_is_bounded_and_answers_coarsely_what_is_long_past():
    """Marks are thinned out and hand-overs forgotten; the total never is."""
    history = WaitHistory(0)
    step = 2_000_000
    for at in range(1, 10_001):
        history.note_fetch(at * step, at * step + step // 2)
        history.note_handover("t", 0, at, at, Handover(at * step, None))
    end = 10_001 * step
    assert largest_within(history) <= 4097
    assert history.fetched(0, end) == 10_000 * step // 2
    assert history.fetched(end - 100 * step, end) == pytest.approx(50 * step, rel=0.05)
    assert history.fetched(0, end // 2) == pytest.approx(end // 4, rel=0.01)
    assert history.fetched(-5, 0) == history.fetched(5, 5) == 0
    assert history.handover_of(record(10_000)).time == 10_000 * step
    assert history.handover_of(record(1)) is None


def test_history_counts_the_fetch_that_lasts():
    """A clock that went back counts nothing, and hand-overs close together are one."""
    history = WaitHistory(0)
    history.note_fetch(6_000_000, 5_000_000)
    assert history.fetched(0, 5_000_000) == 0
    history.note_handover("t", 0, 1, 1, Handover(10, None))
    history.note_handover("t", 0, 2, 2, Handover(20, None))
    assert history.handover_of(record(2)) == history.handover_of(record(1))


def test_batch_has_the_longest_wait_and_each_link_its_own(recorder, clock):
    """What differs from record to record is on its link; the longest wait is on the span."""
    now = clock.now // 1_000_000
    records = [record(at, headers=[traceparent(at)], timestamp=now - age) for at, age in enumerate((2000, 9000, 1000))]
    with process_batch(records, options_of(recorder)):
        pass
    (span,) = recorder.spans
    waits = [link.attributes["otelkafka.queue.duration"] for link in span.links]
    assert waits == [2, 9, 1]
    assert span.attributes["otelkafka.queue.duration"] == 9


class SlowConsumer(FakeConsumer):
    """Fetches for so many seconds whenever it polls."""

    def __init__(self, clock, seconds):
        super().__init__()
        self._clock, self._seconds = clock, seconds

    def poll(self):
        self._clock.advance(self._seconds)
        return super().poll()


@pytest.mark.parametrize(("room", "expected"), [(0, []), (1, ["busy"]), (2, ["busy", "creation"])])
def test_busy_links_count_among_the_links_of_a_batch(recorder, clock, room, expected):
    """They come first, within max_links."""
    consumer = consumer_of(recorder, record(0), record(1), max_links=room, process="manual")
    with process_of(consumer, next(consumer)):
        clock.advance(0.005)
    with process_batch_of(consumer, [next(consumer), record(2)]):
        pass
    assert kinds(recorder.spans[1]) == expected


@pytest.mark.parametrize(("nanoseconds", "named"), [(999_999, False), (1_000_000, True)])
def test_link_is_made_for_a_millisecond_or_more(recorder, clock, nanoseconds, named):
    """A consumer that was busy for a moment is not worth a link."""
    consumer = consumer_of(recorder, process="manual")
    with process_of(consumer, record(3)):
        clock.now += nanoseconds
    with process_of(consumer, record(4, timestamp=0)):
        pass
    _, second = recorder.spans
    assert second.attributes["otelkafka.queue.busy_duration"] == nanoseconds / 1e9
    assert kinds(second) == ["busy"] * named
    for link in second.links:
        assert link.attributes["messaging.kafka.offset"] == 3
        assert link.attributes["otelkafka.process.duration"] == nanoseconds / 1e9
    assert second.attributes["otelkafka.queue.busy_count"] == 1


def busy_offsets(span):
    kept = [link for link in span.links if link.attributes["otelkafka.link.type"] == "busy"]
    return [link.attributes["messaging.kafka.offset"] for link in kept]


def test_three_that_took_longest_are_linked_the_longest_first(recorder, clock):
    """And all are counted, those of less than a millisecond, too."""
    took = [0.002, 0.009, 0.0001, 0.005, 0.0001, 0.003]
    consumer = consumer_of(recorder)
    write(consumer, *(record(at) for at in range(len(took))), record(9, timestamp=clock.now // 1_000_000))
    for each in consumer:
        clock.advance(took[each.offset] if each.offset < len(took) else 0)
    last = recorder.spans[-1]
    assert busy_offsets(last) == [1, 3, 5]
    assert last.attributes["otelkafka.queue.busy_count"] == len(took)


def test_what_ended_before_a_record_was_there_is_not_linked(recorder, clock):
    """What goes on in part counts by that part: an idle consumer is busy with nothing."""
    consumer = consumer_of(recorder)
    for offset in (0, 1):
        with process_of(consumer, record(offset)):
            clock.advance(0.05)
    clock.advance(2)
    created = clock.now // 1_000_000
    clock.advance(0.005)
    with process_of(consumer, record(2, timestamp=created)):
        pass
    last = recorder.spans[-1]
    assert busy_offsets(last) == []
    assert last.attributes["otelkafka.queue.busy_count"] == 0


def test_fetch_inside_of_what_was_processed_is_not_what_kept_the_consumer_busy():
    """A body that polls once more fetches meanwhile."""
    history, step = WaitHistory(0), 1_000_000
    history.note_fetch(step, 6 * step)
    polled = Processed(0, 8 * step, INVALID_SPAN, Destination("t", None), 0, 0, None)
    history.note_processed(polled)
    history.note_processed(polled._replace(start=8 * step, end=12 * step, offset=1))
    assert [each.offset for each in history.slowest(0, 12 * step)] == [1, 0]
    assert [each.offset for each in history.slowest(0, 10 * step)] == [0, 1]


def test_record_between_others_is_named_however_many_follow(recorder, clock):
    """The slowest are remembered, and how many there are is bounded."""
    consumer = consumer_of(recorder, process="manual")
    for offset in range(1000):
        with process_of(consumer, record(offset)):
            clock.advance(0.5 if offset == 3 else 0.002 + offset / 1e6)
    with process_of(consumer, record(2000, timestamp=0)):
        pass
    last = recorder.spans[-1]
    assert busy_offsets(last) == [3, 999, 998]
    assert last.attributes["otelkafka.queue.busy_count"] == 1000


@pytest.mark.parametrize("way", ["iterated", "polled"])
def test_those_of_which_nothing_is_recorded_count_as_busy(clock, way):
    """Many fast ones, not sampled: who was written while they were processed waited for those after that alone."""
    recorder = SpanRecorder(ParentBased(ALWAYS_ON))
    consumer, written = consumer_of(recorder), clock.now // 1_000_000
    fast = [record(at, headers=[traceparent(at, sampled=False)]) for at in range(100)]
    write(consumer, *fast, record(100, timestamp=written + 30))
    for records in [consumer] if way == "iterated" else consumer.poll().values():
        for _ in records:
            clock.advance(0.0005)
    (last,) = recorder.spans
    assert last.attributes["otelkafka.queue.busy_duration"] == 0.02
    assert last.attributes["otelkafka.queue.busy_count"] == 40


def test_batch_is_linked_with_its_count(recorder, clock):
    """A batch has no offset, and counts as its records."""
    consumer = consumer_of(recorder, process="manual")
    with process_batch_of(consumer, [record(0), record(1)]):
        clock.advance(0.01)
    with process_of(consumer, record(2, timestamp=0)):
        pass
    last = recorder.spans[-1]
    (link,) = last.links
    assert (link.attributes["messaging.batch.message_count"], last.attributes["otelkafka.queue.busy_count"]) == (2, 2)


def test_revoked_partition_is_forgotten(recorder, clock):
    """Another turn of it starts again; of the last turn's records, which may still be in process, the wait is known."""
    consumer, wrapped = wrap_consumer(FakeConsumer(), options_of(recorder)), clock.now
    consumer.subscribe(["t"])
    listener = bare_of(consumer).listener
    for leave in (listener.on_partitions_revoked, listener.on_partitions_lost):
        clock.advance(10)
        listener.on_partitions_assigned([TopicPartition("t", 0)])
        assigned = clock.now
        clock.advance(10)
        assert attended_since(recorder, consumer) == assigned
        clock.advance(10)
        leave([TopicPartition("t", 0)])
        assert attended_since(recorder, consumer) == assigned
    listener.on_partitions_assigned([TopicPartition("t", 1)])
    leave([TopicPartition("t", 1)])
    assert attended_since(recorder, consumer) == wrapped


def test_time_between_hand_over_and_start_is_busy(recorder, clock):
    """From its hand-over to the start of its span a record waits for its consumer's code, also while that polls."""
    consumer = consumer_of(recorder, record(0), process="manual")
    one = next(consumer)
    bare_of(consumer).poll = lambda: clock.advance(0.02)
    consumer.poll()
    with process_of(consumer, one):
        pass
    shown = recorder.spans[0].attributes
    assert (shown["otelkafka.queue.busy_duration"], shown["otelkafka.queue.fetch_duration"]) == (0.02, 0)


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


def test_wait_adds_up_after_the_clock_was_set_back(recorder, clock):
    """Handed over at a time that is yet to come: what lies beyond the start is no part of the wait."""
    bare = SlowConsumer(clock, 20)
    consumer = wrap_consumer(bare, options_of(recorder, process="manual"))
    clock.advance(80)
    one = record(0, timestamp=clock.now // 1_000_000 + 8000)
    write(consumer, one)
    consumer.poll()
    clock.advance(-10)
    with process_of(consumer, one):
        pass
    shown = recorder.spans[0].attributes
    parts = "otelkafka.queue.duration", "otelkafka.queue.busy_duration", "otelkafka.queue.fetch_duration"
    assert [shown[part] for part in parts] == [2, 0, 2]


def test_consumer_is_busy_also_after_the_clock_was_set_back(recorder, clock, metrics):
    """What it does from then on is noted at once, and not only when the clock has come to where it was."""
    consumer = consumer_of(recorder, record(0), meter_provider=metrics.meter_provider)
    for _ in consumer:
        clock.advance(5)
    clock.advance(-3600)
    old = clock.now // 1_000_000
    write(consumer, *(record(at, timestamp=old) for at in (1, 2)))
    for _ in consumer:
        clock.advance(2)
    waits = [span.attributes["otelkafka.queue.busy_duration"] for span in recorder.spans]
    assert waits[1:] == [0, 2]
    (busy,) = [
        value
        for shown, value in metrics.points("otelkafka.consumer.time")
        if shown["otelkafka.consumer.state"] == "busy"
    ]
    assert busy == 9


def test_lag_of_a_record_that_was_put_aside_is_its_own_or_none():
    """What is known of the one handed over last is not true of those before it."""
    side = Side(SpanRecorder(ALWAYS_ON))
    consumer = side.consumer(*[late(at, headers=[traceparent(at)]) for at in range(6)])
    first, *_ = list(consumer)
    side.spans.clear()
    with process_of(consumer, first):
        pass
    (span,) = side.spans.spans
    assert span.attributes.get("otelkafka.consumer.lag") in {None, 9}


def test_lag_of_a_record_from_elsewhere_is_its_own_or_none():
    """An offset that was handed over long ago, or beyond what the client knows."""
    side = Side(SpanRecorder(ALWAYS_ON))
    consumer = side.consumer(late(5, headers=[traceparent(5)]))
    list(consumer)
    side.spans.clear()
    with process_of(consumer, late(700, headers=[traceparent(7)])):
        pass
    (span,) = side.spans.spans
    assert span.attributes.get("otelkafka.consumer.lag") in {None, 0}
