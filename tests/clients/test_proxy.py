"""The wrappers are used as the clients themselves."""

import copy
import gc
import pickle
import weakref

import pytest
from kafka import KafkaConsumer, KafkaProducer

import otelkafka
from otelkafka import ConsumerOptions, testing, wrap_consumer, wrap_producer
from tests.support.face import INSTRUMENTED
from tests.support.fakes import FakeProducer, consumer_of, current, kinds, options_of, producer_of, record


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


class LeastConsumer:
    """Anything with a poll(); unlike kafka-python's it can be copied and pickled, and is no context manager."""

    config = {}

    def __init__(self, *records):
        self.records = list(records)
        self.closed = 0

    def __iter__(self):
        return self

    def __next__(self):
        if not self.records:
            raise StopIteration
        return self.records.pop(0)

    def poll(self):
        return {}

    def close(self):
        self.closed += 1


@pytest.mark.parametrize("form", [copy.copy, copy.deepcopy, lambda client: pickle.loads(pickle.dumps(client))])
def test_copies_are_traced_where_the_client_can_be_copied(recorder, form):
    """A copy is what the client makes of itself, traced by the same options."""
    consumer = wrap_consumer(LeastConsumer(record(0)))
    made = form(consumer)
    assert type(made) is type(consumer)
    assert made.__wrapped__ is not consumer.__wrapped__
    assert [each.offset for each in made] == [0]


def test_client_that_is_no_context_manager_is_closed_reason(recorder):
    """`with` yields the wrapper and closes it, also on releases whose client has no __enter__."""
    bare = LeastConsumer(record(0))
    with wrap_consumer(bare, options_of(recorder)) as consumer:
        next(consumer)
    assert bare.closed == 1
    assert len(recorder.spans) == 1


def test_wrapping_again_ends_what_is_open(recorder):
    """A consumer that is wrapped again inside a record's span leaves nothing open."""
    consumer = consumer_of(recorder, record(0))
    next(consumer)
    wrap_consumer(consumer, options_of(recorder))
    assert len(recorder.spans) == 1
    assert not current().is_valid


def test_proxy_is_the_client(make_producer, make_consumer):
    """isinstance holds, `with` yields the wrapper and closes it, copies and pickles do as the client does."""
    producer, consumer = make_producer(), make_consumer()
    assert isinstance(producer, KafkaProducer)
    assert isinstance(consumer, KafkaConsumer)
    with pytest.raises(TypeError):
        pickle.dumps(producer)
    assert copy.copy(consumer).config == consumer.config
    assert repr(producer.__wrapped__) in repr(producer)
    assert wrap_producer(producer).__wrapped__ is producer.__wrapped__
    assert wrap_consumer(consumer).__wrapped__ is consumer.__wrapped__
    with producer as entered:
        assert entered is producer
    with consumer as entered:
        assert entered is consumer


@pytest.fixture(autouse=True)
def _wrapped_ones_only():
    if INSTRUMENTED:
        pytest.skip("this is of the wrapper: a patched class is the client's own")


@pytest.mark.skipif(INSTRUMENTED, reason="this is of the wrapper: a patched class is the client's own")
def test_own_method_of_a_client_wins(recorder, caplog):
    """What a subclass of the client's calls process() is called, and what to use instead is logged once."""

    class Orders(testing.FakeConsumer):
        def process(self, record):
            self.processed = record.offset
            return "done"

    options = ConsumerOptions(tracer_provider=recorder.tracer_provider)
    for _ in range(2):
        consumer = wrap_consumer(Orders(records=[testing.fake_record("t", offset=7)]), options)
        for each in wrap_consumer(consumer, options):
            assert consumer.process(each) == "done"
        assert consumer.processed == 7
        assert isinstance(consumer, otelkafka.TracedConsumer)
        with consumer.process_batch([]):  # which it has not
            pass
    assert [line for line in caplog.messages if "Orders has its own process()" in line] == caplog.messages
    assert len(caplog.messages) == 1


@pytest.mark.skipif(INSTRUMENTED, reason="this is of the wrapper: a patched class is the client's own")
def test_names_of_the_wrapper_are_listed(recorder):
    """For those who explore it, beside the client's own."""
    names = dir(consumer_of(recorder, record(0)))
    assert {"process", "process_batch", "poll", "highwater"} <= set(names)
