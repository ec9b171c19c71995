"""A span whose attributes otelkafka writes is the span that the SDK would have made."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, ParentBasedTraceIdRatio, Sampler
from opentelemetry.trace import Link, NoOpTracer, SpanContext, SpanKind

from otelkafka import ConsumerOptions, ProducerOptions
from tests.support.face import wrap_consumer, wrap_producer
from tests.support.fakes import FakeConsumer, FakeProducer, record
from tests.support.internals import examine_spans_again, quick_tracer, set_attributes, writes_attributes

KINDS = {"a", "b", "c", "d"}
VALUES = st.one_of(
    st.text(max_size=9),
    st.integers(),
    st.floats(allow_nan=False),
    st.booleans(),
    st.lists(st.text(max_size=3), max_size=2),
    st.binary(max_size=3),
    st.none(),
)
ATTRIBUTES = st.dictionaries(st.sampled_from(sorted(KINDS)), VALUES)
LIMITS = [{}, {"max_span_attributes": 2}, {"max_span_attribute_length": 3}, {"max_attribute_length": 4}]


class Own(SpanProcessor):
    """A user's, which reads each span at its start."""

    def __init__(self):
        self.seen = []

    def on_start(self, span, parent_context=None):
        self.seen.append(dict(span.attributes))


class Silent(BatchSpanProcessor):
    """A user's, which does not."""


class OwnSampler(Sampler):
    """A user's, which reads the attributes of each span, and adds one."""

    def __init__(self):
        self.seen = []

    def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, links=None, trace_state=None):
        self.seen.append(dict(attributes or {}))
        more = {**(attributes or {}), "own": True}
        return ALWAYS_ON.should_sample(parent_context, trace_id, name, kind, more, links)

    def get_description(self):
        return "own"


def provider_of(*processors, sampler=ALWAYS_ON, **more):
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False, **more)
    for each in processors:
        provider.add_span_processor(each)
    return provider


def started(tracer, attributes):
    return tracer.start_span("s", Context(), SpanKind.CLIENT, attributes, (), 7)


LINK_LIMITS = [{}, {"max_links": 2}, {"max_link_attributes": 1}, {"max_attribute_length": 2}]


def links_of(count):
    context = SpanContext(7, 8, is_remote=True)
    return [Link(context, {"at": at, "name": "three"}) for at in range(count)]


def shown_links(span):
    return [(link.context, dict(link.attributes)) for link in span.links], span.dropped_links


def shown(span):
    return list(span.attributes.items()), span.dropped_attributes


@settings(deadline=None, max_examples=60)
@given(ATTRIBUTES, ATTRIBUTES, ATTRIBUTES, st.sampled_from(LIMITS))
def test_span_is_that_of_the_sdk(at_start, at_end, later, limits):
    """Whatever the values and the limits are: the same attributes in the same order, and as many dropped."""
    tracer = provider_of(span_limits=SpanLimits(**limits)).get_tracer("t")
    public, quick = started(tracer, dict(at_start)), started(quick_tracer(tracer), dict(at_start))
    assert shown(public) == shown(quick)
    public.set_attributes(at_end)
    set_attributes(quick, at_end)
    assert sorted(map(repr, shown(public)[0])) == sorted(map(repr, shown(quick)[0]))
    for span in public, quick:
        span.set_attributes(later)
        span.end()
    set_attributes(quick, {"late": 1})
    assert "late" not in quick.attributes
    assert sorted(map(repr, shown(public)[0])) == sorted(map(repr, shown(quick)[0]))
    assert public.dropped_attributes == quick.dropped_attributes


@pytest.mark.parametrize("limits", LINK_LIMITS, ids=str)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_links_of_several_spans_are_those_of_the_sdk(limits, count):
    """Given to one span after another: of each the same, also if one adds another link."""
    tracer = provider_of(span_limits=SpanLimits(**limits)).get_tracer("t")
    public = tracer.start_span("s", Context(), SpanKind.CLIENT, {}, links_of(count))
    quick, links = quick_tracer(tracer), links_of(count)
    for _ in range(3):
        span = quick.start_span("s", Context(), SpanKind.CLIENT, {}, links, None)
        assert shown_links(span) == shown_links(public)
        span.add_link(SpanContext(1, 2, is_remote=False))
    other = quick.start_span("s", Context(), SpanKind.CLIENT, {}, links_of(count), None)
    assert shown_links(other) == shown_links(public)


@pytest.mark.parametrize(
    ("sampler", "processors", "writes"),
    [
        (ALWAYS_ON, [], True),
        (ParentBased(ALWAYS_ON), [SimpleSpanProcessor(InMemorySpanExporter())], True),
        (ParentBasedTraceIdRatio(1.0), [Silent(InMemorySpanExporter())], True),
        (OwnSampler(), [], False),
        (ParentBased(OwnSampler()), [], False),
        (ParentBased(ALWAYS_ON, remote_parent_sampled=OwnSampler()), [], False),
        (ALWAYS_ON, [SimpleSpanProcessor(InMemorySpanExporter()), Own()], False),
    ],
)
def test_attributes_are_left_to_the_sdk_where_somebody_reads_them_at_the_start(sampler, processors, writes):
    """A sampler or a span processor of the user's gets them as ever."""
    tracer = quick_tracer(provider_of(*processors, sampler=sampler).get_tracer("t"))
    assert writes_attributes(tracer) is writes
    for each in processors:
        each.shutdown()


