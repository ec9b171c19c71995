"""KeyboardInterrupt in every place: in the user's code, in the client, and at every line of otelkafka."""

import asyncio
import contextvars
import gc
import linecache
import sys
from itertools import count
from pathlib import Path

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

import otelkafka
from benchmarks.soak.watch import Watch
from otelkafka import ConsumerOptions, ProducerOptions, process, process_batch, testing, wrap_handler, wrap_producer
from otelkafka.testing import MetricRecorder
from tests.outages.fakes import FAKES, name_of
from tests.support import internals
from tests.support.fakes import FakeProducer, record, traceparent

SOURCES = str(Path(otelkafka.__file__).parent)
TESTING = str(Path(testing.__file__).parent)
_RESOURCE = Resource.get_empty()
RESTORE = ("if is_variable or token is None:", "if token is None:", "attach(begun.outside)", "reset(token)")
"""Lines that a signal cannot precede: CPython looks for signals at calls and jumps, a tracer also before these."""

FINALIZERS = (("lifetime.py", "<lambda>"), ("in_flight.py", "_end_with_client"))
"""The callbacks of weak references, by file and name."""


class Traced:
    """Traced fakes of a library, and what watches them.

    Args:
        fakes: of the library.
        sampler: of their spans; None for all.
        measured: whether there are metrics.
    """

    def __init__(self, fakes, sampler=None, *, measured=True):
        self.fakes = fakes
        self.watch, self.metrics = Watch(), MetricRecorder()
        self.provider = TracerProvider(sampler, _RESOURCE, shutdown_on_exit=False)
        self.provider.add_span_processor(self.watch)
        meters = {"meter_provider": self.metrics.meter_provider} if measured else {}
        self.providers = {"tracer_provider": self.provider, **meters}
        self.options = ConsumerOptions(**self.providers)
        self._made = []

    def producer(self, **config):
        return self._keep(self.fakes.producer(ProducerOptions(**self.providers), **config))

    def consumer(self, *records):
        return self._keep(self.fakes.consumer(self.options, *records))

    def record(self, offset):
        return self.fakes.record(offset)

    def close(self):
        for client in self._made:
            client.close()
        self.watch.detach()

    def _keep(self, client):
        self._made.append(client)
        return client


@pytest.fixture(params=FAKES, ids=name_of)
def traced(request):
    traced = Traced(request.param)
    yield traced
    traced.watch.detach()
    context.attach(context.Context())  # one test's leak is no other's


def interrupt(*_, **__):
    raise KeyboardInterrupt


def in_the_clients_send(traced):
    traced.producer(refusal=KeyboardInterrupt()).send(b"v")


def in_the_clients_transaction(traced):
    producer = FakeProducer()
    producer.commit_transaction = interrupt
    wrap_producer(producer, ProducerOptions(**traced.providers)).commit_transaction()


def in_the_clients_iteration(traced):
    consumer = traced.consumer(record(0))
    consumer.loop(lambda _: consumer.interrupt_next(KeyboardInterrupt()))


def in_the_clients_poll(traced):
    consumer = traced.consumer()
    consumer.interrupt_next(KeyboardInterrupt())
    consumer.walk()


def in_the_body_of_a_loop(traced):
    traced.consumer(record(0), record(1)).loop(interrupt)


def in_the_body_of_a_polled_loop(traced):
    traced.consumer(record(0), record(1)).walk(interrupt)


def in_process(traced):
    with process(traced.record(0), traced.options):
        interrupt()


def in_process_batch(traced):
    with process_batch([traced.record(0), traced.record(1)], traced.options):
        interrupt()


def in_a_handler(traced):
    wrap_handler(interrupt, traced.options)(traced.record(0))


def in_an_async_handler(traced):
    async def handle(_):
        interrupt()

    asyncio.run(wrap_handler(handle, traced.options)(traced.record(0)))


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
    traced.consumer().walk()  # loops that were left elsewhere are settled then at the latest
    traced.close()
    assert not trace.get_current_span().get_span_context().is_valid
    counted = traced.watch.counted()
    assert counted["unended"] == counted["ended twice"] == counted["failures of telemetry"] == 0
    assert counted["spans"] == (place is not in_the_clients_poll)


class Sends:
    """Sends, and is used again."""

    def __init__(self, traced, headers):
        self.client = traced.producer()

    def act(self):
        self.client.send(b"v")
        self.client.acknowledge()

    def go_on(self):
        before = len(self.client.values)
        self.client.send(b"again")
        assert self.client.values[before:] == [b"again"]
        assert self.client.values.count(b"v") <= 1


class Iterates:
    """Iterates a record, and goes on."""

    def __init__(self, traced, headers):
        self.client = traced.consumer(*(record(at, headers=headers) for at in range(4)))
        self.client.next()

    def act(self):
        self.client.next()

    def go_on(self):
        left = list(range(self.client.position(), 4))
        assert [self.client.next() for _ in left] == left
        assert self.client.next() is None
        self.client.drop_iterator()


class Polls(Iterates):
    """Polls and walks the list, and goes on."""

    def act(self):
        self.client.walk()


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
        # A finalizer swallows what is raised in it, and pytest reports that.
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        ours = file.startswith(SOURCES) and not file.startswith(TESTING)
        return trace_line if ours and (Path(file).name, name) not in FINALIZERS and name != "__del__" else None

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


def _cases():
    """Each library's face; the engine, which they share, in all its ways under the one of kafka-python."""
    for fakes in FAKES:
        for case in (Sends, Iterates, Polls):
            for measured, sampled in ((True, True), (True, False), (False, True), (False, False)):
                if fakes is FAKES[0] or (measured and sampled) or not (measured or sampled):
                    words = (
                        name_of(fakes),
                        case.__name__,
                        "measured" * measured,
                        "sampled" if sampled else "unsampled",
                    )
                    yield pytest.param(fakes, case, measured, sampled, id="-".join(words))


@pytest.mark.parametrize(("fakes", "case", "measured", "sampled"), list(_cases()))
def test_interrupt_at_every_line_of_otelkafka(fakes, case, measured, sampled):
    """The client goes on as a bare one would; nothing stays current, ends twice or is logged."""
    places = set()
    for number in count(1):
        internals.forget_consumers()  # what an interrupt leaves of one round would make the next one longer
        where = contextvars.Context().run(interrupt_one, number, fakes, case, measured=measured, sampled=sampled)
        if where is None:
            break
        places.add(where)
    assert len(places) > 30


def interrupt_one(number, fakes, case, *, measured, sampled):
    """Interrupt a client at a line, check what comes after, and return which line that was; None for none."""
    traced = Traced(fakes, None if sampled else ParentBased(ALWAYS_OFF), measured=measured)
    made = case(traced, headers=[traceparent(0, sampled=sampled)])
    where = interrupted_at(number, made.act)
    if where is not None:
        if linecache.getline(*where).strip() in RESTORE:
            context.attach(context.Context())
        made.go_on()
    traced.close()
    counted = traced.watch.counted()
    assert counted["ended twice"] == counted["failures of telemetry"] == 0, where
    assert not trace.get_current_span().get_span_context().is_valid, where
    return where
