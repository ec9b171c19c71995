"""Explicit processing: one record, a batch, handlers."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.trace import SpanKind, StatusCode

from otelkafka import process, process_batch, wrap_handler
from tests.support.face import bare_of, process_batch_of, process_of
from tests.support.fakes import (
    TRACEPARENT,
    ambient_of,
    consumer_of,
    current,
    is_nothing_current,
    options_of,
    record,
    traceparent,
)


class Message:
    """As confluent-kafka hands it over: what a record has are methods."""

    def _get(self):
        return 0

    topic = partition = offset = headers = timestamp = key = value = _get


class Missing:
    """A proxy of what is not there, outside of a request for example."""

    def __getattr__(self, name):
        raise RuntimeError(name)


NO_RECORDS = {
    "message": Message(),
    "mock": MagicMock(),
    "mock of a record": MagicMock(spec=type(record(0))),
    "partly a mock": MagicMock(topic="t", partition=0, offset=0),
    "proxy": Missing(),
    "none": None,
    "text": "record",
}


@pytest.mark.parametrize("value", NO_RECORDS.values(), ids=NO_RECORDS)
def test_what_is_no_record_is_refused(recorder, value):
    """With what to give instead; no memory address gets into a span or a metric."""
    consumer = consumer_of(recorder)
    for start in (lambda: process(value), lambda: process_of(consumer, value)):
        with pytest.raises(TypeError, match=rf"process\({type(value).__name__}\): give one record as the consumer"):
            start()
    for start in (lambda: process_batch([value]), lambda: process_batch_of(consumer, [record(0), value])):
        with pytest.raises(TypeError, match=r"process_batch\(list\): give a list of records"):
            start()
    assert recorder.spans == []


@pytest.mark.parametrize("value", NO_RECORDS.values(), ids=NO_RECORDS)
def test_handler_of_what_is_no_record_is_called_as_it_is(recorder, caplog, value):
    """No span, no failure: it may handle messages of any kind, one or several."""
    handle = wrap_handler(lambda *given, **named: (given, named), options_of(recorder))
    assert handle(value, [value], key=value) == ((value, [value]), {"key": value})
    assert recorder.spans == []
    assert caplog.records == []


@pytest.mark.parametrize("timestamp", [None, 1_700_000_000_000, 1.7e12])
def test_record_of_any_making_is_one(recorder, timestamp):
    """What has a record's fields is processed, also where a framework or a test has made it."""
    known = {
        "topic": "t",
        "partition": 0,
        "offset": 7,
        "timestamp": timestamp,
        "headers": [],
        "key": None,
        "value": None,
    }
    with process(SimpleNamespace(**known), options_of(recorder)):
        pass
    assert recorder.spans[0].attributes["messaging.kafka.offset"] == 7


def test_poll_span_links_every_record_and_an_empty_poll_has_none(recorder):
    """poll_spans: one CLIENT span with a creation link a record; none for an empty poll."""
    consumer = consumer_of(recorder, record(0), record(1), poll_spans=True, max_links=1)
    consumer.poll()
    consumer.poll()
    (span,) = recorder.spans
    assert (span.name, len(span.links)) == ("poll t", 1)
    assert span.attributes["messaging.batch.message_count"] == 2
    assert span.attributes["otelkafka.links.dropped"] == 1


@pytest.mark.parametrize("record_exceptions", [True, False])
def test_error_of_a_body_is_recorded_as_the_options_say(recorder, record_exceptions):
    """record_exceptions=False: error.type and status only, no message, no stack trace."""
    consumer = consumer_of(recorder, process="manual", record_exceptions=record_exceptions)
    with pytest.raises(ValueError), process_of(consumer, record(0)):
        raise ValueError("secret")
    (span,) = recorder.spans
    assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "ValueError")
    assert ("secret" in str(span.to_json())) is record_exceptions


