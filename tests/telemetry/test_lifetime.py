"""Ends that no call asks for: a collection of garbage, the end of the process, a fork."""

import _thread
import gc
import os
import subprocess
import sys
import threading
from textwrap import dedent

import pytest
from kafka import TopicPartition
from opentelemetry import metrics

import otelkafka
from otelkafka import ConsumerOptions, ProducerOptions
from otelkafka.testing import FakeFuture
from tests.support.face import bare_of, wrap_consumer, wrap_producer
from tests.support.fakes import (
    FakeConsumer,
    FakeProducer,
    Listener,
    consumer_of,
    is_nothing_current,
    record,
    traceparent,
)
from tests.support.memory import count_alive
from tests.support.waiting import wait_until

PARTITIONS = [TopicPartition("t", 0)]
collects = pytest.mark.skipif(not hasattr(gc, "callbacks"), reason="this interpreter does not say when it collects")


class LockedMeters(metrics.MeterProvider):
    """Meters whose instruments hold a lock that cannot be taken twice, and collect garbage meanwhile.

    Attributes:
        taken_twice: whether a thread that held the lock asked for it once more; the SDK's own would wait for good.
    """

    def __init__(self):
        self.taken_twice = False
        self._lock = threading.Lock()
        self._holder = None

    def get_meter(self, name, *args, **kwargs):
        return _Meter(self)

    def record(self, *args, **kwargs):
        if self._holder == threading.get_ident():
            self.taken_twice = True
            return
        with self._lock:
            self._holder = threading.get_ident()
            gc.collect()
            self._holder = None


class _Meter(metrics.Meter):
    def __init__(self, histogram):
        super().__init__("locked")
        self._histogram = histogram

    def create_histogram(self, *args, **kwargs):
        return self._histogram

    def create_counter(self, *args, **kwargs):
        return None

    create_up_down_counter = create_observable_counter = create_observable_gauge = create_counter
    create_observable_up_down_counter = create_counter


@pytest.fixture
def no_collection():
    """Garbage is collected when the test asks for it."""
    threads = _thread._count()
    gc.collect()
    gc.disable()
    gc.freeze()  # what was there before is not searched each time
    yield
    # One that a finalizer has started may collect, and while it does, other threads' collections do nothing.
    wait_until(lambda: _thread._count() <= threads, "the end of the threads that finalizers have started")
    gc.unfreeze()
    gc.enable()


def in_a_cycle(*given):
    """Make garbage of objects that only a collection finds."""
    cycle = [*given]
    cycle.append(cycle)


@collects
@pytest.mark.parametrize("sampled", [True, False], ids=["sampled", "unsampled"])
@pytest.mark.parametrize("left", ["iterator", "list", "consumer", "producer"])
def test_nothing_takes_a_lock_while_garbage_is_collected(recorder, no_collection, left, sampled):
    """The collector may run inside the SDK's lock: what a finalizer has to end is ended as soon as that is over."""
    meters = LockedMeters()
    both = {"tracer_provider": recorder.tracer_provider, "meter_provider": meters}
    options = ConsumerOptions(**both)
    if left == "producer":
        producer = wrap_producer(FakeProducer(), ProducerOptions(**both))
        producer.send("t", b"v")
        in_a_cycle(producer)
        del producer
    else:
        headers = [traceparent(0, sampled=sampled)]
        consumer = wrap_consumer(FakeConsumer(*(record(at, headers=headers) for at in (0, 1))), options)
        iterator = iter(next(iter(consumer.poll().values()))) if left == "list" else iter(consumer)
        next(iterator)
        in_a_cycle(*((consumer,) if left == "consumer" else ()), iterator)
        del consumer, iterator
    for _ in wrap_consumer(FakeConsumer(record(2), record(3)), options):
        pass
    recorder.wait_for(*("send t", 1) if left == "producer" else ("process t", 3 if sampled else 2))
    assert not meters.taken_twice
    assert is_nothing_current()


@collects
def test_what_a_collection_left_to_do_is_done_by_the_next_call(recorder, no_collection, monkeypatch):
    """Also where no thread can be started."""
    monkeypatch.setattr("_thread.start_new_thread", raise_runtime_error)
    iterator = iter(consumer_of(recorder, record(0)))
    next(iterator)
    in_a_cycle(iterator)
    del iterator
    gc.collect()
    assert is_nothing_current()
    assert not recorder.spans
    consumer_of(recorder).poll()
    assert len(recorder.spans) == 1


def raise_runtime_error(*_):
    raise RuntimeError


@collects
def test_rebalance_while_garbage_is_collected_calls_the_listener_and_records_nothing(recorder, no_collection):
    """A finalizer may close a consumer, whose partitions are revoked then; the next rebalance is recorded again."""
    called, theirs = [], Listener()
    theirs.on_partitions_revoked = called.append
    meters = LockedMeters()
    consumer = wrap_consumer(
        FakeConsumer(), ConsumerOptions(tracer_provider=recorder.tracer_provider, meter_provider=meters)
    )
    consumer.subscribe(["t"], listener=theirs)
    listener = bare_of(consumer).listener

    class Closing:
        def __del__(self):
            listener.on_partitions_revoked(PARTITIONS)

    in_a_cycle(Closing())
    gc.collect()
    assert called == [PARTITIONS]
    assert recorder.spans == []
    listener.on_partitions_revoked(PARTITIONS)
    assert [span.name for span in recorder.spans] == ["revoke t"]


