"""Records that are iterated, or polled in lists."""

import asyncio
import contextvars
import copy
import pickle
import threading

import pytest
from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.errors import KafkaConnectionError
from opentelemetry.trace import StatusCode

from otelkafka import ConsumerOptions
from tests.support.face import bare_of, wrap_consumer
from tests.support.fakes import (
    SPAN_ID,
    TRACE_ID,
    FakeConsumer,
    ambient_of,
    consumer_of,
    current,
    is_nothing_current,
    kinds,
    options_of,
    record,
    write,
)


@pytest.mark.parametrize("style", ["next", "poll"])
def test_failed_poll_is_recorded_and_goes_on(recorder, style):
    """A poll() or an iteration that raises has an error span, passes the error, and works when asked again."""
    error = KafkaConnectionError("gone")
    consumer = consumer_of(recorder, record(0))
    bare_of(consumer).error_next(error)
    with pytest.raises(KafkaConnectionError) as raised:
        next(consumer) if style == "next" else consumer.poll()
    assert raised.value is error
    (span,) = recorder.spans
    assert (span.name, span.attributes["error.type"]) == ("poll t", "KafkaConnectionError")


def test_iterator_goes_on_after_an_error_and_after_its_end(recorder):
    """The iterator survives Kafka's errors and a StopIteration, as the client does."""
    consumer = consumer_of(recorder, record(0), record(1))
    records = iter(consumer)
    assert next(records).offset == 0
    bare_of(consumer).error_next(KafkaConnectionError("gone"))
    with pytest.raises(KafkaConnectionError):
        next(records)
    assert next(records).offset == 1
    with pytest.raises(StopIteration):
        next(records)
    write(consumer, record(2))
    assert next(records).offset == 2
    consumer.close()


@pytest.mark.parametrize("leave", ["break", "raise", "exhaust"])
@pytest.mark.parametrize("style", ["iterate", "poll"])
def test_leaving_the_loop_ends_the_span_and_restores_the_context(recorder, leave, style):
    """However the loop is left, the span has ended and nothing is current any more."""
    consumer = consumer_of(recorder, record(0))
    records = consumer if style == "iterate" else consumer.poll()[TopicPartition("t", 0)]

    def loop():
        for _ in records:
            assert not is_nothing_current()
            if leave == "break":
                break
            if leave == "raise":
                raise ValueError

    if leave == "raise":
        with pytest.raises(ValueError):
            loop()
    else:
        loop()
    assert is_nothing_current()
    (span,) = recorder.spans
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes["messaging.kafka.message.tombstone"] is True


def test_iterator_dropped_in_another_thread_ends_its_span_silently(recorder, caplog):
    """Dropped elsewhere, the span ends there without a detach; the next record here restores the context first."""
    consumer = consumer_of(recorder, record(0), record(1))
    held = [iter(consumer)]
    next(held[0])
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert [span.attributes["messaging.kafka.offset"] for span in recorder.spans] == [0]
    assert caplog.records == []
    next(consumer)
    consumer.close()
    assert is_nothing_current()
    # Nothing of the dropped span is ambient to the next; that it kept the consumer busy may well be recorded.
    assert "ambient" not in [link.attributes["otelkafka.link.type"] for link in recorder.spans[1].links]


def test_polled_list_is_a_plain_list_where_it_is_copied(recorder):
    """Copies and pickles are plain lists, and only the first iteration dispatches."""
    polled = consumer_of(recorder, record(0)).poll()[TopicPartition("t", 0)]
    assert type(copy.copy(polled)) is type(pickle.loads(pickle.dumps(polled))) is list
    assert recorder.spans == []
    assert len(list(polled)) == len(list(polled)) == 1
    assert len(recorder.spans) == 1


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


