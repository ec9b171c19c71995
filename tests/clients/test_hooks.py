"""The hook of a producer: what it finds in the arguments of a send, and what becomes of its changes."""

from typing import NamedTuple

import pytest
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


def test_hook_sees_its_span_as_the_current_one(producing, recorder):
    """A span that it makes is a child of the send's; afterwards the context is as before."""

    def hook(span, args, kwargs):
        assert trace.get_current_span() is span
        recorder.tracer_provider.get_tracer("app").start_span("in the hook").end()

    producing(hook).send("t", b"v")
    (sent,), (inside,) = recorder.named("send t"), recorder.named("in the hook")
    assert inside.parent.span_id == sent.context.span_id
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_hook_is_not_called_where_a_topic_is_not_traced(producing, cluster):
    """There is no span to give to it; the context is sent nevertheless."""
    called = []
    with trace.use_span(
        trace.NonRecordingSpan(trace.SpanContext(1, 1, is_remote=False, trace_flags=trace.TraceFlags(1)))
    ):
        producing(lambda *_: called.append(None), trace_topic=lambda topic: False).send("t", b"v")
    assert called == []
    assert names(cluster) == ["traceparent"]


class Header(NamedTuple):
    """What kafka-python takes since 2.3."""

    name: str
    value: bytes


def test_headers_of_the_callers_own_class_stay_and_the_hook_adds_to_them(producing, cluster, caplog):
    """What the client takes, the hook may leave."""
    try:
        FakeProducer().send("t", b"v", headers=[Header("own", b"1")])
    except (AssertionError, TypeError):
        pytest.skip("this release refuses subclasses of tuple")
    producing(add).send("t", b"v", headers=[Header("own", b"1")])
    assert names(cluster) == ["own", "traceparent", "tenant"]
    assert caplog.records == []


class Ambiguous:
    """Headers without a truth value, as an array has none."""

    def __bool__(self):
        raise ValueError


def test_headers_that_the_client_refuses_are_refused_by_its_own_error(producing):
    """Whatever they are, and whether there is a hook or not."""
    errors = []
    for send in (FakeProducer().send, producing(lambda *_: None).send):
        with pytest.raises(Exception) as refusal:  # noqa: PT011 (the client's own, whichever it is)
            send("t", b"v", headers=Ambiguous())
        errors.append((type(refusal.value), str(refusal.value)))
    assert errors[0] == errors[1]
