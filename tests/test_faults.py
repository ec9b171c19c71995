"""Failures of telemetry stay out of the application; Kafka's and the user's own pass unchanged."""

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Sampler

from otelkafka import ConsumerOptions, Options, ProducerOptions, extract, inject, process
from otelkafka.testing import SpanRecorder
from tests.face import engine_of, wrap_consumer, wrap_producer
from tests.fakes import TRACEPARENT, FakeConsumer, FakeProducer, record


class Boom(Exception):
    """What telemetry raises here."""


def boom(*_, **__):
    raise Boom


class BrokenPropagator(TextMapPropagator):
    fields = frozenset()
    inject = extract = boom


class OddPropagator(TextMapPropagator):
    """Answers with what is no context."""

    fields = frozenset()

    def inject(self, carrier, context=None, setter=None):
        pass

    def extract(self, carrier, context=None, getter=None):
        return "no context"


class BrokenSampler(Sampler):
    should_sample = boom

    def get_description(self):
        return "broken"


class BrokenStart(SpanProcessor):
    on_start = boom


class BrokenEnd(SpanProcessor):
    on_end = boom


class BrokenProvider(trace.TracerProvider):
    get_tracer = boom


class OddTracer(trace.NoOpTracer):
    def start_span(self, *_, **__):
        return "no span"


class OddProvider(trace.TracerProvider):
    """Makes spans that are none."""

    def get_tracer(self, *_, **__):
        return OddTracer()


def processed_by(processor):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider


FAULTS = {
    "provider": lambda: {"tracer_provider": BrokenProvider()},
    "no span": lambda: {"tracer_provider": OddProvider()},
    "sampler": lambda: {"tracer_provider": TracerProvider(sampler=BrokenSampler(), shutdown_on_exit=False)},
    "on_start": lambda: {"tracer_provider": processed_by(BrokenStart())},
    "on_end": lambda: {"tracer_provider": processed_by(BrokenEnd())},
    "propagator": lambda: {"propagator": BrokenPropagator()},
    "no context": lambda: {"propagator": OddPropagator()},
    "span_name": lambda: {"span_name": boom},
    "no name": lambda: {"span_name": lambda *_: None},
    "destination_template": lambda: {"destination_template": boom},
    "no template": lambda: {"destination_template": lambda _: 5},
    "trace_topic": lambda: {"trace_topic": boom},
    "capture_key": lambda: {"capture_key": boom},
}


@pytest.fixture(params=FAULTS)
def options(request):
    return FAULTS[request.param]()


def recorded(options):
    return {"tracer_provider": SpanRecorder().tracer_provider, **options}


def test_no_failure_of_telemetry_reaches_a_send(options, caplog):
    """Whatever raises, records go out as the caller gave them; each kind is logged once, with its traceback."""
    bare = FakeProducer()
    producer = wrap_producer(bare, ProducerOptions(**recorded(options)))
    for topic in "ab":
        assert producer.send(topic, b"v", b"k", [("x", b"y")]) is bare.futures[-1]
        bare.futures[-1].acknowledge()
    assert [call[:2] for call in bare.calls] == [("a", b"v"), ("b", b"v")]
    assert all(("x", b"y") in headers for headers in bare.headers)
    kinds = [each.args for each in caplog.records]
    assert len(kinds) == len(set(kinds))
    assert all(each.exc_info for each in caplog.records)


@pytest.mark.parametrize("style", ["iterate", "next", "poll", "process"])
def test_no_failure_of_telemetry_loses_a_record(options, style):
    """Whatever raises, every record is handed over, in every style."""
    consumer = wrap_consumer(
        FakeConsumer(*map(record, range(3))), ConsumerOptions(poll_spans=True, **recorded(options))
    )
    if style == "iterate":
        offsets = [each.offset for each in consumer]
    elif style == "next":
        offsets = [next(consumer).offset for _ in range(3)]
    else:
        (records,) = consumer.poll().values()
        offsets = [each.offset for each in records]
    if style == "process":
        for each in map(record, offsets):
            with consumer.process(each), consumer.process_batch([each]):
                pass
    consumer.close()
    assert offsets == [0, 1, 2]
    assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.parametrize("hook", ["on_send", "on_ack"])
