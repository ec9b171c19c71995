"""The faults of telemetry: each call of what is OpenTelemetry's, the user's or the system's, and how it goes wrong."""

from collections.abc import Callable
from time import monotonic, sleep, time_ns
from typing import NamedTuple

from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.metrics import MeterProvider
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otelkafka import HeaderCarrier
from otelkafka.testing import MetricRecorder
from tests.support.internals import replace_clock

RAISES, UNSPEAKABLE, HANGS = "raises", "raises what has no text", "hangs for a moment"
NOTHING, WRONG_TYPE = "returns nothing", "returns the wrong type"
KINDS = (RAISES, UNSPEAKABLE, HANGS, NOTHING, WRONG_TYPE)
ERRORS = frozenset((RAISES, UNSPEAKABLE))
NEVER: frozenset[str] = frozenset()
EVER = frozenset((*ERRORS, NOTHING, WRONG_TYPE))


class Boom(Exception):
    """What telemetry raises here."""


class Unspeakable(Exception):
    """An error that has no text: str() of it fails."""

    def __str__(self):
        raise Boom

    __repr__ = __str__


_RESOURCE = Resource.get_empty()


class Odd:
    """Something else than what was asked for, which no fault is."""

    def __repr__(self):
        return "s3cret"


class Injection:
    """Makes functions that go wrong in one way, and counts how often they did.

    Args:
        kind: in which.
        patch: puts an attribute in the place of a module's, until the test is over.
    """

    def __init__(self, kind, patch):
        self.kind = kind
        self.patch = patch
        self.spans = []
        self.struck = 0
        self.metrics = MetricRecorder()

    def spoil(self, sound: Callable) -> Callable:
        def spoilt(*args, **kwargs):
            self.struck += 1
            if self.kind in ERRORS:
                raise Boom("mine") if self.kind is RAISES else Unspeakable
            if self.kind is HANGS:
                sleep(0.0005)
                return sound(*args, **kwargs)
            return None if self.kind is NOTHING else Odd()

        return spoilt

    def provider(self, *processors, **parts):
        """A provider of the SDK's, whose spans are kept from their start."""
        provider = TracerProvider(shutdown_on_exit=False, resource=_RESOURCE, **parts)
        for each in (*processors, _Keep(self.spans)):
            provider.add_span_processor(each)
        return provider


class _Keep(SpanProcessor):
    def __init__(self, spans):
        self._spans = spans

    def on_start(self, span, parent_context=None):
        self._spans.append(span)


class _Instead:
    """An object one of whose methods is another's."""

    def __init__(self, whole, **instead):
        self.__dict__.update(instead, _whole=whole)

    def __getattr__(self, name):
        return getattr(self._whole, name)


def _class(base: type, sound: object, *names: str) -> Callable:
    """A class with one method of its own, and the others of a sound object."""
    abstract = {name: (lambda self, *a, _n=name, **k: getattr(sound, _n)(*a, **k)) for name in names}
    return lambda **instead: type(base.__name__, (base,), {**abstract, **instead})()


_SPAN_METHODS = [name for name in vars(trace.Span) if not name.startswith("_")]


def _get_tracer(injection):
    real = injection.provider()
    return {"tracer_provider": _Instead(real, get_tracer=injection.spoil(real.get_tracer))}


def _start_span(injection):
    real = injection.provider()
    tracer = real.get_tracer("test")
    spoilt = _Instead(tracer, start_span=injection.spoil(tracer.start_span))
    return {"tracer_provider": _Instead(real, get_tracer=lambda *_, **__: spoilt)}


def _span(name):
    def arrange(injection):
        real = injection.provider(sampler=ParentBased(TraceIdRatioBased(1)))  # of a root it is not certain before
        tracer = real.get_tracer("test")

        def start_span(*args, **kwargs):
            span = tracer.start_span(*args, **kwargs)
            return _class(trace.Span, span, *_SPAN_METHODS)(
                **{name: staticmethod(injection.spoil(getattr(span, name)))}
            )

        real.get_tracer = lambda *_, **__: _Instead(tracer, start_span=start_span)
        return {"tracer_provider": real}

    return arrange


def _sampler(injection):
    make = _class(Sampler, ALWAYS_ON, "should_sample", "get_description")
    return {"tracer_provider": injection.provider(sampler=make(should_sample=injection.spoil(_sample)))}


def _sample(_, *args, **kwargs):
    return ALWAYS_ON.should_sample(*args, **kwargs)


def _ids(name):
    def arrange(injection):
        sound = RandomIdGenerator()
        spoilt = _class(RandomIdGenerator, sound)(**{name: staticmethod(injection.spoil(getattr(sound, name)))})
        return {"tracer_provider": injection.provider(id_generator=spoilt)}

    return arrange


def _processor(name):
    def arrange(injection):
        spoilt = _class(SpanProcessor, None)(**{name: staticmethod(injection.spoil(lambda *_, **__: None))})
        return {"tracer_provider": injection.provider(spoilt)}

    return arrange


def _exporter(injection):
    spoilt = _class(SpanExporter, None)(export=staticmethod(injection.spoil(lambda _: None)))
    return {"tracer_provider": injection.provider(SimpleSpanProcessor(spoilt))}


_SOUND = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])


def _propagator(name):
    return lambda injection: {"propagator": _Instead(_SOUND, **{name: injection.spoil(getattr(_SOUND, name))})}


