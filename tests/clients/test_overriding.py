"""Subclasses of a client that override what is traced: one span a call, with any of the faces."""

import pytest

import otelkafka
from otelkafka import ConsumerOptions, ProducerOptions
from otelkafka.testing import FakeCluster, FakeConsumer, FakeProducer, MetricRecorder, SpanRecorder, fake_record
from tests.support.internals import ConsumerFace, Patch, ProducerFace
from tests.support.waiting import PATIENCE

WAYS = ["wrapped", "patched", "wrapped and patched"]


class Traced:
    """Makes clients of a class like the library's, which is patched or whose clients are wrapped, or both."""

    def __init__(self, way):
        self.recorder, self.metrics, self.cluster = SpanRecorder(), MetricRecorder(), FakeCluster()
        self.providers = {
            "tracer_provider": self.recorder.tracer_provider,
            "meter_provider": self.metrics.meter_provider,
        }
        self.is_patched, self.is_wrapped = "patched" in way, "wrapped" in way

    def library(self, fake, face, options):
        library = type("Library", (fake,), {})
        if self.is_patched:
            Patch(library, face, lambda client: face(client, options)).apply()
        return library

    def consumer(self, overrides, records=3, **options):
        options = ConsumerOptions(**self.providers, **options)
        own = overrides(self.library(FakeConsumer, ConsumerFace, options))
        given = [fake_record("t", offset=at) for at in range(records)]
        bare = own(records=given, cluster=self.cluster, group_id="g", enable_auto_commit=False)
        return otelkafka.wrap_consumer(bare, options) if self.is_wrapped else bare

    def producer(self, overrides):
        options = ProducerOptions(**self.providers)
        bare = overrides(self.library(FakeProducer, ProducerFace, options))(self.cluster)
        return otelkafka.wrap_producer(bare, options) if self.is_wrapped else bare

    def names(self):
        return sorted(span.name for span in self.recorder.spans)

    def count(self, name):
        return sum(value for _, value in self.metrics.points(name))


@pytest.fixture(params=WAYS)
def traced(request):
    return Traced(request.param)


@pytest.fixture
def patched():
    return Traced("patched")


def test_send(traced):
    """A send that adds something to the value: one span, one context, one message."""

    def overriding(library):
        class Own(library):
            def send(self, topic, value=None, **more):
                return super().send(topic, value + b"!", **more)

        return Own

    producer = traced.producer(overriding)
    for _ in range(2):
        producer.send("t", b"v").get(PATIENCE)
    producer.close()
    assert traced.names() == ["send t"] * 2
    assert traced.count("messaging.client.sent.messages") == 2
    assert [[key for key, _ in record.headers] for record in traced.cluster.records("t")] == [["traceparent"]] * 2


@pytest.mark.parametrize("way", WAYS[1:])
def test_copy_that_a_send_makes_of_its_record_is_a_send_of_its_own(way):
    """Two records go out, to the topic and to another: each has its span and its context."""
    traced = Traced(way)

    def overriding(library):
        class Own(library):
            def send(self, topic, value=None, **more):
                future = super().send(topic, value, **more)
                super().send(f"{topic}.copy", value)
                return future

        return Own

    traced.producer(overriding).send("t", b"v").get(PATIENCE)
    assert traced.names() == ["send t", "send t.copy"]
    assert traced.count("messaging.client.sent.messages") == 2
    for topic in ("t", "t.copy"):
        (record,) = traced.cluster.records(topic)
        (span,) = traced.recorder.named(f"send {topic}")
        assert f"{span.context.span_id:016x}" in dict(record.headers)["traceparent"].decode()


def test_helper_that_sends_is_traced_where_the_class_is_patched(patched):
    """`publish()` calls `self.send()`, past any wrapper: the patch sees it."""

    def overriding(library):
        class Own(library):
            def publish(self, value):
                return self.send("t", value)

            def send(self, *args, **kwargs):
                return super().send(*args, **kwargs)

        return Own

    patched.producer(overriding).publish(b"v").get(PATIENCE)
    assert patched.names() == ["send t"]