def test_hooks_of_a_producer_are_contained(hook, caplog):
    """A hook that raises costs the hook's own doing only: the span is whole."""
    recorder, bare = SpanRecorder(), FakeProducer()
    wrap_producer(bare, ProducerOptions(**{hook: boom}, tracer_provider=recorder.tracer_provider)).send("t", b"v")
    bare.futures[0].acknowledge()
    (span,) = recorder.spans
    assert span.attributes["messaging.kafka.offset"] == 7
    assert [each.args for each in caplog.records] == [(hook, "Boom")]


def test_span_that_fails_to_end_does_not_stay_current(options):
    """The context is restored before anything that may fail."""
    with pytest.raises(ValueError, match="mine"), process(record(0), ConsumerOptions(**recorded(options))):
        raise ValueError("mine")
    assert not trace.get_current_span().get_span_context().is_valid


def test_broken_propagator_leaves_inject_and_extract_harmless():
    """inject() returns the headers as they were, extract() an empty context."""
    broken = Options(propagator=BrokenPropagator())
    assert inject([TRACEPARENT], options=broken) == [TRACEPARENT]
    assert inject([("x", b"y")], options=broken) == [("x", b"y")]
    assert extract([TRACEPARENT], broken) == Context()


def test_options_that_cannot_be_hashed_do():
    """A propagator without a hash serves calls without a client, too."""

    class Unhashable(OddPropagator):
        __hash__ = None

    options = Options(propagator=Unhashable())
    assert inject([("x", b"y")], options=options) == [("x", b"y")]
    with process(record(0), options):
        pass


def test_many_kinds_of_failure_do_not_flood_the_log(caplog):
    """An error of a new class each time is logged a bounded number of times."""

    def hook(*_):
        raise type(f"E{len(caplog.records)}", (Exception,), {})

    producer = wrap_producer(FakeProducer(), ProducerOptions(on_send=hook))
    for _ in range(300):
        producer.send("t", b"v")
    assert len(caplog.records) == 100


def test_many_topics_do_not_grow_the_memory():
    """What is remembered of topics is bounded."""
    producer = wrap_producer(FakeProducer(), ProducerOptions(tracer_provider=SpanRecorder().tracer_provider))
    for at in range(2500):
        producer.send(f"t{at}", b"v")
    telemetry = engine_of(producer)._telemetry
    assert len(telemetry.destinations) <= 1000
    assert len(telemetry._names) <= 1000


class NoCallbacks(FakeProducer):
    """A client whose future cannot be followed."""

    def send(self, *args, **kwargs):
        super().send(*args, **kwargs)
        return "future"


def test_future_that_cannot_be_followed_is_returned():
    """Where the future takes no callbacks, the span ends when send() returns."""
    recorder = SpanRecorder()
    producer = wrap_producer(NoCallbacks(), ProducerOptions(tracer_provider=recorder.tracer_provider))
    assert producer.send("t", b"v") == "future"
    assert len(recorder.spans) == 1


@pytest.mark.parametrize("error", [Boom("mine"), KeyboardInterrupt()], ids=["exception", "interrupt"])
def test_what_the_client_raises_passes_unchanged(error):
    """An exception of Kafka's is the very object, with the frames of the client in its traceback."""

    class Refusing(FakeProducer):
        def send(self, *_, **__):
            raise error

    recorder = SpanRecorder()
    producer = wrap_producer(Refusing(), ProducerOptions(tracer_provider=recorder.tracer_provider))
    with pytest.raises(type(error)) as raised:
        producer.send("t", b"v")
    assert raised.value is error
    assert error.__cause__ is error.__context__ is None
    assert raised.traceback[-1].name == "send"
    (span,) = recorder.spans
    assert span.attributes["error.type"] == type(error).__name__


@pytest.mark.parametrize(
    "arguments", [((), {}), ((5, b"v"), {}), (("t",), {"nonsense": 1}), (("t", 1, 2, 3, 4, 5, 6), {})]
)
def test_arguments_that_send_refuses_raise_its_own_error(arguments):
    """What is no call of send() goes through as it is."""
    args, kwargs = arguments
    recorder = SpanRecorder()
    producer = wrap_producer(FakeProducer(), ProducerOptions(tracer_provider=recorder.tracer_provider))
    if args[:1] == (5,):
        assert producer.send(*args, **kwargs)
        return
    with pytest.raises(TypeError, match=r"send\(\)"):
        producer.send(*args, **kwargs)
