"""The hook of a producer: what it finds in the arguments of a send, and what becomes of its changes."""

import pytest
from kafka.errors import MessageSizeTooLargeError
from opentelemetry import trace

from otelkafka import ProducerOptions
from otelkafka.testing import FakeCluster, FakeProducer
from tests.support.internals import Patch, ProducerFace


@pytest.fixture
def cluster():
    return FakeCluster()


@pytest.fixture
def producing(recorder, cluster):
    """Make a producer of a patched class, with a hook."""

    def producing(hook, **options):
        options = ProducerOptions(tracer_provider=recorder.tracer_provider, **options)
        library = type("Library", (FakeProducer,), {})
        Patch(library, ProducerFace, lambda client: ProducerFace(client, options, produce_hook=hook)).apply()
        return library(cluster)

    return producing


def names(cluster, topic="t"):
    (record,) = cluster.records(topic)
    return [name for name, _ in record.headers]


def add(span, args, kwargs):
    kwargs["headers"].append(("tenant", b"a"))


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, ["traceparent", "tenant"]),
        ({"headers": None}, ["traceparent", "tenant"]),
        ({"headers": [("own", b"1")]}, ["own", "traceparent", "tenant"]),
        ({"headers": [("traceparent", b"old"), ("own", b"1")]}, ["own", "traceparent", "tenant"]),
    ],
    ids=["none", "None", "own", "stale"],
)
def test_headers_that_the_hook_adds_are_sent(producing, cluster, given, sent):
    """In the list that it finds, which is a copy of the caller's with our header in it."""
    before = [*given["headers"]] if given.get("headers") else given.get("headers")
    producing(add).send("t", b"v", **given)
    assert names(cluster) == sent
    assert given.get("headers") == before


def test_headers_by_position_are_there_by_position(producing, cluster):
    """As with the other instrumentation; they are a copy, too."""
    given = [("own", b"1")]
    producing(lambda span, args, kwargs: args[3].append(("tenant", b"a"))).send("t", b"v", None, given)
    assert names(cluster) == ["own", "traceparent", "tenant"]
    assert given == [("own", b"1")]


def test_list_that_the_hook_puts_there_is_sent(producing, cluster):
    """It may take headers away, ours too."""

    def replace(span, args, kwargs):
        kwargs["headers"] = [("tenant", b"a")]

    producing(replace).send("t", b"v")
    assert names(cluster) == ["tenant"]


def test_other_arguments_that_the_hook_changes_are_sent(producing, cluster):
    """The value and the key, for example."""
    producing(lambda span, args, kwargs: kwargs.update(key=b"k")).send("t", value=b"v")
    (record,) = cluster.records("t")
    assert (record.key, record.value) == (b"k", b"v")


@pytest.mark.parametrize("junk", [("tenant", "text"), "tenant"])
def test_headers_that_the_hook_spoils_are_not_sent(producing, cluster, caplog, junk):
    """The record goes out with those that it had, and a warning names the hook."""
    producing(lambda span, args, kwargs: kwargs["headers"].append(junk)).send("t", b"v")
    assert names(cluster) == ["traceparent"]
    assert "produce_hook" in caplog.text


def test_headers_that_the_client_refuses_are_refused(producing):
    """With the client's own error, whatever the hook does."""
    with pytest.raises((AssertionError, TypeError)):
        producing(lambda *_: None).send("t", b"v", headers=(("own", b"1"),))


def test_hook_sees_its_span_as_the_current_one(producing, recorder):
    """A span that it makes is a child of the send's; afterwards the context is as before."""

    def hook(span, args, kwargs):
        assert trace.get_current_span() is span
        recorder.tracer_provider.get_tracer("app").start_span("in the hook").end()

    producing(hook).send("t", b"v")
    (sent,), (inside,) = recorder.named("send t"), recorder.named("in the hook")
    assert inside.parent.span_id == sent.context.span_id
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_record_that_our_header_made_too_large_is_sent_with_what_the_hook_added(producing, cluster, monkeypatch):
    """Without our header alone."""

    def send(producer, topic, value=None, key=None, headers=None):
        if any(name == "traceparent" for name, _ in headers):
            raise MessageSizeTooLargeError
        return own(producer, topic, value, key, headers)

    own = FakeProducer.send
    monkeypatch.setattr(FakeProducer, "send", send)
    producing(add).send("t", b"v", headers=[("own", b"1")])
    assert names(cluster) == ["own", "tenant"]


def test_hook_is_not_called_where_a_topic_is_not_traced(producing, cluster):
    """There is no span to give to it; the context is sent all the same."""
    called = []
    with trace.use_span(
        trace.NonRecordingSpan(trace.SpanContext(1, 1, is_remote=False, trace_flags=trace.TraceFlags(1)))
    ):
        producing(lambda *_: called.append(None), trace_topic=lambda topic: False).send("t", b"v")
    assert called == []
    assert names(cluster) == ["traceparent"]
