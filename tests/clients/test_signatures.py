"""The signatures of traced methods: the client's."""

import inspect

import pytest

from otelkafka import ConsumerOptions, ProducerOptions
from otelkafka.testing import FakeConsumer, FakeProducer
from tests.support.face import wrap_consumer, wrap_producer
from tests.support.fakes import Listener


@pytest.mark.parametrize("name", ["send", "close"])
def test_signature_of_a_producers_method_is_the_clients(name):
    """Editors and frameworks that read it find the arguments of the client, wrapped or patched."""
    client = FakeProducer()
    expected = inspect.signature(getattr(client, name))
    traced = wrap_producer(client)
    assert inspect.signature(getattr(traced, name)) == expected
    assert inspect.signature(getattr(wrap_producer(traced), name)) == expected


@pytest.mark.parametrize("name", ["poll", "subscribe", "assign", "commit", "commit_async", "unsubscribe", "close"])
def test_signature_of_a_consumers_method_is_the_clients(name):
    """Likewise."""
    client = FakeConsumer()
    expected = inspect.signature(getattr(client, name))
    assert inspect.signature(getattr(wrap_consumer(client), name)) == expected


def test_subclass_that_subscribes_with_any_arguments_is_listened_to(recorder):
    """Its signature does not say where the listener is; the user's is called, and there is one span a rebalance."""

    class Own(FakeConsumer):
        def subscribe(self, *args, **kwargs):
            return super().subscribe(*args, **kwargs)

    for arguments in ({}, {"listener": Listener()}):
        recorder.clear()
        bare = Own(group_id="g", enable_auto_commit=False)
        bare.cluster.create_topic("t")
        consumer = wrap_consumer(bare, ConsumerOptions(tracer_provider=recorder.tracer_provider))
        for _ in range(2):
            consumer.subscribe(["t"], **arguments)
        consumer.poll()
        assert [span.name for span in recorder.spans] == ["assign t"]
        if arguments:
            assert arguments["listener"].calls == [("assigned", 1)]


class Unknown:
    """What a function wraps whose annotations are evaluated when they are asked for, and then raise."""

    @property
    def __signature__(self):
        raise NameError("name 'OnlyForTypeCheckers' is not defined")


@pytest.mark.parametrize("wrap", [wrap_producer, wrap_consumer])
def test_client_whose_annotations_cannot_be_evaluated_works(wrap, recorder):
    """As under Python 3.14, where names that are imported for type checkers alone are not known."""

    class Sending(FakeProducer):
        def send(self, *args, **kwargs):
            return super().send(*args, **kwargs)

    class Subscribing(FakeConsumer):
        def subscribe(self, *args, **kwargs):
            return super().subscribe(*args, **kwargs)

    if wrap is wrap_producer:
        Sending.send.__wrapped__ = Unknown()
        wrap(Sending(), ProducerOptions(tracer_provider=recorder.tracer_provider)).send("t", b"v")
        assert [span.name for span in recorder.spans] == ["send t"]
        return
    Subscribing.subscribe.__wrapped__ = Unknown()
    bare = Subscribing(group_id="g", enable_auto_commit=False)
    bare.cluster.create_topic("t")
    consumer = wrap(bare, ConsumerOptions(tracer_provider=recorder.tracer_provider))
    listener = Listener()
    consumer.subscribe(["t"], listener=listener)
    consumer.poll()
    assert [span.name for span in recorder.spans] == ["assign t"]
    assert listener.calls == [("assigned", 1)]
