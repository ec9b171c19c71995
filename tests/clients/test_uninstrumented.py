"""What is left of zero code when it is taken back: nothing that records."""

from types import SimpleNamespace

import pytest
from kafka import TopicPartition

from otelkafka import ConsumerOptions, wrap_consumer
from otelkafka.testing import FakeCluster, FakeConsumer, fake_record
from tests.support.fakes import Listener
from tests.support.internals import ConsumerFace, Patch

CALLBACK = "default_offset_commit_callback"


@pytest.fixture
def options(recorder, metrics):
    return ConsumerOptions(tracer_provider=recorder.tracer_provider, meter_provider=metrics.meter_provider)


@pytest.fixture
def library():
    return type("Library", (FakeConsumer,), {})


@pytest.fixture
def patch(library, options):
    return Patch(library, ConsumerFace, lambda client: ConsumerFace(client, options))


@pytest.fixture
def make_consumer(library):
    def make(**more):
        cluster = FakeCluster()
        cluster.write(fake_record("t"))
        consumer = library(cluster=cluster, group_id="g", enable_auto_commit=False)
        consumer._coordinator = SimpleNamespace(config={CALLBACK: lambda *_: None})
        consumer.subscribe(["t"], **more)
        return consumer

    return make


def names(recorder):
    return [span.name for span in recorder.spans]


def counts(metrics):
    kinds = ("otelkafka.consumer.rebalances", "otelkafka.consumer.auto_commits")
    return tuple([count for _, count in metrics.points(kind)] for kind in kinds)


def commit_automatically(consumer):
    consumer._coordinator.config[CALLBACK]({}, True)


@pytest.mark.parametrize("listener", [None, Listener()], ids=["none", "own"])
@pytest.mark.parametrize("subscribed", ["before", "after"])
def test_rebalances_and_automatic_commits(patch, make_consumer, recorder, metrics, listener, subscribed):
    """They are the user's alone again, whose listener goes on."""
    if subscribed == "after":
        patch.apply()
    consumer = make_consumer(listener=listener)
    if subscribed == "before":
        patch.apply()
    consumer.poll()
    commit_automatically(consumer)
    counted = counts(metrics)
    patch.remove()
    recorder.clear()
    present = consumer._subscription.listener
    if present is not None:
        present.on_partitions_revoked([TopicPartition("t", 0)])
        present.on_partitions_assigned([TopicPartition("t", 0)])
    commit_automatically(consumer)
    assert names(recorder) == []
    assert counts(metrics) == counted
    assert counted == ([1], [1])
    if listener is not None:
        assert listener.calls[-2:] == [("revoked", 1), ("assigned", 1)]


def test_figures_of_a_consumer_go_with_it(patch, make_consumer, metrics):
    """Its lag is no longer reported."""
    patch.apply()
    consumer = make_consumer()
    next(consumer)
    assert metrics.points("otelkafka.consumer.lag")
    patch.remove()
    assert metrics.points("otelkafka.consumer.lag") == []


@pytest.mark.parametrize("first", ["wrapped", "patched"])
def test_wrapped_consumer_goes_on(patch, make_consumer, options, recorder, metrics, first):
    """In either order: the wrapper records rebalances, commits and records, each once."""
    bare = make_consumer()
    if first == "wrapped":
        consumer = wrap_consumer(bare, options)
        patch.apply()
        bare.commit()
    else:
        patch.apply()
        bare.commit()
        consumer = wrap_consumer(bare, options)
    patch.remove()
    recorder.clear()
    next(consumer)
    commit_automatically(bare)
    consumer.close()
    assert sorted(names(recorder)) == ["assign t", "process t", "revoke t"]
    assert [count for _, count in metrics.points("otelkafka.consumer.auto_commits")] == [1]


def test_instrumented_again(patch, make_consumer, options, library, recorder, metrics):
    """As at the first time: each once."""
    patch.apply()
    consumer = make_consumer()
    consumer.poll()
    patch.remove()
    recorder.clear()
    again = Patch(library, ConsumerFace, lambda client: ConsumerFace(client, options))
    again.apply()
    consumer.commit()
    commit_automatically(consumer)
    consumer.close()
    assert names(recorder) == ["revoke t"]
    assert [count for _, count in metrics.points("otelkafka.consumer.auto_commits")] == [1]
    assert metrics.points("otelkafka.consumer.lag") == []


def test_consumer_that_is_wrapped_before_has_one_rebalance_each_time(library, options, make_consumer, recorder):
    """Zero code comes, goes and comes again: what is left of it in the consumer counts for nothing."""
    consumer = make_consumer(listener=Listener())
    wrapped = wrap_consumer(consumer, options)
    for _ in range(2):
        patch = Patch(library, ConsumerFace, lambda client: ConsumerFace(client, options))
        patch.apply()
        consumer.assignment()
        consumer.commit()
        recorder.clear()
        consumer._subscription.listener.on_partitions_revoked([TopicPartition("t", 0)])
        assert names(recorder) == ["revoke t"]
        patch.remove()
    recorder.clear()
    consumer._subscription.listener.on_partitions_revoked([TopicPartition("t", 0)])
    assert names(recorder) == ["revoke t"]
    wrapped.close()
