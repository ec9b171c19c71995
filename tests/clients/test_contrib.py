"""What code that was written for opentelemetry-instrumentation-kafka-python relies on: hooks, headers, keywords.

Where the other instrumentation does the same, the same test runs over both.
"""

import kafka
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otelkafka.instrumentor import KafkaInstrumentor
from tests.support import fakes
from tests.support.fakes import SPAN_ID, TRACE_ID, TRACEPARENT, record

TENANT = ("tenant", b"a")
BAGGAGE = ("baggage", b"tenant=a")


def ours():
    return KafkaInstrumentor()


def theirs():
    return pytest.importorskip("opentelemetry.instrumentation.kafka").KafkaInstrumentor()


@pytest.fixture
def classes(monkeypatch):
    """Fakes in the place of kafka-python's classes, for an instrumentation to patch."""
    monkeypatch.setattr(kafka, "KafkaProducer", type("KafkaProducer", (fakes.FakeProducer,), {}))
    monkeypatch.setattr(kafka, "KafkaConsumer", type("KafkaConsumer", (fakes.FakeConsumer,), {}))


@pytest.fixture
def instrument(classes, recorder):
    used = []

    def instrument(instrumentor=ours, **options):
        used.append(instrumentor())
        used[-1].instrument(**{"tracer_provider": recorder.tracer_provider, "skip_dep_check": True, **options})

    yield instrument
    for each in used:
        if each.is_instrumented_by_opentelemetry:
            each.uninstrument()


both = pytest.mark.parametrize("instrumentor", [ours, theirs])


def names(headers):
    return [name for name, _ in headers]


@both
def test_hook_of_a_send_has_the_headers_and_the_current_span(instrument, instrumentor):
    """`kwargs["headers"]` is the list that goes out, the context in it already."""
    seen = []

    def hook(span, args, kwargs):
        seen.append((trace.get_current_span() is span, args, sorted(kwargs), names(kwargs["headers"])))
        kwargs["headers"].append(TENANT)

    instrument(instrumentor, produce_hook=hook)
    producer = kafka.KafkaProducer()
    producer.send("t", value=b"v")
    assert seen == [(True, ("t",), ["headers", "value"], ["traceparent"])]
    assert names(producer.headers[0]) == ["traceparent", "tenant"]
    assert not trace.get_current_span().get_span_context().is_valid


@both
@pytest.mark.parametrize("way", ["by keyword", "by position"])
def test_hook_of_a_send_has_the_callers_headers_among_them(instrument, instrumentor, way):
    """In `kwargs` or in `args`, where the caller gave them."""

    def hook(span, args, kwargs):
        (args[3] if way == "by position" else kwargs["headers"]).append(TENANT)

    instrument(instrumentor, produce_hook=hook)
    producer = kafka.KafkaProducer()
    given = [("own", b"o")]
    if way == "by position":
        producer.send("t", b"v", None, given, 0)
    else:
        producer.send("t", b"v", headers=given)
    assert names(producer.headers[0]) == ["own", "traceparent", "tenant"]
    if instrumentor is ours:
        assert given == [("own", b"o")]


@both
def test_what_the_hook_changes_is_sent(instrument, instrumentor):
    """Any keyword of `send()`, also a list of headers in the place of the given one."""

    def hook(span, args, kwargs):
        kwargs["value"] = kwargs["value"].upper()
        kwargs["headers"] = [*kwargs["headers"], TENANT]

    instrument(instrumentor, produce_hook=hook)
    producer = kafka.KafkaProducer()
    given = {"value": b"v"}
    producer.send("t", **given)
    assert [(topic, value) for topic, value, _ in producer.calls] == [("t", b"V")]
    assert names(producer.headers[0]) == ["traceparent", "tenant"]


@both
def test_hook_that_raises_leaves_the_record_and_what_it_has_changed(instrument, instrumentor):
    """The record goes out, and the span is not current any more."""

    def hook(span, args, kwargs):
        kwargs["headers"].append(TENANT)
        raise ValueError

    instrument(instrumentor, produce_hook=hook)
    producer = kafka.KafkaProducer()
    producer.send("t", b"v")
    assert names(producer.headers[0]) == ["traceparent", "tenant"]
    assert not trace.get_current_span().get_span_context().is_valid


@both
def test_hook_is_called_where_nothing_is_sampled(instrument, instrumentor):
    """With a span that records nothing; what it does to the headers is sent."""
    instrument(
        instrumentor,
        tracer_provider=TracerProvider(sampler=ALWAYS_OFF),
        produce_hook=lambda span, args, kwargs: kwargs["headers"].append((str(span.is_recording()), b"")),
    )
    producer = kafka.KafkaProducer()
    producer.send("t", b"v")
    assert names(producer.headers[0]) == ["traceparent", "False"]


@both
def test_hook_of_a_record_has_its_span_and_its_baggage_current(instrument, instrumentor):
    """So that it can copy the tenant to the span, for example."""
    seen = []

    def hook(span, record, args, kwargs):
        seen.append((trace.get_current_span() is span, baggage.get_baggage("tenant"), record.offset, args, kwargs))
        span.set_attribute("tenant", baggage.get_baggage("tenant"))

    instrument(instrumentor, consume_hook=hook)
    consumer = kafka.KafkaConsumer(record(0, headers=[TRACEPARENT, BAGGAGE]))
    before = context.get_current()
    next(iter(consumer))
    consumer.close()
    assert seen == [(True, "a", 0, (), {})]
    assert context.get_current() == before


