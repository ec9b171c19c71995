"""The fast path means the same as the general path, and is taken only where that is certain."""

import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import context, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagate import get_global_textmap, set_global_textmap
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
from otelkafka.testing import MetricRecorder, SpanRecorder
from tests.support.face import wrap_consumer, wrap_producer
from tests.support.fakes import TRACEPARENT, FakeConsumer, FakeProducer, record
from tests.support.internals import (
    SPAN_KEY,
    FastPath,
    UnparsedSpan,
    WithSdk,
    are_sendable,
    fast_path,
    fast_path_of_client,
    header,
    header_of,
    sampler_of,
    takes_w3c,
    with_baggage,
)

pytestmark = pytest.mark.per_telemetry


class OwnGenerator(RandomIdGenerator):
    """A user's own, who may do anything."""


class OwnPropagator(TraceContextTextMapPropagator):
    """A user's own, with the same fields."""


class OwnSampler(TraceIdRatioBased):
    """A user's own, with the same description."""


def provider_of(sampler, **more):
    return TracerProvider(sampler=sampler, shutdown_on_exit=False, **more)


SAMPLERS = {
    "no SDK": lambda: None,
    "always": lambda: ParentBased(ALWAYS_ON),
    "never": lambda: ParentBased(ALWAYS_OFF),
    "ratio": lambda: ParentBasedTraceIdRatio(0.3),
    "half": lambda: ParentBased(TraceIdRatioBased(0.5)),
}
UNKNOWN_FORMAT = {
    "own propagator": lambda: {"propagator": OwnPropagator()},
    "baggage alone": lambda: {"propagator": CompositePropagator([W3CBaggagePropagator()])},
    "own carrier": lambda: {"carrier": type("Own", (HeaderCarrier,), {})},
}
UNKNOWN_SAMPLING = {
    "own generator": lambda: {"tracer_provider": provider_of(ParentBased(ALWAYS_OFF), id_generator=OwnGenerator())},
    "own provider": lambda: {"tracer_provider": OwnProvider(sampler=ParentBased(ALWAYS_OFF), shutdown_on_exit=False)},
    "no parent-based sampler": lambda: {"tracer_provider": provider_of(ALWAYS_OFF)},
}


class OwnProvider(TracerProvider):
    """A user's own."""


@pytest.mark.parametrize("options", UNKNOWN_FORMAT.values(), ids=UNKNOWN_FORMAT)
def test_unknown_propagators_and_carriers_mean_the_general_path(options):
    """Not exactly the API's own: nothing is certain."""
    assert fast_path(**{"tracer_provider": provider_of(ParentBased(ALWAYS_OFF)), **options()}) is None


@pytest.mark.parametrize("options", UNKNOWN_SAMPLING.values(), ids=UNKNOWN_SAMPLING)
def test_unknown_sampling_means_the_general_path(options):
    """Not exactly the SDK's own: nothing is certain but the format."""
    found = fast_path(**options())
    assert type(found) is FastPath
    assert found.start_send(Context(), 0) is found.start_process([UNSAMPLED], Context(), 0) is None


def test_an_api_that_is_made_otherwise_means_the_general_path(monkeypatch):
    """A private attribute that is missing: nothing is certain."""
    from opentelemetry import propagate

    options = {"tracer_provider": provider_of(ParentBased(ALWAYS_OFF))}
    monkeypatch.delattr("opentelemetry.sdk.trace.sampling.StaticSampler")
    assert type(fast_path(**options)) is FastPath
    monkeypatch.delattr(propagate, "_HTTP_TEXT_FORMAT")
    assert fast_path(**options) is None


