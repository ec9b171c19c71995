"""Failures of telemetry stay out of the application; Kafka's and the user's own pass unchanged."""

import gc
import logging
import re
from pathlib import Path

import pytest
from opentelemetry import context
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.metrics import MeterProvider

from otelkafka import ConsumerOptions, HeaderCarrier, Options, ProducerOptions, extract, inject, process, process_batch
from otelkafka.testing import SpanRecorder
from tests.support import operations
from tests.support.face import process_batch_of, process_of, wrap_consumer, wrap_producer
from tests.support.fakes import (
    TRACEPARENT,
    FakeProducer,
    consumer_of,
    current,
    is_nothing_current,
    options_of,
    producer_of,
    record,
    traceparent,
)
from tests.support.faults import HANGS, KINDS, PLACES, Boom, Injection
from tests.support.internals import face_of, forget_what_was_logged
from tests.support.memory import largest_within
from tests.support.operations import CONSUMING, EXPECTED, HANDLING, PRODUCING, SECRET, make_client, outcome
from tests.support.sides import Side, late

ROOT = Path(__file__).parents[2]
PRODUCERS_ALONE, CONSUMERS_ALONE = {"on_send", "on_ack"}, {"on_process"}
WITH_EACH_CLIENT = "time_ns"
PLACES_AND_LANES = [
    pytest.param(place, marks=() if place == WITH_EACH_CLIENT else pytest.mark.per_telemetry) for place in PLACES
]


def boom(*_, **__):
    raise Boom


class BrokenPropagator(TextMapPropagator):
    fields = frozenset()
    inject = extract = boom


class _Logged(logging.Handler):
    """Keeps what is logged, without the frames of its traceback, which would keep the loop of an application alive."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        error = record.exc_info[1] if record.exc_info else None
        record.traced, record.exc_info = error is not None, None
        record.text = f"{record.getMessage()} {outcome(str, error)}"
        self.records.append(record)


@pytest.fixture(autouse=True, scope="module")
def _nothing_of_other_tests():
    """What they have dropped ends now, and not while a fault is injected."""
    gc.collect()


@pytest.fixture
def logged():
    """What the library, and the SDK about spans, log."""
    handler, loggers = _Logged(), [logging.getLogger(name) for name in ("otelkafka", "opentelemetry")]
    for each in loggers:
        each.addHandler(handler)
        each.propagate = False
    yield handler.records
    for each in loggers:
        each.removeHandler(handler)
        each.propagate = True


def operations_of(place):
    """The operations that a fault can be led into by options."""
    if place in PRODUCERS_ALONE:
        return PRODUCING
    return CONSUMING if place in CONSUMERS_ALONE else (*PRODUCING, *CONSUMING)


def operate(operation, injection, place):
    """What an operation comes to with a traced client, into whose telemetry a fault is injected."""
    bare = make_client(operation)
    options = {
        "tracer_provider": injection.provider(),
        "meter_provider": injection.metrics.meter_provider,
        **PLACES[place].arrange(injection),
    }
    if operation in PRODUCING:
        return operation(wrap_producer(bare, ProducerOptions(**options)), bare)
    options = ConsumerOptions(poll_spans=True, max_links=1, **options)
    return operation(bare, bare, options) if operation in HANDLING else operation(wrap_consumer(bare, options), bare)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES_AND_LANES)
def test_no_fault_of_telemetry_changes_an_operation(place, kind, logged, monkeypatch):
    """The application sees what it sees of the bare client; the fault is counted, and logged once; no span stays open."""
    struck = 0
    for operation in operations_of(place):
        with monkeypatch.context() as patch:
            injection = Injection(kind, patch.setattr)
            seen = operate(operation, injection, place)
        assert seen == EXPECTED[operation], operation.__name__
        assert is_nothing_current(), operation.__name__
        if place != "Span.end" or kind is HANGS:
            assert [span.name for span in injection.spans if span.end_time is None] == [], operation.__name__
        check_reported(injection, place, logged, operation)
        check_discreet(injection, logged)
        logged.clear()
        struck += injection.struck
    assert struck, "no operation leads to this call"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES_AND_LANES)
def test_no_fault_changes_what_comes_of_a_record_that_has_a_context_alone(place, kind, logged, monkeypatch):
    """Sampled or not: the shortest way of a record contains what the general one does."""
    for is_sampled in (True, False):
        headers = [traceparent(0, sampled=is_sampled)]
        plain = [each._replace(headers=headers) for each in operations.RECORDS]
        monkeypatch.setattr(operations, "RECORDS", plain)
        for operation in CONSUMING if place not in PRODUCERS_ALONE else ():
            bare = make_client(operation)
            expected = operation(bare, bare)
            with monkeypatch.context() as patch:
                injection = Injection(kind, patch.setattr)
                seen = operate(operation, injection, place)
            assert seen == expected, operation.__name__
            assert is_nothing_current(), operation.__name__
            if place != "Span.end" or kind is HANGS:
                assert [span.name for span in injection.spans if span.end_time is None] == [], operation.__name__
            check_reported(injection, place, logged, operation)
            logged.clear()


def check_reported(injection, place, logged, operation):
    failures = sum(count for _, count in injection.metrics.points("otelkafka.telemetry.errors"))
    ours = [each.args for each in logged if each.name == "otelkafka"]
    assert len(ours) == len(set(ours)), (operation.__name__, ours)
    assert all(each.traced for each in logged if each.name == "otelkafka")
    assert not any("ended span" in each.getMessage() for each in logged if each.name != "otelkafka")
    if injection.struck and injection.kind in PLACES[place].counted:
        assert failures and ours, operation.__name__
    if injection.kind is HANGS:
        assert not failures and not ours, (operation.__name__, ours)


def check_discreet(injection, logged):
    """No value, no header, no baggage, no setting of the client and nothing that a fault returned is shown anywhere."""
    shown = [(span.name, span.attributes, span.events, span.links, span.status.description) for span in injection.spans]
    assert SECRET not in repr([[*map(repr, each)] for each in shown])
    assert SECRET not in repr(injection.metrics.metrics)
    assert not [each.text for each in logged if SECRET in each.text and each.name == "otelkafka"]


@pytest.mark.parametrize("hook", ["on_send", "on_ack"])
def test_hooks_of_a_producer_are_contained(hook, caplog):
    """A hook that raises costs the hook's own doing only: the span is whole."""
    recorder, bare = SpanRecorder(), FakeProducer()
    wrap_producer(bare, ProducerOptions(**{hook: boom}, tracer_provider=recorder.tracer_provider)).send("t", b"v")
    bare.futures[0].acknowledge(7)
    (span,) = recorder.spans
    assert span.attributes["messaging.kafka.offset"] == 7
    assert [each.args for each in caplog.records] == [(hook, "Boom")]