def test_loop_that_is_left_ends_its_span_at_once(recorder):
    """No collection is waited for."""
    for _ in consumer_of(recorder, record(0)):
        break
    assert len(recorder.spans) == 1


@pytest.mark.parametrize("collected", [False, True])
def test_send_of_a_dropped_producer_ends_with_it(recorder, collected):
    """Nobody will acknowledge it any more: the span is an error."""

    class Silent(FakeProducer):
        def send(self, *args, **kwargs):
            return FakeFuture()

    producer = wrap_producer(Silent(), ProducerOptions(tracer_provider=recorder.tracer_provider))
    producer.send("t", b"v")
    if collected:
        in_a_cycle(producer)
    del producer
    gc.collect()
    (span,) = recorder.wait_for("send t")
    assert span.attributes["error.type"] == "NotAcknowledgedError"


def test_send_goes_on_when_the_wrapper_alone_is_dropped(recorder):
    """A function that wraps its producer for one call: the acknowledgement ends the span."""
    bare = FakeProducer()
    producer = wrap_producer(bare, ProducerOptions(tracer_provider=recorder.tracer_provider))
    assert bare_of(producer) is bare
    producer.send("t", b"v")
    del producer
    gc.collect()
    assert not recorder.spans
    bare.acknowledge_all()
    (span,) = recorder.spans
    assert "error.type" not in span.attributes


def test_clients_that_are_wrapped_again_and_again_are_not_kept(recorder):
    """Nothing piles up on a client that lives on."""
    bare = FakeProducer()
    options = ProducerOptions(tracer_provider=recorder.tracer_provider)
    for _ in range(3):
        otelkafka.wrap_producer(bare, options)
    before = count_alive()
    for _ in range(50):
        otelkafka.wrap_producer(bare, options)
    assert count_alive() <= before + 5


AT_EXIT = {
    "next": "consumer = wrap_consumer(FakeConsumer(records=[fake_record()]), options); next(consumer)",
    "iterator": "kept = iter(wrap_consumer(FakeConsumer(records=[fake_record()]), options)); next(kept)",
    "block of a daemon thread": """
        inside = threading.Event()
        def work():
            with process(fake_record(), options):
                inside.set()
                threading.Event().wait()
        threading.Thread(target=work, daemon=True).start()
        inside.wait()
    """,
    "send": """
        producer = wrap_producer(FakeProducer(auto_complete=False), ProducerOptions(tracer_provider=provider))
        producer.send("t", b"v")
    """,
}


@pytest.mark.parametrize("case", AT_EXIT)
@pytest.mark.parametrize("provider", ["before", "after"])
def test_span_that_is_open_at_exit_is_exported(case, provider):
    """The provider flushes when it is shut down at exit; what is open is ended before, also of a provider that came later."""
    program = dedent("""
        import threading
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
        from otelkafka import ConsumerOptions, ProducerOptions, process, wrap_consumer, wrap_producer
        from otelkafka.testing import FakeConsumer, FakeProducer, fake_record
        def make():
            made = TracerProvider()
            made.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(formatter=lambda span: span.name + "\\n")))
            return made
    """)
    if provider == "before":
        program += "provider = make(); options = ConsumerOptions(tracer_provider=provider)\n"
    else:
        program += "wrap_consumer(FakeConsumer()); provider = make(); trace.set_tracer_provider(provider)\n"
        program += "options = ConsumerOptions()\n"
    run = subprocess.run(
        [sys.executable, "-c", program + dedent(AT_EXIT[case])], capture_output=True, text=True, check=True
    )
    assert run.stdout.split("\n")[0].split() in (["send", "t"], ["process", "t"]), run
    assert not run.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process forks here")
def test_child_of_a_fork_ends_nothing_of_its_parent(recorder):
    """Neither at its exit nor by what a finalizer of the parent has left to do."""
    program = dedent("""
        import os, sys
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
        from otelkafka import ConsumerOptions, wrap_consumer
        from otelkafka.testing import FakeConsumer, fake_record
        provider = TracerProvider()
        exporter = ConsoleSpanExporter(formatter=lambda span: f"{os.getpid() == parent} {span.name}\\n")
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        parent = os.getpid()
        consumer = wrap_consumer(FakeConsumer(records=[fake_record()]), ConsumerOptions(tracer_provider=provider))
        next(consumer)
        child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0
        sys.exit()
    """)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "process", "topic"] or run.stdout.split() == ["True", "process", "t"], run


def test_no_thread_is_left_of_a_collection(recorder, no_collection):
    """It ends what it has to, and is gone."""
    before = threading.active_count()
    iterator = iter(consumer_of(recorder, record(0)))
    next(iterator)
    in_a_cycle(iterator)
    del iterator
    gc.collect()
    recorder.wait_for("process t")
    wait_until(lambda: threading.active_count() <= before, "the thread to end", threading.enumerate)
