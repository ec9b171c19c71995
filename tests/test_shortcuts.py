"""The short cuts mean the same as the general path, and are taken only where that is certain."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import context, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagate import set_global_textmap
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    ParentBasedTraceIdRatio,
    TraceIdRatioBased,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otelkafka import ConsumerOptions, HeaderCarrier, Options, ProducerOptions, extract
from otelkafka.shortcuts import rules_of
from otelkafka.telemetry import Telemetry
from otelkafka.testing import MetricRecorder, SpanRecorder
from tests.face import wrap_consumer, wrap_producer
from tests.fakes import FakeConsumer, FakeProducer, record


class OwnGenerator(RandomIdGenerator):
    """Somebody's own, who may do anything."""


class OwnPropagator(TraceContextTextMapPropagator):
    """Somebody's own, with the same fields."""


class OwnSampler(TraceIdRatioBased):
    """Somebody's own, with the same description."""


def rules(**options):
    return rules_of(Options(**options), "test", "1", "")


def provider_of(sampler, **more):
    return TracerProvider(sampler=sampler, shutdown_on_exit=False, **more)


SAMPLERS = {
    "never": lambda: ParentBased(ALWAYS_OFF),
    "ratio": lambda: ParentBasedTraceIdRatio(0.3),
    "half": lambda: ParentBased(TraceIdRatioBased(0.5)),
}
GENERAL = {
    "no SDK": lambda: {"tracer_provider": trace.NoOpTracerProvider()},
    "own generator": lambda: {"tracer_provider": provider_of(ParentBased(ALWAYS_OFF), id_generator=OwnGenerator())},
    "own propagator": lambda: {"propagator": OwnPropagator()},
    "baggage alone": lambda: {"propagator": CompositePropagator([W3CBaggagePropagator()])},
    "own carrier": lambda: {"carrier": type("Own", (HeaderCarrier,), {})},
    "no parent-based sampler": lambda: {"tracer_provider": provider_of(ALWAYS_OFF)},
}


@pytest.mark.parametrize("options", GENERAL.values(), ids=GENERAL)
def test_anything_unknown_means_the_general_path(options):
    """Not exactly the SDK's and the API's own: nothing is certain."""
    assert rules(**{"tracer_provider": provider_of(ParentBased(ALWAYS_OFF)), **options()}) is None


def test_disabled_sdk_and_internal_metrics_mean_the_general_path(monkeypatch):
    """A tracer disabled by configuration, the SDK's own metrics: nothing is certain."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert rules(tracer_provider=provider_of(ParentBased(ALWAYS_OFF))) is None
    monkeypatch.delenv("OTEL_SDK_DISABLED")
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF), shutdown_on_exit=False)
    if hasattr(provider.get_tracer("t"), "_tracer_metrics"):
        assert rules(tracer_provider=provider) is None


def test_samplers_of_ones_own_decide_themselves():
    """Of a root or a delegate that is not the SDK's own nothing is certain; the other short cut stays."""
    root = rules(tracer_provider=provider_of(ParentBased(OwnSampler(0.0))))
    assert (root.bound, root.drops) == (None, True)
    always = rules(tracer_provider=provider_of(ParentBased(ALWAYS_ON)))
    assert (always.bound, always.drops) == (None, True)
    remote = rules(tracer_provider=provider_of(ParentBased(ALWAYS_OFF, remote_parent_not_sampled=ALWAYS_ON)))
    assert (remote.bound, remote.drops) == (0, False)


def test_propagator_that_is_set_later_counts_at_once():
    """The global propagator may change at any moment: the very next send goes by it."""
    telemetry = Telemetry(Options(tracer_provider=provider_of(ParentBased(ALWAYS_OFF))))
    from opentelemetry import propagate

    before = propagate.get_global_textmap()
    assert telemetry.rules is not None
    set_global_textmap(OwnPropagator())
    try:
        assert telemetry.rules is None
    finally:
        set_global_textmap(before)