def test_broken_propagator_leaves_inject_and_extract_harmless():
    """inject() returns the headers as they were, extract() an empty context."""
    broken = Options(propagator=BrokenPropagator())
    assert inject([TRACEPARENT], options=broken) == [TRACEPARENT]
    assert inject([("x", b"y")], options=broken) == [("x", b"y")]
    assert extract([TRACEPARENT], broken) == Context()


def test_options_that_cannot_be_hashed_do():
    """A propagator without a hash serves calls without a client, too."""

    class Unhashable(TextMapPropagator):
        fields = frozenset()
        __hash__ = None

        def inject(self, carrier, context=None, setter=None):
            pass

        def extract(self, carrier, context=None, getter=None):
            return Context()

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
    asked = []
    options = ProducerOptions(trace_topic=lambda topic: asked.append(topic) or True, max_in_flight=0)
    producer = wrap_producer(FakeProducer(), options)
    for at in [*range(2500), 2499]:
        producer.send(f"t{at}", b"v")
    assert len(asked) == 2500
    assert largest_within(face_of(producer)) <= 1000


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
    recorder = SpanRecorder()
    producer = wrap_producer(FakeProducer(error=error), ProducerOptions(tracer_provider=recorder.tracer_provider))
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


def test_meter_provider_that_fails_is_asked_once(clock):
    """Asked again and again, as long as the process lives, what it has made so far would pile up."""
    injection = Injection(KINDS[0], None)
    options = PLACES["Meter.create_observable_gauge"].arrange(injection)
    for _ in range(3):
        producer = wrap_producer(FakeProducer(), ProducerOptions(**options))
        for _ in range(10):
            clock.advance(0.1)
            producer.send("t", b"v")
    assert injection.struck == 1


