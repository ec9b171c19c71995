"""Patched classes of a client library."""

import os
import signal
import threading
import weakref

import pytest
from opentelemetry.sdk.trace import TracerProvider

import otelkafka
from otelkafka import ConsumerOptions, ProducerOptions
from otelkafka.testing import FakeConsumer, FakeProducer, MetricRecorder, fake_record
from tests.support.face import INSTRUMENTED, wrap_consumer
from tests.support.fakes import Listener
from tests.support.internals import ConsumerFace, Patch, ProducerFace


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
def test_poll_inside_of_another_call_of_the_client_has_no_span_of_its_own(recorder, method):
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


@pytest.fixture
def patched(request):
    """Patch a class as zero code does, until the test ends."""

    def patch(client_class, face, make_face):
        made = Patch(client_class, face, make_face)
        made.apply()
        request.addfinalizer(made.remove)
        return made

    return patch


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_subclass_that_overrides_send_has_one_span_a_call(recorder, patched, is_wrapped):
    """Under zero code, wrapped or not: what it overrides is part of its own call; other methods of its are traced."""

    class Base(FakeProducer):
        pass

    class Mine(Base):
        def send(self, topic, value=None, **more):
            return super().send(topic, value, **more)

        def publish(self):
            return self.send("u", b"v")

    options = ProducerOptions(tracer_provider=recorder.tracer_provider)
    patched(Base, ProducerFace, lambda client: ProducerFace(client, options))
    producer = otelkafka.wrap_producer(Mine(), options) if is_wrapped else Mine()
    producer.send("t", b"v")
    producer.publish()
    producer.close()
    assert sorted(span.name for span in recorder.spans) == ["send t", "send u"]


@pytest.mark.parametrize("is_wrapped", [False, True])
@pytest.mark.parametrize("overridden", ["__next__", "__iter__", "poll", "commit", "close"])
def test_subclass_that_overrides_a_method_of_a_consumer_has_one_span_a_record(
    recorder, patched, overridden, is_wrapped
):
    """Each is traced and counted once."""

    class Base(FakeConsumer):
        pass

    def override(self, *args, **kwargs):
        return getattr(super(Mine, self), overridden)(*args, **kwargs)

    Mine = type("Mine", (Base,), {overridden: override})  # noqa: N806 (a class)
    metrics = MetricRecorder()
    options = ConsumerOptions(tracer_provider=recorder.tracer_provider, meter_provider=metrics.meter_provider)
    patched(Base, ConsumerFace, lambda client: ConsumerFace(client, options))
    bare = Mine(records=[fake_record("t", offset=at) for at in range(4)], group_id="g")
    consumer = otelkafka.wrap_consumer(bare, options) if is_wrapped else bare
    next(consumer)
    next(iter(consumer))
    for records in consumer.poll().values():
        for _ in records:
            consumer.commit()
    consumer.close()
    assert [span.attributes["messaging.kafka.offset"] for span in recorder.named("process t")] == [0, 1, 2, 3]
    assert len(recorder.named("commit")) + len(recorder.named("commit t")) == 2
    assert sum(count for _, count in metrics.points("messaging.client.consumed.messages")) == 4


def test_nothing_is_recorded_of_a_rebalance_after_the_patch_was_removed(recorder, patched):
    """The listener lives on in the consumer, and calls the user's alone."""

    class Mine(FakeConsumer):
        pass

    options = ConsumerOptions(tracer_provider=recorder.tracer_provider)
    patch = patched(Mine, ConsumerFace, lambda client: ConsumerFace(client, options))
    consumer, user = Mine(group_id="g"), Listener()
    consumer.cluster.create_topic("t")
    consumer.subscribe(["t"], listener=user)
    listener = consumer._subscription.listener
    patch.remove()
    recorder.clear()
    listener.on_partitions_revoked(set(consumer.cluster.partitions_of("t")))
    assert user.calls[-1] == ("revoked", 1)
    assert recorder.spans == []