def test_disabled_sdk_and_internal_metrics_mean_the_general_path(monkeypatch):
    """A tracer disabled by configuration, the SDK's own metrics: nothing is certain."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert type(fast_path(tracer_provider=provider_of(ParentBased(ALWAYS_OFF)))) is not WithSdk
    monkeypatch.delenv("OTEL_SDK_DISABLED")
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF), shutdown_on_exit=False)
    if hasattr(provider.get_tracer("t"), "_tracer_metrics"):
        assert type(fast_path(tracer_provider=provider)) is FastPath


@pytest.mark.parametrize("more", [{}, {"carrier": type("Own", (HeaderCarrier,), {})}], ids=["fast", "general"])
@pytest.mark.parametrize("traced", [[], [TRACEPARENT]], ids=["alone", "inside"])
def test_tracer_that_is_disabled_carries_on_what_is_around(more, traced):
    """By the SDK's configurator, also later: a send has the context around, and without one no header at all."""
    provider, bare = provider_of(ALWAYS_ON), FakeProducer()
    if not hasattr(provider, "_set_tracer_configurator"):
        pytest.skip("this SDK disables no tracers")
    producer = wrap_producer(bare, ProducerOptions(tracer_provider=provider, **more))
    disabled = type(provider.get_tracer("t")._tracer_config)(is_enabled=False)
    provider._set_tracer_configurator(tracer_configurator=lambda _: disabled)
    token = context.attach(extract(traced))
    try:
        producer.send("t", b"v")
    finally:
        context.detach(token)
    assert [headers or [] for headers in bare.headers] == [traced]


def test_samplers_of_ones_own_decide_themselves():
    """Of a root or a delegate that is not the SDK's own nothing is certain; the rest stays certain."""
    assert certain_of(ParentBased(OwnSampler(0.0))) == (None, True, True)
    assert certain_of(ParentBased(ALWAYS_ON)) == (None, True, True)
    assert certain_of(ParentBased(ALWAYS_OFF, remote_parent_not_sampled=ALWAYS_ON)) == (0, True, False)
    assert certain_of(ParentBased(ALWAYS_OFF, local_parent_not_sampled=ALWAYS_ON)) == (0, False, True)


def certain_of(sampler):
    found = sampler_of(provider_of(sampler))
    return found.bound, found.drops_local, found.drops_remote


def test_propagator_that_is_set_later_counts_at_once():
    """The global propagator may change at any moment: the very next send goes by it."""
    options = Options(tracer_provider=provider_of(ParentBased(ALWAYS_OFF)))
    before, is_known = get_global_textmap(), takes_w3c(options)
    assert is_known()
    set_global_textmap(OwnPropagator())
    try:
        assert not is_known()
        sent = FakeProducer()
        wrap_producer(sent, options).send("t", b"v")
        assert sent.headers != [None]
    finally:
        set_global_textmap(before)


STARTED = time.time_ns() // 1_000_000
ORIGIN = b"otelkafka.origin=%d" % (STARTED - 1000)
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
        st.tuples(
            st.just("baggage"),
            st.sampled_from([b"tenant=a", b"", b"\xff", ORIGIN, b"otelkafka.origin=1", ORIGIN + b",tenant=a"]),
        ),
        st.tuples(st.text(max_size=12), st.binary(max_size=5)),
    ),
    max_size=4,
)


def options_of(sampler, *, general):
    """Options under which the fast path is taken, or the general path, whose propagator does the same."""
    recorder = SpanRecorder(sampler)
    provider = trace.NoOpTracerProvider() if sampler is None else recorder.tracer_provider
    own = {"propagator": CompositePropagator([OwnPropagator(), W3CBaggagePropagator()])} if general else {}
    return recorder, {"tracer_provider": provider, **own}


def masked(sent):
    """Headers, without the origin of a pipeline that began here: the clock goes on between two runs."""

    def mask(found):
        return b"otelkafka.origin=now" if int(found[1]) >= STARTED else found[0]

    return [
        headers and [(key, re.sub(rb"otelkafka\.origin=([0-9]+)", mask, value)) for key, value in headers]
        for headers in sent
    ]