@pytest.mark.parametrize("take", [list, lambda consumer: [next(consumer) for _ in range(3)]], ids=["iter", "next"])
def test_next(traced, take):
    """Records decoded in `__next__`: a span a record, each counted once."""

    def overriding(library):
        class Own(library):
            def __next__(self):
                return super().__next__()._replace(value="decoded")

        return Own

    consumer = traced.consumer(overriding)
    assert [record.value for record in take(consumer)] == ["decoded"] * 3
    consumer.close()
    assert traced.names() == ["process t"] * 3
    assert traced.count("messaging.client.consumed.messages") == 3


def test_next_that_leaves_records_out(traced):
    """In a loop, what `__next__` does not hand over has no span."""

    def overriding(library):
        class Own(library):
            def __next__(self):
                while (record := super().__next__()).offset % 2:
                    pass
                return record

        return Own

    consumer = traced.consumer(overriding)
    assert [record.offset for record in consumer] == [0, 2]
    assert traced.names() == ["process t"] * 2


def test_next_of_several_polls(traced):
    """In a loop, each record has its span and is counted once, however `__next__` comes by it."""

    def overriding(library):
        class Own(library):
            def __next__(self):
                for _ in range(2):
                    for records in self.poll(max_records=1).values():
                        return records[0]
                raise StopIteration

        return Own

    consumer = traced.consumer(overriding, poll_spans=True)
    assert [record.offset for record in consumer] == [0, 1, 2]
    assert traced.names() == ["process t"] * 3
    assert traced.count("messaging.client.consumed.messages") == 3


def test_iteration_by_a_generator(traced):
    """`__iter__` is a generator over the client's own `__next__`: a span a record."""

    def overriding(library):
        class Own(library):
            def __iter__(self):
                for record in iter(super().__next__, None):
                    yield record._replace(value="decoded")

        return Own

    consumer = traced.consumer(overriding)
    assert [record.value for record in consumer] == ["decoded"] * 3
    consumer.close()
    assert traced.names() == ["process t"] * 3
    assert traced.count("messaging.client.consumed.messages") == 3


def test_poll(traced):
    """One span of the poll, one a record."""

    def overriding(library):
        class Own(library):
            def poll(self, *args, **kwargs):
                return super().poll(*args, **kwargs)

        return Own

    consumer = traced.consumer(overriding, poll_spans=True)
    for records in consumer.poll().values():
        for _ in records:
            pass
    consumer.close()
    assert traced.names() == ["poll t"] + ["process t"] * 3
    assert traced.count("messaging.client.consumed.messages") == 3


@pytest.mark.parametrize("inner", ["commit", "commit_async"])
def test_commit(traced, inner):
    """A commit that is made of the client's own, of either kind: one span."""

    def overriding(library):
        class Own(library):
            def commit(self, *args, **kwargs):
                return getattr(super(), inner)(*args, **kwargs)

        return Own

    consumer = traced.consumer(overriding)
    for _ in consumer:
        consumer.commit()
        break
    consumer.close()
    assert traced.names() == ["commit t", "process t"]


@pytest.mark.parametrize("way", WAYS[1:])
def test_commit_inside_of_next(way):
    """What `__next__` commits is a commit, not a part of the fetching, where the class is patched."""
    traced = Traced(way)

    def overriding(library):
        class Own(library):
            def __next__(self):
                record = super().__next__()
                self.commit()
                return record

        return Own

    consumer = traced.consumer(overriding)
    list(consumer)
    durations = traced.metrics.points("messaging.client.operation.duration")
    assert sum(count for attributes, count in durations if attributes["messaging.operation.name"] == "commit") == 3


def test_subscribe(traced):
    """An own listener inside of `subscribe()`: one span a rebalance, and the listener is called."""
    assigned = []

    def overriding(library):
        class Own(library):
            def subscribe(self, topics=(), pattern=None, listener=None):
                assigned.append(None)
                return super().subscribe(topics, pattern, listener)

        return Own

    traced.cluster.create_topic("t")
    consumer = traced.consumer(overriding, records=0)
    consumer.subscribe(["t"])
    consumer.poll()
    consumer.close()
    assert assigned == [None]
    assert traced.names().count("assign t") == 1


def test_close(traced):
    """`close()`, and the end of `with`: what was open has ended, once."""

    def overriding(library):
        class Own(library):
            def close(self, *args, **kwargs):
                return super().close(*args, **kwargs)

        return Own

    with traced.consumer(overriding) as consumer:
        next(consumer)
    assert traced.names() == ["process t"]
