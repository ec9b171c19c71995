"""Bad input is refused at once, with what to do instead."""

import dataclasses
import functools

import pytest
from opentelemetry import metrics as metrics_api
from opentelemetry import propagate, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import otelkafka
from otelkafka import (
    Carrier,
    ConsumerOptions,
    HeaderCarrier,
    Options,
    ProducerOptions,
    extract,
    inject,
    process,
    process_batch,
    wrap_handler,
)
from otelkafka.reporter import metrics_reporter
from otelkafka.testing import fake_record
from tests.support.face import wrap_consumer, wrap_producer
from tests.support.fakes import FakeConsumer, FakeProducer


def test_options_are_frozen_and_keyword_only():
    """Options cannot be changed, nor given by position."""
    for options in (Options, ProducerOptions, ConsumerOptions):
        with pytest.raises(dataclasses.FrozenInstanceError):
            options().capture_key = False
        with pytest.raises(TypeError):
            options(None)
        assert not hasattr(options(), "__dict__")


def test_class_in_place_of_a_client_is_refused():
    """The class itself, which somebody forgot to call, gets an error at once."""
    with pytest.raises(TypeError, match="give a KafkaConsumer"):
        wrap_consumer(FakeConsumer)
    with pytest.raises(TypeError, match="give a KafkaProducer"):
        wrap_producer(FakeProducer)


def client_of(module):
    """A client of another library, which has what kafka-python's have."""
    methods = dict.fromkeys(("poll", "assignment", "send"), lambda *_: None)
    base = type("Client", (), {**methods, "__module__": module})
    return type("Own", (base,), {})()


@pytest.mark.parametrize(
    ("wrap", "name"), [(otelkafka.wrap_consumer, "Consumer"), (otelkafka.wrap_producer, "Producer")]
)
@pytest.mark.parametrize("module", ["cimpl", "confluent_kafka.deserializing_consumer"])
def test_class_of_confluent_kafka_is_traced_by_its_face(wrap, name, module):
    """Its methods have the same names as kafka-python's and do something else."""
    pytest.importorskip("confluent_kafka")
    with pytest.raises(TypeError, match=rf"{wrap.__name__}\(Own\): give a {name}, or an object with its "):
        wrap(client_of(module))


@pytest.mark.parametrize(
    ("make", "error", "field"),
    [
        (lambda: Options(propagator=1), TypeError, "propagator"),
        (lambda: Options(carrier=HeaderCarrier()), TypeError, "carrier"),
        (lambda: Options(span_name="{nope}"), ValueError, "span_name"),
        (lambda: Options(capture_headers="x"), TypeError, "capture_headers"),
        (lambda: Options(span_name=5), TypeError, "span_name"),
        (lambda: Options(span_name="{operation!x}"), ValueError, "span_name"),
        (lambda: Options(span_name=" "), ValueError, "span_name"),
        (lambda: Options(span_name="{destination[0]}"), ValueError, "span_name"),
        (lambda: Options(span_name="{destination[-1]}"), ValueError, "span_name"),
        (lambda: Options(span_name="{destination.name}"), ValueError, "span_name"),
        (lambda: Options(span_name="{destination.__class__}"), ValueError, "span_name"),
        (lambda: Options(span_name="{destination!r}"), ValueError, "span_name"),
        (lambda: Options(span_name="{} {}"), ValueError, "span_name"),
        (lambda: Options(span_name="{0}"), ValueError, "span_name"),
        (lambda: Options(span_name="{destination:d}"), ValueError, "span_name"),
        (lambda: Options(span_name="{destination:{operation}}"), ValueError, "span_name"),
        (lambda: Options(span_name="{destination"), ValueError, "span_name"),
        (lambda: Options(span_name="}"), ValueError, "span_name"),
        (lambda: Options(carrier=Carrier), TypeError, "carrier"),
        (lambda: Options(capture_headers=(name for name in "ab")), TypeError, "capture_headers"),
        (lambda: Options(capture_headers={"a"}), TypeError, "capture_headers"),
        (lambda: Options(capture_headers=b"ab"), TypeError, "capture_headers"),
        (lambda: Options(capture_headers=b""), TypeError, "capture_headers"),
        (lambda: ProducerOptions(on_send=is_generator), TypeError, "on_send.*does not yield"),
        (lambda: Options(capture_headers=[None]), TypeError, "capture_headers"),
        (lambda: Options(sample_limit=True), TypeError, "sample_limit"),
        (lambda: Options(sample_limit=1.5), TypeError, "sample_limit"),
        (lambda: ProducerOptions(max_in_flight=float("nan")), TypeError, "max_in_flight"),
        (lambda: ProducerOptions(max_in_flight=True), TypeError, "max_in_flight"),
        (lambda: ConsumerOptions(max_links=-1), ValueError, "max_links"),
        (lambda: ConsumerOptions(sample_waits_over=True), TypeError, "sample_waits_over"),
        (lambda: ConsumerOptions(sample_waits_over=float("inf")), ValueError, "sample_waits_over"),
        (lambda: ConsumerOptions(process=str), TypeError, "process"),
        (lambda: ConsumerOptions(poll_spans=1), TypeError, "poll_spans"),
        (lambda: inject([], options=5), TypeError, "options=int"),
        (lambda: inject([], options=Options), TypeError, "options=Options: .* instance"),
        (lambda: extract([], options={"propagator": None}), TypeError, "options=dict"),
        (lambda: process(None, ConsumerOptions), TypeError, "options=ConsumerOptions: .* instance"),
        (lambda: ConsumerOptions(relation=None), TypeError, "relation"),
        (lambda: wrap_producer(FakeProducer(), ConsumerOptions()), TypeError, "ProducerOptions"),
        (lambda: wrap_consumer(FakeProducer, 5), TypeError, "ConsumerOptions"),
        (lambda: Options(capture_key="yes"), TypeError, "capture_key"),
        (lambda: Options(record_exceptions=1), TypeError, "record_exceptions"),
        (lambda: ProducerOptions(max_in_flight=-1), ValueError, "max_in_flight"),
        (lambda: ProducerOptions(on_send=3), TypeError, "on_send"),
        (lambda: ConsumerOptions(relation="child"), ValueError, "relation"),
        (lambda: ConsumerOptions(sample_waits_over="5"), TypeError, "sample_waits_over"),
        (lambda: ConsumerOptions(sample_waits_over=-1), ValueError, "sample_waits_over"),
        (lambda: ConsumerOptions(sample_waits_over=float("nan")), ValueError, "sample_waits_over"),
        (lambda: Options(sample_limit=-1), ValueError, "sample_limit"),
        (lambda: Options(pipeline_time=None), TypeError, "pipeline_time"),
        (lambda: Options(config=[("group.id", "g")]), TypeError, "config"),
        (lambda: Options(config={5: "g"}), TypeError, "config"),
        (lambda: ConsumerOptions(max_links=True), TypeError, "max_links"),
        (lambda: wrap_producer(object()), TypeError, "send"),
        (lambda: wrap_consumer(object()), TypeError, "poll"),
        (lambda: wrap_handler(3), TypeError, "wrap_handler"),
        (lambda: process(None), TypeError, "record"),
        (lambda: process_batch([1]), TypeError, "records"),
        (lambda: inject({"a": b"b"}), TypeError, "headers"),
        (lambda: extract(5), TypeError, "headers"),
        (lambda: process(None, ProducerOptions()), TypeError, "ConsumerOptions"),
    ],
)
def test_bad_input_is_refused_at_once(make, error, field):
    """A wrong option or object raises at once, and the text names what is wrong."""
    with pytest.raises(error, match=field):
        make()