def sends(sampler, *, general, count=40, metrics=None):
    """Send with the same random numbers, by a short cut or the general path, and return all that can be seen of it."""
    recorder, bare, seen = SpanRecorder(sampler), FakeProducer({"client_id": "p"}), []

    class Seeing(FakeProducer):
        def send(self, *args, **kwargs):
            seen.append(trace.get_current_span().get_span_context())
            return super().send(*args, **kwargs)

    bare = Seeing({"client_id": "p"})
    hook = {"on_send": lambda *_: None} if general else {}
    meters = {"meter_provider": metrics.meter_provider} if metrics else {}
    producer = wrap_producer(bare, ProducerOptions(tracer_provider=recorder.tracer_provider, **hook, **meters))
    state = random.getstate()
    random.seed(7)
    try:
        for _ in range(count):
            producer.send("t", b"v").acknowledge()
        drawn = random.random()
    finally:
        random.setstate(state)
    assert not trace.get_current_span().get_span_context().is_valid
    spans = [(span.name, span.context, span.parent, dict(span.attributes)) for span in recorder.spans]
    for _, _, _, told in spans:
        told.pop("otelkafka.send.blocked_duration")
    return bare.headers, seen, spans, drawn


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_send_by_a_short_cut_is_the_same(sampler):
    """Same ids drawn, same decisions, same headers byte by byte, same current span, same spans recorded."""
    short, general = sends(sampler(), general=False), sends(sampler(), general=True)
    assert short == general
    headers, seen, _, _ = short
    assert all(type(each) is trace.SpanContext for each in seen)
    assert [extracted(each) for each in headers] == [(each.trace_id, each.span_id, each.trace_flags) for each in seen]


def extracted(headers):
    found = trace.get_current_span(extract(headers)).get_span_context()
    return found.trace_id, found.span_id, found.trace_flags


def test_metrics_by_a_short_cut_are_the_same():
    """Counts and histograms do not know of it."""
    found = []
    for general in (False, True):
        metrics = MetricRecorder()
        sends(ParentBased(ALWAYS_OFF), general=general, metrics=metrics)
        found.append({name: metrics.points(name) for name in sorted(metrics.metrics)})
    assert found[0] == found[1]
    assert found[0]["messaging.client.sent.messages"][0][1] == 40


def processes(headers, sampler, *, general):
    """Process a record with the same random numbers, and return what its body sees."""
    recorder = SpanRecorder(sampler)
    hook = {"on_process": lambda *_: None} if general else {}
    one = record(0, headers=headers)
    consumer = wrap_consumer(FakeConsumer(one), ConsumerOptions(tracer_provider=recorder.tracer_provider, **hook))
    state = random.getstate()
    random.seed(7)
    try:
        for _ in consumer:
            span = trace.get_current_span().get_span_context()
            current = {key: value for key, value in context.get_current().items() if "current-span" not in key}
            sent = FakeProducer()
            options = ProducerOptions(tracer_provider=recorder.tracer_provider)
            wrap_producer(sent, options).send("u", b"v").acknowledge()
    finally:
        random.setstate(state)
    assert not context.get_current()
    return span, current, sent.headers, sorted(span.name for span in recorder.spans)


HEX = "0123456789abcdef"
TRACEPARENTS = st.one_of(
    st.builds(
        "{}-{}-{}-{}".format,
        st.sampled_from(["00", "01", "ff", " 00"]),
        st.one_of(
            st.text(HEX, min_size=32, max_size=32), st.just("0" * 32), st.text(HEX + "AG", min_size=30, max_size=33)
        ),
        st.one_of(st.text(HEX, min_size=16, max_size=16), st.just("0" * 16)),
        st.sampled_from(["00", "01", "02", "03", "fe", "0", "00 ", "00-more"]),
    ).map(str.encode),
    st.binary(max_size=60),
    st.none(),
)
HEADERS = st.lists(
    st.one_of(
        st.tuples(st.just("traceparent"), TRACEPARENTS),
        st.tuples(st.just("tracestate"), st.sampled_from([b"a=b", b"", b"\xff", None])),
        st.tuples(st.just("baggage"), st.sampled_from([b"tenant=a", b"", b"\xff"])),
        st.tuples(st.text(max_size=12), st.binary(max_size=5)),
    ),
    max_size=4,
)


@settings(max_examples=300, deadline=None)
@given(headers=HEADERS, sampler=st.sampled_from(sorted(SAMPLERS)))
def test_record_by_a_short_cut_is_the_same(headers, sampler):
    """Whatever its headers are: the same current span, baggage, headers sent on, and spans recorded."""
    make = SAMPLERS[sampler]
    assert processes(headers, make(), general=False) == processes(headers, make(), general=True)


def test_short_cuts_are_taken():
    """With the SDK's own parts a record that is not sampled makes no object of the SDK's."""
    unsampled = [("traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-00")]
    found = rules(tracer_provider=provider_of(ParentBased(ALWAYS_OFF)))
    assert found.continue_trace(unsampled) is not None
    assert found.start_trace().span is not None
    for headers in ([], unsampled * 2, [*unsampled, ("baggage", b"a=b")], ["junk"], None, [("traceparent", "text")]):
        assert found.continue_trace(headers) is None