def sends(sampler, *, general, count=40, metrics=None, ambient=None, headers=None, **more):
    """Send with the same random numbers, by the fast path or the general path, and return all that can be seen of it."""
    (recorder, options), seen = options_of(sampler, general=general), []

    class Seeing(FakeProducer):
        def send(self, *args, **kwargs):
            seen.append(trace.get_current_span().get_span_context())
            return super().send(*args, **kwargs)

    bare = Seeing(client_id="p")
    meters = {"meter_provider": metrics.meter_provider} if metrics else {}
    producer = wrap_producer(bare, ProducerOptions(**options, **meters, **more))
    state = random.getstate()
    random.seed(7)
    token = context.attach(ambient or Context())
    try:
        for _ in range(count):
            producer.send("t", b"v", headers=headers).acknowledge()
        drawn = random.random()
    finally:
        random.setstate(state)
        context.detach(token)
    assert not trace.get_current_span().get_span_context().is_valid
    spans = [
        (
            span.name,
            span.context,
            span.parent,
            dict(span.attributes),
            [(link.context, dict(link.attributes)) for link in span.links],
        )
        for span in recorder.spans
    ]
    for _, _, _, shown, _ in spans:
        shown.pop("otelkafka.send.blocked_duration")
    return masked(bare.headers), seen, spans, drawn


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_send_by_the_fast_path_is_the_same(sampler):
    """Same ids drawn, same decisions, same headers byte by byte, same current span, same spans recorded."""
    short, general = sends(sampler(), general=False), sends(sampler(), general=True)
    assert short == general
    headers, seen, _, _ = short
    assert all(type(each) is trace.SpanContext for each in seen)
    assert [extracted(each) for each in headers] == [(each.trace_id, each.span_id, each.trace_flags) for each in seen]


@settings(max_examples=300, deadline=None)
@given(
    around=HEADERS,
    headers=HEADERS,
    sampler=st.sampled_from(sorted(SAMPLERS)),
    is_local=st.booleans(),
    is_timed=st.booleans(),
)
def test_send_inside_of_anything_is_the_same(around, headers, sampler, is_local, is_timed):
    """Inside a context from elsewhere or of this process, with headers of its own or none: the same comes out."""
    ambient = extract(around)
    if is_local:
        parent = provider_of(SAMPLERS["half"]()).get_tracer("t").start_span("around", ambient)
        ambient = trace.set_span_in_context(parent, ambient)
    make = SAMPLERS[sampler]
    sent = [each for each in headers if are_sendable([each])] or None
    own = {"count": 2, "ambient": ambient, "headers": sent, "pipeline_time": is_timed}
    assert sends(make(), general=False, **own) == sends(make(), general=True, **own)


def extracted(headers):
    found = trace.get_current_span(extract(headers)).get_span_context()
    return found.trace_id, found.span_id, found.trace_flags


def test_metrics_by_the_fast_path_are_the_same():
    """Counts and histograms do not know of it."""
    found = []
    for general in (False, True):
        metrics = MetricRecorder()
        sends(ParentBased(ALWAYS_OFF), general=general, metrics=metrics)
        found.append({name: metrics.points(name) for name in sorted(metrics.metrics)})
    assert found[0] == found[1]
    assert found[0]["messaging.client.sent.messages"][0][1] == 40


def processes(headers, sampler, *, general, ambient=None, relation="parent", **more):
    """Process a record with the same random numbers, and return what its body sees."""
    recorder, options = options_of(sampler, general=general)
    one = record(0, headers=headers)
    consumer = wrap_consumer(FakeConsumer(one), ConsumerOptions(relation=relation, **options, **more))
    state = random.getstate()
    random.seed(7)
    token = context.attach(ambient or Context())
    try:
        for _ in consumer:
            span = trace.get_current_span().get_span_context()
            values = context.get_current().items()
            current = {key: value for key, value in values if "current-span" not in key and "open-span" not in key}
            sent = FakeProducer()
            wrap_producer(sent, ProducerOptions(**options, **more)).send("u", b"v").acknowledge()
        assert context.get_current() == (ambient or Context())
    finally:
        random.setstate(state)
        context.detach(token)
    spans = sorted(
        (span.name, span.context, span.parent, [link.context for link in span.links]) for span in recorder.spans
    )
    return span, current, masked(sent.headers), spans


