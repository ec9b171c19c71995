"""KeyboardInterrupt in every place: in the user's code, in the client, and at every line of otelkafka."""

import asyncio
import gc
import linecache
import sys
from pathlib import Path

import pytest
from kafka import TopicPartition
from opentelemetry import context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

import otelkafka
from benchmarks.soak.watch import Watch
from otelkafka import (
    ConsumerOptions,
    ProducerOptions,
    process,
    process_batch,
    testing,
    wrap_consumer,
    wrap_handler,
    wrap_producer,
)
from otelkafka.testing import MetricRecorder
from tests.support.fakes import FakeConsumer, FakeProducer, record, traceparent

SOURCES = str(Path(otelkafka.__file__).parent)
FAKES = str(Path(testing.__file__).parent)
_RESOURCE = Resource.get_empty()
RESTORE = ("if is_variable or token is None:", "attach(begun.outside)")
"""Lines that a signal cannot precede: CPython looks for signals at calls and jumps, a tracer also before these."""


class Traced:
    """Wrapped fakes, and what watches them.

    Args:
        sampler: of their spans; None for all.
        measured: whether there are metrics.
    """

    def __init__(self, sampler=None, *, measured=True):
        self.watch, self.metrics = Watch(), MetricRecorder()
        self.provider = TracerProvider(sampler, _RESOURCE, shutdown_on_exit=False)
        self.provider.add_span_processor(self.watch)
        meters = {"meter_provider": self.metrics.meter_provider} if measured else {}
        self.providers = {"tracer_provider": self.provider, **meters}
        self.options = ConsumerOptions(**self.providers)

    def producer(self, bare=None):
        return wrap_producer(bare or FakeProducer(), ProducerOptions(**self.providers))

    def consumer(self, *records):
        return self.consumer_of(FakeConsumer(*records))

    def consumer_of(self, bare):
        return wrap_consumer(bare, self.options)


@pytest.fixture
def traced():
    traced = Traced()
    yield traced
    traced.watch.detach()
    context.attach(context.Context())  # one test's leak is no other's


def interrupt(*_, **__):
    raise KeyboardInterrupt


class InterruptedProducer(FakeProducer):
    send = commit_transaction = interrupt


def in_the_clients_send(traced):
    traced.producer(InterruptedProducer()).send("t", b"v")


def in_the_clients_transaction(traced):
    traced.producer(InterruptedProducer()).commit_transaction()


def in_the_clients_iteration(traced):
    bare = FakeConsumer(record(0))
    for _ in traced.consumer_of(bare):
        bare.error_next(KeyboardInterrupt())


def in_the_clients_poll(traced):
    bare = FakeConsumer()
    bare.error_next(KeyboardInterrupt())
    traced.consumer_of(bare).poll()


def in_the_body_of_a_loop(traced):
    for _ in traced.consumer(record(0), record(1)):
        interrupt()


def in_the_body_of_a_polled_loop(traced):
    for records in traced.consumer(record(0), record(1)).poll().values():
        for _ in records:
            interrupt()


def in_process(traced):
    with process(record(0), traced.options):
        interrupt()


def in_process_batch(traced):
    with process_batch([record(0), record(1)], traced.options):
        interrupt()


def in_a_handler(traced):
    wrap_handler(interrupt, traced.options)(record(0))


def in_an_async_handler(traced):
    async def handle(_):
        interrupt()

    asyncio.run(wrap_handler(handle, traced.options)(record(0)))


PLACES = [
    in_the_clients_send,
    in_the_clients_transaction,
    in_the_clients_iteration,
    in_the_clients_poll,
    in_the_body_of_a_loop,
    in_the_body_of_a_polled_loop,
    in_process,
    in_process_batch,
    in_a_handler,
    in_an_async_handler,
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_interrupt_outside_of_otelkafka(place, traced):
    """It passes, every span ends once, nothing stays current, nothing is logged."""
    with pytest.raises(KeyboardInterrupt):
        place(traced)
    traced.consumer().poll()  # loops that were left elsewhere are settled then at the latest
    counted = traced.watch.counted()
    assert counted["unended"] == counted["ended twice"] == counted["failures of telemetry"] == 0
    assert counted["spans"] == (place is not in_the_clients_poll)
    assert not trace.get_current_span().get_span_context().is_valid


PARTITION = TopicPartition("t", 0)


class Sends:
    """Sends, and is used again."""

    def __init__(self, traced, headers):
        self.bare = FakeProducer()
        self.client = traced.producer(self.bare)

    def act(self):
        self.client.send("t", b"v", b"k")

    def go_on(self):
        before = len(self.bare.calls)
        self.client.send("t", b"again")
        assert [value for _, value, _ in self.bare.calls[before:]] == [b"again"]
        assert [value for _, value, _ in self.bare.calls].count(b"v") <= 1


class Iterates:
    """Iterates a record, and goes on."""

    def __init__(self, traced, headers):
        self.bare = FakeConsumer(*(record(at, headers=headers) for at in range(4)))
        self.client = traced.consumer_of(self.bare)
        self.records = iter(self.client)
        next(self.records)

    def act(self):
        next(self.records)

    def go_on(self):
        left = list(range(self.bare.position(PARTITION), 4))
        assert [each.offset for each in self.records] == left
        self.records = None


class Polls(Iterates):
    """Polls and walks the list, and goes on."""

    def act(self):
        for records in self.client.poll().values():
            for _ in records:
                pass


def interrupted_at(number, act):
    """Raise KeyboardInterrupt before the line of that number that otelkafka executes; return which, None for none."""
    seen, where = 0, None

    def trace_line(frame, event, _):
        nonlocal seen, where
        if event == "line":
            seen += 1
            if seen == number:
                where = frame.f_code.co_filename, frame.f_lineno
                raise KeyboardInterrupt
        return trace_line

    def trace_call(frame, *_):
        # A finalizer swallows what is raised in it, and pytest tells of that.
        file = frame.f_code.co_filename
        ours = file.startswith(SOURCES) and not file.startswith(FAKES)
        return trace_line if ours and frame.f_code.co_name != "__del__" else None

    before = sys.gettrace()
    gc.disable()  # what it finalizes here is another round's
    sys.settrace(trace_call)
    try:
        act()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
        gc.enable()
    return where


@pytest.mark.parametrize("sampled", [True, False], ids=["sampled", "unsampled"])
@pytest.mark.parametrize("measured", [True, False], ids=["measured", ""])
@pytest.mark.parametrize("case", [Sends, Iterates, Polls])
def test_interrupt_at_every_line_of_otelkafka(case, measured, sampled):
    """The client goes on as a bare one would; nothing stays current, ends twice or is logged."""
    number, places = 0, set()
    while True:
        number += 1
        traced = Traced(None if sampled else ParentBased(ALWAYS_OFF), measured=measured)
        made = case(traced, headers=[traceparent(0, sampled=sampled)])
        where = interrupted_at(number, made.act)
        if where is None:
            break
        places.add(where)
        if linecache.getline(*where).strip() in RESTORE:
            context.attach(context.Context())
        made.go_on()
        made.client.close()
        traced.watch.detach()
        counted = traced.watch.counted()
        assert counted["ended twice"] == counted["failures of telemetry"] == 0, where
        assert not trace.get_current_span().get_span_context().is_valid, where
    assert len(places) > 30
