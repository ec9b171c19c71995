"""The signatures of traced methods: the client's."""

import inspect

import pytest

from otelkafka import ConsumerOptions
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