@settings(max_examples=300, deadline=None)
@given(
    headers=HEADERS,
    around=st.just([]) | HEADERS,
    sampler=st.sampled_from(sorted(SAMPLERS)),
    is_timed=st.booleans(),
    relation=st.sampled_from(["parent", "both"]),
)
def test_record_by_the_fast_path_is_the_same(headers, around, sampler, is_timed, relation):
    """Whatever its headers and the context around are: the same current span, baggage, headers sent on, and spans."""
    make, given_options = SAMPLERS[sampler], {"pipeline_time": is_timed, "relation": relation}
    short = processes(headers, make(), general=False, ambient=extract(around), **given_options)
    assert short == processes(headers, make(), general=True, ambient=extract(around), **given_options)


def test_header_that_is_no_tuple_is_left_to_the_application():
    """It is no header of a context, and may be one that can be read once only, or not at all."""

    class Unreadable:
        def __iter__(self):
            raise RuntimeError("not yours")

    once = iter(UNSAMPLED)
    recorder = SpanRecorder()
    consumer = FakeConsumer(record(0, headers=[once]), record(1, headers=[Unreadable()]))
    list(wrap_consumer(consumer, ConsumerOptions(tracer_provider=recorder.tracer_provider)))
    assert [span.parent for span in recorder.spans] == [None, None]
    assert next(once) == "traceparent"


UNSAMPLED = ("traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-00")


def test_fast_path_is_taken():
    """With the SDK's own parts a record that is not sampled makes no object of the SDK's."""
    found = fast_path(tracer_provider=provider_of(ParentBased(ALWAYS_OFF)))
    for headers in ([UNSAMPLED], [("x", b"y"), UNSAMPLED], (UNSAMPLED,), [], None, [("x", b"y")]):
        span = found.start_process(headers, {}, 0)
        assert type(span) is UnparsedSpan
        assert type(found.start_send({SPAN_KEY: span}, 0)) is UnparsedSpan
    assert type(found.start_send({}, 0)) is UnparsedSpan
    for headers in ([UNSAMPLED] * 2, [UNSAMPLED, ("baggage", b"a=b")], ["junk"], [("traceparent", "text")]):
        assert found.start_process(headers, {}, 0) is None


@pytest.mark.parametrize("relation", ["parent", "both"])
def test_fast_path_is_taken_where_nothing_is_recorded(relation):
    """Whether the record would be linked or not: it is not sampled, as its sender was not."""
    options = ConsumerOptions(tracer_provider=provider_of(ParentBased(ALWAYS_OFF)), relation=relation)
    for _ in wrap_consumer(FakeConsumer(record(0, headers=[UNSAMPLED])), options):
        assert isinstance(trace.get_current_span(), UnparsedSpan)


def test_without_an_sdk_nothing_is_made():
    """A send is passed on as it is, and a record's context is carried on unparsed."""
    found = fast_path(tracer_provider=trace.NoOpTracerProvider())
    assert found.start_send({}, 0) is trace.INVALID_SPAN
    span = found.start_process([UNSAMPLED], {}, 0)
    assert found.start_send({SPAN_KEY: span}, 0) is span
    assert header(span.trace_id, span.span_id, span.flags) == UNSAMPLED
    assert span.get_span_context().is_remote


def test_fast_path_is_taken_where_an_origin_is_all_the_baggage():
    """The time of a pipeline makes no object of the SDK's either."""
    now = time.time_ns()
    for provider in (provider_of(ParentBased(ALWAYS_OFF)), trace.NoOpTracerProvider()):
        found = fast_path_of_client(tracer_provider=provider, pipeline_time=True)
        span = found.start_process([UNSAMPLED, ("baggage", ORIGIN)], {}, now)
        assert (type(span), span.origin) == (UnparsedSpan, STARTED - 1000)
        span = found.start_send(with_baggage({SPAN_KEY: span}, span.origin), now)
        assert (type(span), header_of(span.origin)) == (UnparsedSpan, ("baggage", ORIGIN))
        for value in (b"otelkafka.origin=1", ORIGIN + b",a=b"):
            assert found.start_process([UNSAMPLED, ("baggage", value)], {}, now) is None