@pytest.mark.parametrize("relation", ["parent", "link", "both"])
def test_hook_of_a_record_that_raises_leaves_the_span_open(instrument, recorder, relation):
    """The loop's body runs inside of it, whatever the relation to the sender's."""
    instrument(consume_hook=lambda *_: 1 / 0, relation=relation)
    consumer = kafka.KafkaConsumer(record(0, headers=[TRACEPARENT, BAGGAGE]))
    next(iter(consumer))
    inside = trace.get_current_span().get_span_context()
    consumer.close()
    (span,) = recorder.spans
    assert inside == span.context
    assert not trace.get_current_span().get_span_context().is_valid


def test_hook_of_a_record_and_the_option_are_both_called(instrument):
    """`consume_hook` is no other name of `on_process`; one that raises keeps nothing from the other."""
    called = []
    instrument(consume_hook=lambda *_: 1 / 0, on_process=lambda span, record: called.append(record.offset))
    next(iter(kafka.KafkaConsumer(record(0))))
    assert called == [0]


def test_stale_context_is_not_among_the_hooks_headers(instrument):
    """A record that is sent on with its headers has one context; here the hook sees that, and can take it out."""
    seen = []

    def hook(span, args, kwargs):
        seen.append(kwargs["headers"][:])
        kwargs["headers"].clear()

    instrument(produce_hook=hook)
    producer = kafka.KafkaProducer()
    producer.send("t", b"v", headers=[TRACEPARENT, TENANT])
    (own,) = [value for name, value in seen[0] if name == "traceparent"]
    assert TRACE_ID.encode() in own
    assert SPAN_ID.encode() not in own
    assert producer.headers == [[]]


@pytest.mark.parametrize("wrong", [[("tenant", "text")], ("tenant", b"a"), {"tenant": b"a"}])
def test_headers_of_a_hook_that_cannot_be_sent_are_left_out(instrument, caplog, wrong):
    """The record goes out with its own, and a warning names the hook."""

    def hook(span, args, kwargs):
        kwargs["headers"] = wrong

    instrument(produce_hook=hook)
    producer = kafka.KafkaProducer()
    for _ in range(2):
        producer.send("t", b"v", headers=[("own", b"o")])
    assert [names(headers) for headers in producer.headers] == [["own", "traceparent"]] * 2
    assert caplog.text.count("produce_hook failed") == 1


def test_headers_that_the_client_refuses_are_the_callers_own(instrument):
    """A hook gets what was given; the client refuses it as it would without us."""
    seen = []
    instrument(produce_hook=lambda span, args, kwargs: seen.append(kwargs["headers"]))
    given = (("own", b"o"),)
    with pytest.raises((AssertionError, TypeError)):  # kafka-python 2 the former
        kafka.KafkaProducer().send("t", b"v", headers=given)
    assert seen[0] is given


@pytest.mark.parametrize("too_large", ["raise", "future"])
@pytest.mark.parametrize("given", [None, [("own", b"o")]])
def test_record_too_large_by_our_header_is_sent_as_the_hook_left_it(instrument, monkeypatch, too_large, given):
    """Without our context, but with what the hook has changed: it may have encrypted the value."""

    class Refusing(fakes.FakeProducer):
        def send(self, topic, value=None, key=None, headers=None, *rest, **more):
            if "traceparent" in names(headers or ()):
                return super().send(topic, value, key, headers)
            self.calls.append((topic, value, headers))
            return fakes.FakeFuture()

    monkeypatch.setattr(kafka, "KafkaProducer", Refusing)

    def hook(span, args, kwargs):
        kwargs["value"] = b"changed"
        kwargs["headers"].append(TENANT)

    instrument(produce_hook=hook)
    producer = Refusing(too_large=too_large)
    producer.send("t", value=b"v", **({} if given is None else {"headers": given}))
    assert producer.calls == [("t", b"changed", [*(given or []), TENANT])]


@both
def test_keywords_that_concern_other_libraries_are_accepted(instrument, instrumentor):
    """A program that instruments many libraries gives the same keywords to each."""
    instrument(
        instrumentor,
        meter_provider=None,
        logger_provider=object(),
        event_logger_provider=object(),
        raise_exception_on_conflict=True,
    )
    assert instrumentor().is_instrumented_by_opentelemetry


def test_misspelt_keyword_is_refused(instrument):
    """With all that there are."""
    with pytest.raises(
        TypeError, match=r"instrument\(producer_hook=\.\.\.\): give one of produce_hook, consume_hook, "
    ):
        instrument(producer_hook=print, logger_provider=object())


@pytest.mark.parametrize("name", ["produce_hook", "consume_hook", "on_process"])
def test_hook_that_is_no_function_is_refused_at_once(instrument, name):
    """Not at the first record, and nothing is patched."""
    send = kafka.KafkaProducer.send
    with pytest.raises(TypeError, match=rf"{name}=.*give a function, or None for none"):
        instrument(**{"consume_hook": print, name: 5})
    assert kafka.KafkaProducer.send is send