FUNCTIONS = {
    ProducerOptions: ["span_name", "destination_template", "trace_topic", "capture_key", "on_send", "on_ack"],
    ConsumerOptions: ["on_process"],
}
EACH_FUNCTION = [(options, name) for options, names in FUNCTIONS.items() for name in names]


class Callable:
    def __call__(self, *_):
        return "x"


class AsyncCallable:
    async def __call__(self, *_):
        return "x"


def is_generator(*_):
    yield


async def is_async(*_):
    return "x"


async def is_async_generator(*_):
    yield "x"


@pytest.mark.parametrize(("options", "name"), EACH_FUNCTION)
@pytest.mark.parametrize(
    "function",
    [is_async, is_async_generator, AsyncCallable(), functools.partial(is_async), AsyncCallable().__call__],
    ids=["function", "generator", "object", "partial", "method"],
)
def test_async_function_is_refused(options, name, function):
    """Nothing would await it."""
    with pytest.raises(TypeError, match=f"{name}=.*not async"):
        options(**{name: function})


@pytest.mark.parametrize(("options", "name"), EACH_FUNCTION)
def test_class_in_the_place_of_a_function_is_refused(options, name):
    """Each call would make an instance, and nothing more; an instance that can be called, and str(), are functions."""
    with pytest.raises(TypeError, match="give an instance, not the class"):
        options(**{name: Callable})
    made = options(**{name: Callable()})
    assert dataclasses.replace(made, **{name: functools.partial(Callable())}) is not made
    makes = {"trace_topic": bool}.get(name, str)
    if name.startswith("on_"):
        with pytest.raises(TypeError, match="give an instance, not the class"):
            options(**{name: makes})
    else:
        options(**{name: makes})


def test_every_option_is_checked():
    """An object of no use is refused for each of them, by name."""
    for options in (Options, ProducerOptions, ConsumerOptions):
        for field in dataclasses.fields(options):
            with pytest.raises(TypeError, match=f"{field.name}=object"):
                options(**{field.name: object()})


def test_template_without_a_destination_leaves_no_span_without_a_name(recorder):
    """Of several topics there is no one destination, and this template has nothing else."""
    options = ConsumerOptions(span_name="{destination:.3}", tracer_provider=recorder.tracer_provider)
    with process_batch([fake_record("orders"), fake_record("other")], options):
        pass
    with process(fake_record("orders"), options):
        pass
    assert [span.name for span in recorder.spans] == ["process", "ord"]


@pytest.mark.parametrize(
    ("name", "module"), [("tracer_provider", trace), ("meter_provider", metrics_api), ("propagator", propagate)]
)
def test_module_in_the_place_of_a_provider_is_refused(name, module):
    """OpenTelemetry's own modules have functions of the same names, with other arguments."""
    with pytest.raises(TypeError, match="give an instance, not the module"):
        Options(**{name: module})
    with pytest.raises(TypeError, match="give an instance, not the module"):
        metrics_reporter(metrics_api)


@pytest.mark.parametrize("name", ["tracer_provider", "meter_provider", "propagator"])
def test_class_in_the_place_of_an_instance_is_refused(name):
    """A provider that was not made yet has all the methods, and none of them works."""
    given = {"tracer_provider": TracerProvider, "meter_provider": MeterProvider}
    with pytest.raises(TypeError, match="give an instance, not the class"):
        Options(**{name: given.get(name, TraceContextTextMapPropagator)})
    with pytest.raises(TypeError, match="give an instance, not the class"):
        metrics_reporter(MeterProvider)