def test_batch_error_and_attributes(recorder):
    """A batch records what all share on the span, what differs on the links, and the exception of its body."""
    consumer = consumer_of(recorder, process="manual")
    records = [record(at, headers=[traceparent(at)], key=b"k%d" % at, partition=at) for at in range(2)]
    with pytest.raises(ValueError), process_batch_of(consumer, records) as span:
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
    """A record's baggage is current in the body in every relation; a batch carries none."""
    carried = record(0, headers=[TRACEPARENT, ("baggage", b"tenant=a")])
    for relation in ("parent", "link", "both"):
        for _ in consumer_of(recorder, carried, relation=relation):
            assert baggage.get_baggage("tenant") == "a"
    with process_batch([carried], options_of(recorder)):
        assert baggage.get_baggage("tenant") is None


def test_records_in_threads_and_tasks_have_spans_of_their_own(recorder):
    """process="manual" and process(record) where the work is: each its own span, current there only."""
    consumer = consumer_of(recorder, *(record(at) for at in range(4)), process="manual")
    records = list(consumer)

    def work(each):
        with process_of(consumer, each) as span:
            assert current() == span.get_span_context()
        assert not current().is_valid

    with ThreadPoolExecutor(2) as executor:
        list(executor.map(work, records[:2]))

    async def task(each):
        with process_of(consumer, each) as span:
            await asyncio.sleep(0)  # the other task goes on meanwhile
            assert current() == span.get_span_context()

    async def main():
        await asyncio.gather(*map(task, records[2:]))

    asyncio.run(main())
    assert sorted(span.attributes["messaging.kafka.offset"] for span in recorder.spans) == [0, 1, 2, 3]


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


def test_process_without_a_consumer(recorder):
    """process(record) makes the same span without group and split, and is its body's current one."""
    with process(record(0), options_of(recorder)) as span:
        assert current() == span.get_span_context()
    (ended,) = recorder.spans
    assert ended.attributes["otelkafka.queue.duration"] >= 0
    assert "otelkafka.queue.busy_duration" not in ended.attributes


def test_batch_of_a_consumer_is_the_same_batch(recorder):
    """consumer.process_batch() knows the group and the split, and spends the lists that poll() returned."""
    consumer = consumer_of(recorder, record(0), record(1, topic="u"))
    polled = consumer.poll()
    with process_batch_of(consumer, polled):
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
    failing = consumer_of(recorder)
    bare_of(failing).error_next(OSError("gone"))
    token = context.attach(context.set_value("suppress_instrumentation", True))
    try:
        with process_batch([record(0)], options_of(recorder)), process(record(0), options_of(recorder)):
            pass
        with pytest.raises(OSError):
            next(failing)
    finally:
        context.detach(token)
    assert recorder.spans == []


def test_links_of_a_record_keep_to_max_links(recorder):
    """max_links=0: neither an ambient nor a creation link."""
    with ambient_of(recorder):
        list(consumer_of(recorder, record(0), max_links=0))
        list(consumer_of(recorder, record(0), max_links=0, relation="link"))
    assert [span.links for span in recorder.spans[:2]] == [(), ()]


def test_error_that_passes_two_recorders_is_recorded_once(recorder):
    """A handler inside process() on the same record: one exception event."""
    handler = wrap_handler(lambda _: 1 / 0, options_of(recorder))
    one = record(0)
    with pytest.raises(ZeroDivisionError), process(one, options_of(recorder)):
        handler(one)
    (span,) = recorder.spans
    assert len(span.events) == 1


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


def test_copy_of_a_record_joins_its_span(recorder):
    """A record whose value was decoded on the way is the same one; one of another time, or of another cluster, is not."""
    options = options_of(recorder)
    handle = wrap_handler(lambda _: trace.get_current_span(), options)
    one = record(0)
    with process(one, options) as span:
        assert handle(one._replace(value={"decoded": True})) is span
        assert handle(one._replace(timestamp=one.timestamp + 1)) is not span
    assert len(recorder.spans) == 2


def test_block_may_be_entered_twice(recorder):
    """The inner one joins the outer one, whose span ends once, with the outer block."""
    block = process(record(0), options_of(recorder))
    with block as outer:
        with block as inner:
            assert inner is outer
        assert recorder.spans == []
        assert trace.get_current_span() is outer
    assert len(recorder.spans) == 1
    assert is_nothing_current()