def _fields(injection):
    spoilt = injection.spoil(lambda _: _SOUND.fields)
    return {"propagator": type("P", (_Instead,), {"fields": property(spoilt)})(_SOUND)}


def _carrier(name):
    def arrange(injection):
        spoilt = injection.spoil(getattr(HeaderCarrier, name))
        return {"carrier": type("C", (HeaderCarrier,), {name: spoilt})}

    return arrange


class _Listing(TraceContextTextMapPropagator):
    """Asks a carrier for its keys, as propagators of baggage with a prefix do."""

    def extract(self, carrier, context=None, getter=None):
        getter.keys(carrier)
        return super().extract(carrier, context, getter)


def _carrier_keys(injection):
    return {**_carrier("keys")(injection), "propagator": _Listing()}


def _carrier_headers(injection):
    spoilt = property(injection.spoil(HeaderCarrier.headers.fget))
    return {"carrier": type("C", (HeaderCarrier,), {"headers": spoilt})}


def _option(name, sound):
    return lambda injection: {name: injection.spoil(sound)}


def _get_meter(injection):
    real = injection.metrics.meter_provider
    return {"meter_provider": _class(MeterProvider, real)(get_meter=staticmethod(injection.spoil(real.get_meter)))}


def _create(name):
    def arrange(injection):
        real = injection.metrics.meter_provider

        def get_meter(*args, **kwargs):
            meter = real.get_meter(*args, **kwargs)
            return _Instead(meter, **{name: injection.spoil(getattr(meter, name))})

        return {"meter_provider": _class(MeterProvider, real)(get_meter=staticmethod(get_meter))}

    return arrange


def _record(injection):
    real = injection.metrics.meter_provider

    def get_meter(*args, **kwargs):
        meter = real.get_meter(*args, **kwargs)

        def create(*args, **kwargs):
            histogram = meter.create_histogram(*args, **kwargs)
            return _Instead(histogram, record=injection.spoil(histogram.record))

        return _Instead(meter, create_histogram=create)

    return {"meter_provider": _class(MeterProvider, real)(get_meter=staticmethod(get_meter))}


def _clock(name, sound):
    def arrange(injection):
        replace_clock(name, injection.spoil(sound), injection.patch)
        return {}

    return arrange


class Place(NamedTuple):
    """A call that can go wrong.

    Args:
        arrange: from an injection to the options, which lead to it.
        counted: how it has to go wrong to be counted and logged; a hook may return what it likes.
    """

    arrange: Callable
    counted: frozenset[str] = ERRORS


PLACES = {
    "TracerProvider.get_tracer": Place(_get_tracer, EVER),
    "Tracer.start_span": Place(_start_span, EVER),
    "Span.get_span_context": Place(_span("get_span_context"), EVER),
    "Span.is_recording": Place(_span("is_recording")),
    "Span.set_attributes": Place(_span("set_attributes")),
    "Span.set_attribute": Place(_span("set_attribute")),
    "Span.add_event": Place(_span("add_event")),
    "Span.add_link": Place(_span("add_link")),
    "Span.set_status": Place(_span("set_status")),
    "Span.record_exception": Place(_span("record_exception")),
    "Span.end": Place(_span("end")),
    "Sampler.should_sample": Place(_sampler, EVER),
    "IdGenerator.generate_trace_id": Place(_ids("generate_trace_id"), EVER),
    "IdGenerator.generate_span_id": Place(_ids("generate_span_id"), EVER),
    "SpanProcessor.on_start": Place(_processor("on_start")),
    "SpanProcessor.on_end": Place(_processor("on_end")),
    "SpanExporter.export": Place(_exporter, NEVER),  # the SDK's own processor contains what it raises
    "TextMapPropagator.inject": Place(_propagator("inject")),
    "TextMapPropagator.extract": Place(_propagator("extract"), EVER),
    "TextMapPropagator.fields": Place(_fields, EVER),
    "carrier.__init__": Place(_carrier("__init__"), ERRORS | {WRONG_TYPE}),
    "carrier.get": Place(_carrier("get"), ERRORS | {WRONG_TYPE}),
    "carrier.set": Place(_carrier("set")),
    "carrier.keys": Place(_carrier_keys),
    "carrier.headers": Place(_carrier_headers, EVER),
    "span_name": Place(_option("span_name", "{} {}".format), EVER),
    "destination_template": Place(_option("destination_template", lambda _: "template"), ERRORS | {WRONG_TYPE}),
    "trace_topic": Place(_option("trace_topic", lambda _: True)),
    "capture_key": Place(_option("capture_key", repr), ERRORS | {WRONG_TYPE}),
    "on_send": Place(_option("on_send", lambda *_: None)),
    "on_ack": Place(_option("on_ack", lambda *_: None)),
    "on_process": Place(_option("on_process", lambda *_: None)),
    "MeterProvider.get_meter": Place(_get_meter, NEVER),  # without instruments nothing is counted
    "Meter.create_histogram": Place(_create("create_histogram"), NEVER),
    "Meter.create_observable_counter": Place(_create("create_observable_counter"), NEVER),
    "Meter.create_observable_gauge": Place(_create("create_observable_gauge"), NEVER),
    "Histogram.record": Place(_record),
    "time_ns": Place(_clock("time_ns", time_ns), EVER),
    "monotonic": Place(_clock("monotonic", monotonic), EVER),
}
"""By the name of the call."""