def test_record_without_context_is_the_ambient_spans_child_or_a_root(recorder):
    """In every relation: without a valid context in the record, child of the ambient span, else a root."""
    for relation in ("parent", "link", "both"):
        recorder.clear()
        list(consumer_of(recorder, record(0, headers=[]), relation=relation))
        with ambient_of(recorder) as ambient:
            list(consumer_of(recorder, record(0, headers=[]), relation=relation))
        root, child, _ = recorder.spans
        assert root.parent is None
        assert child.parent.span_id == ambient.get_span_context().span_id
        assert root.links == child.links == ()


@pytest.mark.parametrize("max_links", [128, 1, 0])
def test_record_of_both_relations_is_the_sends_child_and_links_to_it(recorder, max_links):
    """The send is its parent, and its first link; the second is the span around, as with the parent alone."""
    list(consumer_of(recorder, record(0), relation="both", max_links=max_links))
    with ambient_of(recorder):
        list(consumer_of(recorder, record(0), relation="both", max_links=max_links))
    alone, inside, _ = recorder.spans
    for span, wanted in ((alone, ["creation"]), (inside, ["creation", "ambient"])):
        assert f"{span.context.trace_id:032x} {span.parent.span_id:016x}" == f"{TRACE_ID} {SPAN_ID}"
        assert kinds(span) == wanted[:max_links]
        assert all(f"{link.context.span_id:016x}" == SPAN_ID for link in span.links[:1])
        assert span.attributes.get("otelkafka.links.dropped", 0) == len(wanted) - len(span.links)


def test_next_leaves_its_span_current_until_the_next_call(recorder):
    """next(): until the next call or close(); it works again after a StopIteration."""
    consumer = consumer_of(recorder, record(0))
    next(consumer)
    assert current().is_valid
    with pytest.raises(StopIteration):
        next(consumer)
    assert not current().is_valid
    write(consumer, record(1))
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


def test_iterator_that_ends_in_a_copied_context_logs_nothing(recorder, caplog):
    """Attached in one contextvars.Context, ended in a copy of it: no detach is tried there, nothing is logged."""
    consumer = consumer_of(recorder, record(0), record(1))
    next(consumer)
    contextvars.copy_context().run(next, consumer)
    consumer.close()
    assert not current().is_valid
    assert len(recorder.spans) == 2
    assert caplog.records == []


def test_untraced_topic_is_consumed_with_the_records_context(recorder):
    """trace_topic False: no span; the record's context is current in the body."""
    for _ in consumer_of(recorder, record(0), trace_topic=lambda _: False):
        assert f"{current().trace_id:032x}" == TRACE_ID
    assert recorder.spans == []
    assert not current().is_valid


def test_hook_of_the_consumer_sees_span_and_record(recorder):
    """on_process is called with the span and the record; what it raises is contained."""
    heard = []
    hook = lambda span, each: heard.append((span.is_recording(), each))
    (one,) = consumer_of(recorder, record(0), on_process=hook)
    list(consumer_of(recorder, record(1), on_process=lambda *_: 1 / 0))
    assert heard[0][0] is True
    assert heard[0][1] is one
    assert len(recorder.spans) == 2


def test_listener_of_the_user_is_called_and_may_raise(recorder):
    """Ours calls the user's listener, and lets its exceptions through; without one ours stands alone."""

    class Listener(ConsumerRebalanceListener):
        def on_partitions_assigned(self, assigned):
            raise ValueError("mine")

        def on_partitions_revoked(self, revoked):
            return list(revoked)

        def on_partitions_lost(self, lost):
            return list(lost)

    consumer = wrap_consumer(FakeConsumer(), options_of(recorder))
    partitions = [TopicPartition("t", 0)]
    for subscribe in (
        lambda: consumer.subscribe(["t"], listener=Listener()),
        lambda: consumer.subscribe(["t"], None, Listener()),
    ):
        subscribe()
        ours = bare_of(consumer).listener
        with pytest.raises(ValueError, match="mine"):
            ours.on_partitions_assigned(partitions)
        assert ours.on_partitions_revoked(partitions) == ours.on_partitions_lost(partitions) == partitions
    consumer.subscribe(["t"])
    alone = bare_of(consumer).listener
    assert isinstance(alone, ConsumerRebalanceListener)
    assert alone.on_partitions_assigned(partitions) is None
    junk = object()
    consumer.subscribe(["t"], listener=junk)
    assert bare_of(consumer).listener is junk


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

    consumer = wrap_consumer(FakeConsumer(), options_of(recorder))
    consumer.subscribe(["t"], listener=Listener())
    ours, partitions = bare_of(consumer).listener, [TopicPartition("t", 0)]

    async def rebalance():
        await ours.on_partitions_assigned(partitions)
        await ours.on_partitions_revoked(partitions)
        await ours.on_partitions_lost(partitions)

    asyncio.run(rebalance())
    assert heard == [partitions] * 3


