"""What a block around the processing holds: the span that it opens or joins ends with it, and by nothing else."""

import contextvars
import threading
from itertools import islice

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from otelkafka import wrap_handler
from tests.support.face import process_batch_of, process_of
from tests.support.fakes import consumer_of, current, is_nothing_current, options_of, record

WAYS = ("iterate", "poll", "manual")


def consumer_and_records(recorder, way, *records):
    """A consumer, and its records in the way that it hands them over."""
    consumer = consumer_of(recorder, *records, process="manual" if way == "manual" else "auto")
    return consumer, consumer if way == "iterate" else next(iter(consumer.poll().values()))


@pytest.mark.parametrize("call", ["poll", "commit", "close", "next"])
@pytest.mark.parametrize("way", WAYS)
def test_block_alone_ends_its_span(recorder, way, call):
    """A keep-alive poll() inside it, for example, which Kafka advises: it stays open and current, and has the exception."""
    consumer, records = consumer_and_records(recorder, way, record(0), record(1))
    calls = {"poll": consumer.poll, "commit": consumer.commit, "close": consumer.close, "next": lambda: next(consumer)}
    with pytest.raises(ValueError, match="lost"):
        for each in islice(records, 1):
            with process_of(consumer, each) as span:
                if call == "next" and way != "iterate":
                    consumer.poll(max_records=1)
                else:
                    calls[call]()
                if call != "next":
                    assert trace.get_current_span() is span
                assert span.is_recording()
                raise ValueError("lost")
    consumer.close()
    assert is_nothing_current()
    of_record = next(each for each in recorder.named("process t") if each.attributes["messaging.kafka.offset"] == 0)
    assert of_record.status.status_code is StatusCode.ERROR
    assert [event.name for event in of_record.events] == ["exception"]


@pytest.mark.parametrize("way", WAYS)
def test_span_ends_with_the_outermost_block(recorder, way):
    """A handler inside a block, for one record: one span, which ends with the block; what comes after it is outside."""
    consumer, records = consumer_and_records(recorder, way, record(0))
    handle = wrap_handler(lambda each: current().span_id, options_of(recorder))
    for each in records:
        with process_of(consumer, each) as span:
            assert handle(each) == span.get_span_context().span_id
            assert span.is_recording()
        assert not span.is_recording()
        assert is_nothing_current()
    assert len(recorder.named("process t")) == 1


@pytest.mark.parametrize("way", ["iterate", "poll"])
def test_loop_goes_on_while_a_thread_holds_the_record(recorder, way):
    """The next record is not inside it; it ends with the thread's block, which has its exception."""
    consumer, records = consumer_and_records(recorder, way, record(0), record(1))
    inside, go_on = threading.Event(), threading.Event()

    def work(each):
        with process_of(consumer, each) as span:
            inside.set()
            go_on.wait()
            assert trace.get_current_span() is span
            raise KeyError

    def run(each):
        with pytest.raises(KeyError):
            work(each)

    iterator = iter(records)
    first = next(iterator)
    thread = threading.Thread(target=contextvars.copy_context().run, args=(run, first))
    thread.start()
    inside.wait()
    next(iterator)
    second = current()
    assert not recorder.named("process t")
    go_on.set()
    thread.join()
    (failed,) = recorder.named("process t")
    assert failed.status.status_code is StatusCode.ERROR
    assert current() == second
    del iterator
    consumer.close()
    assert is_nothing_current()
    assert [span.attributes["messaging.kafka.offset"] for span in recorder.named("process t")] == [0, 1]


@pytest.mark.parametrize("way", ["iterate", "poll"])
@pytest.mark.parametrize("by", ["block", "handler"])
def test_batch_of_iterated_records_is_one_of_its_own(recorder, way, by):
    """`list(islice(records, 2))`, or a buffer that is written in the loop: no child of the last record's span, linked to all."""
    consumer, records = consumer_and_records(recorder, way, *map(record, range(4)))
    store = wrap_handler(lambda batch: None, options_of(recorder))
    iterator = iter(records)
    while batch := list(islice(iterator, 2)):
        if by == "handler":
            store(batch)
        else:
            with process_batch_of(consumer, batch) as span:
                assert trace.get_current_span() is span
        assert is_nothing_current()
    consumer.close()
    batches = [span for span in recorder.named("process t") if "messaging.batch.message_count" in span.attributes]
    assert [span.parent for span in batches] == [None, None]
    assert [
        len([link for link in span.links if link.attributes["otelkafka.link.type"] == "creation"]) for span in batches
    ] == [2, 2]
    assert len(recorder.named("process t")) == 6


def test_batch_inside_a_block_of_one_of_its_records_stays_inside(recorder):
    """The block ends its span, and nothing else does."""
    consumer = consumer_of(recorder, record(0), record(1))
    first, second = islice(consumer, 2)
    with process_of(consumer, second) as outer, process_batch_of(consumer, [first, second]) as batch:
        assert outer.is_recording()
        assert batch.parent.span_id == outer.get_span_context().span_id
    assert is_nothing_current()
