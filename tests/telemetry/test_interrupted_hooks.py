"""An interrupt in a function of the user's passes unchanged, and leaves no span open or current."""

import asyncio

import kafka
import pytest
from kafka import ConsumerRebalanceListener, TopicPartition
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from otelkafka import ConsumerOptions, ProducerOptions, process, process_batch, wrap_handler
from otelkafka.testing import FakeCluster, FakeConsumer, FakeProducer, MetricRecorder, fake_record
from tests.support.face import bare_of, wrap_consumer, wrap_producer
from tests.support.fakes import TRACEPARENT

INTERRUPTS = [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError]
PARTITIONS = [TopicPartition("t", 0)]


class Watch(SpanProcessor):
    """Which spans have started and not ended, and those that have ended."""

    def __init__(self):
        self.open = {}
        self.ended = []

    def on_start(self, span, parent_context=None):
        self.open[span.context.span_id] = span

    def on_end(self, span):
        del self.open[span.context.span_id]
        self.ended.append(span)


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def providers(watch):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(watch)
    return {"tracer_provider": provider, "meter_provider": MetricRecorder().meter_provider}


@pytest.fixture(params=INTERRUPTS, ids=lambda kind: kind.__name__)
def interrupt(request):
    """One that is raised by whatever function it is given as."""

    def raises(*_):
        raise raises.error

    raises.error = request.param("stop")
    return raises


def send(options, **more):
    wrap_producer(FakeProducer(), ProducerOptions(**options, **more)).send("t", b"v", b"k", headers=[("h", b"v")])


def acknowledge(options, **more):
    bare = FakeProducer(auto_complete=False)
    wrap_producer(bare, ProducerOptions(**options, **more)).send("t", b"v")
    bare.complete_next()


def consumer_of(options, **more):
    cluster = FakeCluster()
    FakeProducer(cluster).send("t", b"v", b"k")
    return wrap_consumer(FakeConsumer("t", cluster=cluster), ConsumerOptions(**options, **more))


def iterate(options, **more):
    for _ in consumer_of(options, **more):
        pass


def poll(options, **more):
    for records in consumer_of(options, **more).poll().values():
        for _ in records:
            pass


def process_one(options, **more):
    with process(fake_record(key=b"k"), ConsumerOptions(**options, **more)):
        pass


def process_many(options, **more):
    records = [fake_record(key=b"k", headers=[TRACEPARENT]), fake_record(offset=1)]
    with process_batch(records, ConsumerOptions(**options, **more)):
        pass


def call_handler(options, **more):
    wrap_handler(print, ConsumerOptions(**options, **more))(fake_record(key=b"k"))


PLACES = {
    "on_send": [send],
    "on_ack": [acknowledge],
    "on_process": [iterate, poll, process_one, call_handler],
    "span_name": [send, acknowledge, iterate, poll, process_one, process_many, call_handler],
    "destination_template": [send, iterate, poll, process_one, process_many, call_handler],
    "trace_topic": [send, iterate, poll, process_one, process_many, call_handler],
    "capture_key": [send, iterate, poll, process_one, process_many, call_handler],
}


@pytest.mark.parametrize(
    ("option", "place"), [(option, place) for option, places in PLACES.items() for place in places]
)
def test_interrupt_in_a_function_of_the_options(option, place, interrupt, watch, providers):
    """The very exception passes; what has started has ended."""
    with pytest.raises(type(interrupt.error)) as raised:
        place(providers, **{option: interrupt})
    assert raised.value is interrupt.error
    assert watch.open == {}
    assert not trace.get_current_span().get_span_context().is_valid


def test_interrupt_while_the_records_of_a_poll_are_described(interrupt, watch, providers):
    """Links of a poll's span ask for what the options say of records."""
    with pytest.raises(type(interrupt.error)):
        consumer_of(providers, poll_spans=True, trace_topic=interrupt).poll()
    assert watch.open == {}


def test_send_whose_hook_was_interrupted_is_acknowledged_reason(interrupt, watch, providers):
    """The broker has the record: its span is no failure, and has what is known of it."""
    with pytest.raises(type(interrupt.error)):
        acknowledge(providers, on_ack=interrupt)
    (span,) = watch.ended
    assert span.attributes["messaging.kafka.offset"] == 0
    assert span.status.is_unset


@pytest.mark.parametrize("kind", ["assign", "revoke", "lose"])
def test_interrupt_in_a_rebalance_listener_ends_its_span(kind, interrupt, watch, providers):
    """With the error."""

    class Interrupted(ConsumerRebalanceListener):
        on_partitions_assigned = on_partitions_revoked = on_partitions_lost = lambda _, partitions: interrupt()

    check_listener(Interrupted(), kind, interrupt, watch, providers, lambda call: call())


@pytest.mark.skipif(not hasattr(kafka, "AsyncConsumerRebalanceListener"), reason="no async listeners in this release")
@pytest.mark.parametrize("kind", ["assign", "revoke", "lose"])
def test_interrupt_in_an_async_rebalance_listener_ends_its_span(kind, interrupt, watch, providers):
    """With the error; thrown in where it waits, as where a task is cancelled or a coroutine closed."""

    class Waits:
        def __await__(self):
            yield

    class Waiting(kafka.AsyncConsumerRebalanceListener):
        async def on_partitions_assigned(self, partitions):
            await Waits()

        on_partitions_revoked = on_partitions_lost = on_partitions_assigned

    def drive(call):
        coroutine = call()
        coroutine.send(None)
        coroutine.throw(interrupt.error)

    check_listener(Waiting(), kind, interrupt, watch, providers, drive)


def check_listener(listener, kind, interrupt, watch, providers, drive):
    consumer = wrap_consumer(FakeConsumer(), ConsumerOptions(**providers))
    consumer.subscribe(["t"], listener=listener)
    ours = bare_of(consumer)._subscription.listener
    name = {"assign": "on_partitions_assigned", "revoke": "on_partitions_revoked", "lose": "on_partitions_lost"}[kind]
    with pytest.raises(type(interrupt.error)) as raised:
        drive(lambda: getattr(ours, name)(PARTITIONS))
    assert raised.value is interrupt.error
    assert watch.open == {}
    (span,) = watch.ended
    assert (span.name, span.attributes["error.type"]) == (f"{kind} t", type(interrupt.error).__qualname__)
    assert not trace.get_current_span().get_span_context().is_valid