def test_poll_span_leaves_out_topics_that_are_not_traced(recorder):
    """A poll of topics left out by trace_topic has no span; of others with them, one that speaks of the others."""
    options = {"poll_spans": True, "process": "manual", "trace_topic": lambda topic: topic != "u"}
    consumer = consumer_of(recorder, record(0, topic="u"), **options)
    consumer.poll()
    assert recorder.spans == []
    write(consumer, record(1, topic="u"), record(1))
    bare_of(consumer).assign([TopicPartition("t", 0), TopicPartition("u", 0)])
    consumer.poll()
    (span,) = recorder.spans
    assert (span.name, span.attributes["messaging.batch.message_count"]) == ("poll t", 1)


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
    """A span that is ended from two places, close() and the end of the iterator, ends once."""
    consumer = consumer_of(recorder, record(0))
    iterator = iter(consumer)
    next(iterator)
    consumer.close()
    del iterator
    assert len(recorder.spans) == 1
    assert caplog.records == []


def test_empty_list_among_others_costs_nothing(recorder):
    """poll() of a fake with an empty list: the other lists are dispatched."""

    class WithEmpty(FakeConsumer):
        def poll(self):
            return {TopicPartition("t", 1): [], **super().poll()}

    consumer = wrap_consumer(WithEmpty(record(0)), options_of(recorder))
    assert [each.offset for records in consumer.poll().values() for each in records] == [0]
    assert len(recorder.spans) == 1


def test_iterator_keeps_the_consumer_alive(recorder, metrics):
    """Also where the client's own iterator does not hold it: the lag is known to the last record."""

    class Listed:
        def __init__(self, *records):
            self.records = records

        def poll(self):
            return {}

        def __iter__(self):
            return iter(self.records)

        def highwater(self, _):
            return 10

    providers = {"tracer_provider": recorder.tracer_provider, "meter_provider": metrics.meter_provider}
    for each in wrap_consumer(Listed(record(0), record(1)), ConsumerOptions(**providers)):
        assert each.topic == "t"
    assert [span.attributes["otelkafka.consumer.lag"] for span in recorder.spans] == [9, 8]


def test_failed_poll_shows_what_is_assigned_no_more(metrics, clock):
    """A client whose listener cannot be seen: assignments are compared after each poll, also one that fails at once."""

    class Losing:
        assigned = {TopicPartition("t", 0)}

        def poll(self):
            if not self.assigned:
                raise OSError
            return {TopicPartition("t", 0): [record(0)]}

        def assignment(self):
            return self.assigned

        def highwater(self, _):
            return 5

    bare = Losing()
    consumer = wrap_consumer(bare, ConsumerOptions(meter_provider=metrics.meter_provider))
    clock.advance(1)
    consumer.poll()
    assert [lag for _, lag in metrics.points("otelkafka.consumer.lag")] == [4]
    bare.assigned = set()
    clock.advance(0.0005)
    with pytest.raises(OSError):
        consumer.poll()
    assert metrics.points("otelkafka.consumer.lag") == []
