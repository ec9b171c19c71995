"""Patched classes of a client library."""

import os
import signal
import threading
import weakref

import pytest
from opentelemetry.sdk.trace import TracerProvider

from otelkafka import ConsumerOptions, ProducerOptions
from otelkafka.testing import FakeConsumer, FakeProducer, MetricRecorder, fake_record
from tests.support.face import INSTRUMENTED, wrap_consumer
from tests.support.internals import Patch, ProducerFace


def test_client_that_cannot_be_traced_raises_its_own_error_and_leaves_nothing():
    """No engine for a client of a patched class: its error has no other as its context, and nothing piles up."""

    class Refusing:
        def send(self):
            raise KeyError

    patch = Patch(Refusing, ProducerFace, lambda _: 1 / 0)
    patch.apply()
    client = Refusing()
    for _ in range(3):
        with pytest.raises(KeyError) as caught:
            client.send()
        assert caught.value.__context__ is None
    assert weakref.getweakrefcount(client) == 0


def test_client_that_is_only_closed_is_not_traced_for_that():
    """As one that dies closes itself, at the end of the interpreter say."""

    class Dying:
        def close(self):
            closed.append(self)

    closed, made = [], []
    patch = Patch(Dying, ProducerFace, made.append)
    patch.apply()
    Dying().close()
    assert len(closed) == 1
    assert made == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("slow", ["get_tracer", "get_meter"])
def test_child_of_a_fork_waits_for_no_thread_of_its_parent(slow):
    """While another thread makes the first call of a client, a fork: the child's clients are traced and measured."""
    inside, go_on = threading.Event(), threading.Event()
    metrics, parent = MetricRecorder(), os.getpid()

    def slowly(call):
        def called(*args, **kwargs):
            if os.getpid() == parent:
                inside.set()
                go_on.wait()
            return call(*args, **kwargs)

        return called

    tracers, meters = TracerProvider(shutdown_on_exit=False), metrics.meter_provider
    provider = tracers if slow == "get_tracer" else meters
    setattr(provider, slow, slowly(getattr(provider, slow)))
    options = ProducerOptions(tracer_provider=tracers, meter_provider=meters)
    library = type("Library", (FakeProducer,), {})
    Patch(library, ProducerFace, lambda client: ProducerFace(client, options)).apply()
    shared = library()
    thread = threading.Thread(target=shared.send, args=("t", b"v"))
    thread.start()
    inside.wait()
    child = os.fork()
    if not child:
        signal.alarm(60)
        library().send("t", b"v")
        shared.send("t", b"v")
        os._exit(sum(count for _, count in metrics.points("messaging.client.sent.messages")))
    go_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2


@pytest.mark.skipif(not INSTRUMENTED, reason="a wrapper does not see what the client calls itself")
@pytest.mark.parametrize("method", ["commit", "commit_async", "subscribe", "close"])
def test_poll_inside_of_another_call_of_the_client_is_its_own_affair(recorder, method):
    """It makes no span, and leaves the span of the record open that is processed."""

    class Keeping(FakeConsumer):
        def poll(self, *args, **kwargs):
            return super().poll(*args, **kwargs)

    def calling(self, *args, **kwargs):
        self.poll(max_records=1)
        return getattr(super(Keeping, self), method)(*args, **kwargs)

    setattr(Keeping, method, calling)
    bare = Keeping(records=[fake_record("t", offset=at) for at in range(3)], group_id="g")
    consumer = wrap_consumer(bare, ConsumerOptions(tracer_provider=recorder.tracer_provider, poll_spans=True))
    next(consumer)
    getattr(consumer, method)(*([["t"]] if method == "subscribe" else []))
    assert recorder.named("poll t") == []
    assert len(recorder.named("process t")) == (method == "close")
    if method != "close":
        consumer.close()