@pytest.mark.parametrize(
    "wrong",
    [lambda headers: headers[1:], lambda headers: headers[-1:], lambda headers: headers[::-1], lambda headers: []],
    ids=["without the first", "the last alone", "reversed", "none"],
)
def test_carrier_that_loses_headers_is_not_used(wrong, caplog):
    """Nor one that mixes them up: the record goes out as the caller gave it."""
    headers = [("x", b"1"), ("x", b"2")]
    carrier = type("C", (HeaderCarrier,), {"headers": property(lambda self: wrong(HeaderCarrier.headers.fget(self)))})
    bare = FakeProducer()
    options = ProducerOptions(tracer_provider=SpanRecorder().tracer_provider, carrier=carrier)
    wrap_producer(bare, options).send("t", b"v", headers=headers)
    assert bare.headers == [headers]
    assert "inject failed" in caplog.text


def test_page_shows_what_is_injected():
    """The page on faults has the figures of this module, and names each call."""
    page = (ROOT / "docs" / "faults.md").read_text()
    runs = len(KINDS) * sum(len(operations_of(place)) for place in PLACES)
    figures = {
        "calls that fail": len(PLACES),
        "ways to fail, for each call": len(KINDS),
        "operations of a producer": len(PRODUCING),
        "operations of a consumer": len(CONSUMING),
        "faults injected into operations": runs,
    }
    for shown, figure in figures.items():
        assert f"| {shown} | {figure} |" in page
    assert [place for place in PLACES if f"`{place}`" not in page] == []


def test_promises_name_tests_that_exist():
    """Each row of the table has tests, each of which is there."""
    _, _, promises = (ROOT / "SECURITY.md").read_text().partition("| fault | promise | test |\n")
    rows = [line for line in promises.splitlines() if line.startswith("| ")]
    for row in rows:
        named = re.findall(r"`((?:tests|outages)/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for path, test in named:
            assert re.search(rf"^(async )?def {test}\(", (ROOT / path).read_text(), re.MULTILINE), (path, test)


class BrokenHistograms(MeterProvider):
    """Histograms that raise when they are used."""

    def get_meter(self, *args, **kwargs):
        meter = super().get_meter(*args, **kwargs)
        create = meter.create_histogram

        def broken(*args, **kwargs):
            histogram = create(*args, **kwargs)
            histogram.record = lambda *_, **__: 1 / 0
            return histogram

        meter.create_histogram = broken
        return meter


def test_histogram_that_raises_costs_no_span(recorder, caplog):
    """The process span is current, ends and has its context, and so does the send's."""
    broken = {"meter_provider": BrokenHistograms(shutdown_on_exit=False)}
    for _ in consumer_of(recorder, record(0), **broken):
        assert current().is_valid
    with process_batch([record(0)], options_of(recorder, **broken)) as span:
        assert current() == span.get_span_context()
    producer_of(recorder, FakeProducer(), **broken).send("t", b"v").acknowledge()
    assert [span.name for span in recorder.spans] == ["process t", "process t", "send t"]
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_base_exceptions_leave_nothing_open(error):
    """What is no Exception passes as any other: nothing stays current, every span ends."""
    side = Side(sample_errors=True, pipeline_time=True)
    with pytest.raises(error):
        side.producer(FakeProducer(error=error)).send("t", b"v")
    with pytest.raises(error), process_of(side.consumer(process="manual", sample_waits_over=1), late()):
        raise error
    with pytest.raises(error), process_batch_of(side.consumer(process="manual"), [late()]):
        raise error
    assert context.get_current() == Context()
    assert all(each.end_time for each in side.spans.spans)


def test_naming_function_that_fails_is_asked_once_for_a_send(metrics):
    """What has failed may work for the next record, and is counted once for this one."""
    asked = []

    def failing(topic):
        asked.append(topic)
        raise Boom

    options = ProducerOptions(meter_provider=metrics.meter_provider, destination_template=failing)
    wrap_producer(FakeProducer(), options).send("t", b"v")
    assert asked == ["t"]
    assert [count for _, count in metrics.points("otelkafka.telemetry.errors")] == [1]


def test_calls_without_a_client_log_a_failure_once(logged):
    """Also where each call has options of its own, which cannot be known again."""

    class Down(TextMapPropagator):
        __hash__ = None
        fields = frozenset()

        def inject(self, *_, **__):
            raise OSError

        def extract(self, *_, **__):
            raise OSError

    forget_what_was_logged()
    for _ in range(100):
        extract([("a", b"b")], Options(propagator=Down()))
    assert len(logged) == 1