@pytest.mark.parametrize("is_later", [False, True])
def test_span_processor_that_reads_a_span_at_its_start_finds_all_attributes(is_later):
    """Of sends and of records, also where it is added when spans have been made already."""
    own, exporter = Own(), InMemorySpanExporter()
    provider = provider_of(SimpleSpanProcessor(exporter), *([] if is_later else [own]))
    producer = wrap_producer(FakeProducer(), ProducerOptions(tracer_provider=provider))
    records = [record(offset=at, key=b"k") for at in range(2)]
    consumer = wrap_consumer(FakeConsumer(*records), ConsumerOptions(tracer_provider=provider))
    producer.send("t", b"v", key=b"k")
    walk = iter(consumer)
    next(walk)
    if is_later:
        provider.add_span_processor(own)
    producer.send("t", b"v", key=b"k")
    next(walk)
    of_send, of_record = own.seen[-2:]
    assert of_send["messaging.operation.name"] == "send"
    assert of_record["messaging.operation.name"] == "process"
    for seen in of_send, of_record:
        assert seen["messaging.destination.name"]
        assert seen["messaging.kafka.message.key"] == "k"


def test_sampler_of_the_user_gets_the_attributes_and_adds_its_own():
    """It decides by them, and what it adds stands on the span."""
    sampler, exporter = OwnSampler(), InMemorySpanExporter()
    provider = provider_of(SimpleSpanProcessor(exporter), sampler=sampler)
    wrap_producer(FakeProducer(), ProducerOptions(tracer_provider=provider)).send("t", b"v", key=b"k")
    assert sampler.seen[-1]["messaging.destination.name"] == "t"
    assert sampler.seen[-1]["messaging.kafka.message.key"] == "k"


class Slotted:
    """A user's, which derives from nothing and compares with nothing."""

    __slots__ = ()
    __hash__ = None

    def __eq__(self, other):
        raise ValueError

    on_start = SpanProcessor.on_start
    _on_ending = on_end = on_start


def test_span_processor_that_is_made_otherwise_is_taken_for_one_that_reads():
    """Whatever it raises when it is asked what it is."""
    provider = provider_of(Slotted())
    assert not writes_attributes(quick_tracer(provider.get_tracer("t")))


def test_function_in_the_place_of_a_span_processors_own_finds_all_attributes(monkeypatch):
    """Another library may patch the SDK's class."""
    seen = []
    monkeypatch.setattr(
        SimpleSpanProcessor, "on_start", lambda _, span, parent_context: seen.append(dict(span.attributes))
    )
    started(quick_tracer(provider_of(SimpleSpanProcessor(InMemorySpanExporter())).get_tracer("t")), {"a": 1})
    assert seen == [{"a": 1}]


def test_function_in_the_place_of_the_tracers_own_gets_the_attributes(monkeypatch):
    """Another library may patch `Tracer.start_span`."""
    own, seen = sdk.Tracer.start_span, []

    def start_span(self, name, context=None, kind=None, attributes=None, links=(), start_time=None):
        seen.append(dict(attributes or {}))
        return own(self, name, context, kind, attributes, links, start_time)

    tracer = quick_tracer(provider_of().get_tracer("t"))
    monkeypatch.setattr(sdk.Tracer, "start_span", start_span)
    started(quick_tracer(tracer), {"a": 1})
    assert seen == [{"a": 1}]


@pytest.mark.parametrize("broken", ["changes", "lacks", "is made otherwise"])
def test_spans_that_are_made_otherwise_are_left_to_the_sdk(monkeypatch, broken):
    """The self-test finds it, in another release or a patched one."""

    class Other(sdk._Span):
        def __init__(self, *args, attributes=None, **more):
            if broken == "is made otherwise":
                raise ValueError
            changed = {key: str(value) for key, value in (attributes or {}).items()}
            super().__init__(*args, attributes=changed if broken == "changes" else attributes, **more)
            if broken == "lacks":
                del self._limits

    monkeypatch.setattr(sdk, "_Span", Other)
    examine_spans_again(monkeypatch.setattr)
    assert not writes_attributes(quick_tracer(provider_of().get_tracer("t")))


def test_span_of_a_class_that_is_replaced_later_has_its_attributes(monkeypatch):
    """Another library may put its own class in the place of the SDK's."""

    class Other(sdk._Span):
        """A user's."""

    tracer = quick_tracer(provider_of().get_tracer("t"))
    monkeypatch.setattr(sdk, "_Span", Other)
    span = started(tracer, {"a": 1})
    assert (type(span), span.attributes) == (Other, {"a": 1})
    assert not writes_attributes(quick_tracer(tracer))


def test_limits_are_those_of_the_environment(monkeypatch):
    """Where a text may be cut, or an attribute dropped, the SDK does it."""
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "2")
    tracer = quick_tracer(provider_of().get_tracer("t"))
    assert len(started(tracer, {"a": 1, "b": 2, "c": 3}).attributes) == 2
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "1")
    assert started(quick_tracer(provider_of().get_tracer("t")), {"a": "text"}).attributes == {"a": "t"}


def test_tracer_of_somebody_else_is_left_as_it_is():
    """Only the SDK's own is known."""

    class OwnTracer(sdk.Tracer):
        """A user's."""

    given = provider_of().get_tracer("t")
    given.__class__ = OwnTracer
    assert quick_tracer(given) is given
    nothing = NoOpTracer()
    assert quick_tracer(nothing) is nothing
