"""The rules that need no broker: options, headers, the layers, and containment of telemetry's failures."""

import ast
from pathlib import Path

import pytest
from opentelemetry.context import Context
from opentelemetry.trace import get_current_span

import otelkafka
from otelkafka import (
    ConsumerOptions,
    HeaderCarrier,
    Options,
    ProducerOptions,
    extract,
    inject,
    process,
    process_batch,
    semconv,
    wrap_consumer,
    wrap_handler,
    wrap_producer,
)
from otelkafka.testing import SpanRecorder
from tests.fakes import TRACEPARENT, FakeProducer

ORDER = [
    "semconv",
    "headers",
    "options",
    "client",
    "attributes",
    "wait",
    "telemetry",
    "operation",
    "propagation",
    "proxy",
    "links",
    "current",
    "processing",
    "in_flight",
    "producer",
    "dispatcher",
    "consumer_group",
    "rebalance",
    "consumer",
    "__init__",
    "testing",
]


def test_modules_import_only_from_those_before_them():
    """The layers are those of the list: a module imports nothing that stands after it."""
    source = Path(otelkafka.__file__).parent
    assert {path.stem for path in source.glob("*.py")} == set(ORDER)
    for path in source.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("otelkafka"):
                names = [node.module.removeprefix("otelkafka.")] if "." in node.module else [a.name for a in node.names]
                assert all(ORDER.index(name) < ORDER.index(path.stem) for name in names), (path, names)


def test_semconv_names_are_the_conventions():
    """Names of the conventions are those of the installed package, where that knows them."""
    from opentelemetry.semconv._incubating.attributes import messaging_attributes as theirs

    ours = {name: value for name, value in vars(semconv).items() if name.startswith("MESSAGING_")}
    assert {n: v for n, v in vars(theirs).items() if n in ours} == {n: v for n, v in ours.items() if hasattr(theirs, n)}


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
        (lambda: ConsumerOptions(relation=None), TypeError, "relation"),
        (lambda: wrap_producer(FakeProducer(), ConsumerOptions()), TypeError, "ProducerOptions"),
        (lambda: wrap_consumer(FakeProducer, 5), TypeError, "ConsumerOptions"),
        (lambda: Options(capture_key="yes"), TypeError, "capture_key"),
        (lambda: Options(record_exceptions=1), TypeError, "record_exceptions"),
        (lambda: ProducerOptions(max_in_flight=-1), ValueError, "max_in_flight"),
        (lambda: ProducerOptions(on_send=3), TypeError, "on_send"),
        (lambda: ConsumerOptions(relation="child"), ValueError, "relation"),
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


def test_carrier_works_on_a_copy():
    """Set replaces every header of the key, get returns the last valid one, other headers stay as they are."""
    given = [("k", b"1"), ("x", None), ("k", b"2"), ("k", b"\xff"), "junk", (b"k", b"3")]
    carrier = HeaderCarrier(given)
    assert carrier.get("k") == "2"
    assert carrier.get("x") is None
    assert carrier.keys() == ["k", "x"]
    carrier.set("k", "new")
    assert carrier.headers == [("x", None), "junk", (b"k", b"3"), ("k", b"new")]
    assert len(given) == 6
    assert HeaderCarrier().headers == HeaderCarrier(()).headers == []


def test_inject_replaces_a_stale_context():
    """A stale tracestate does not travel with a context that is not its own."""
    fresh = extract([TRACEPARENT])
    stale = [("traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"), ("tracestate", b"a=b"), ("x", b"y")]
    assert inject(stale, fresh) == [("x", b"y"), TRACEPARENT]
    assert get_current_span(extract(None)).get_span_context().is_valid is False


def test_close_ends_what_is_in_flight_once():
    """A future that never resolves leaves no span open after close(), and a late one changes nothing."""
    bare, recorder = FakeProducer({"bootstrap_servers": "user:secret@host:9092"}), SpanRecorder()
    producer = wrap_producer(bare, ProducerOptions(tracer_provider=recorder.tracer_provider))
    producer.send("t", b"v")
    assert recorder.spans == []
    producer.close()
    bare.futures[0].acknowledge()
    (span,) = recorder.spans
    assert span.attributes["error.type"] == "NotAcknowledgedError"
    assert span.attributes["server.address"] == "host"


def test_untraced_topic_still_propagates():
    """trace_topic False: no span, but the ambient context goes out."""
    bare, recorder = FakeProducer(), SpanRecorder()
    options = ProducerOptions(tracer_provider=recorder.tracer_provider, trace_topic=lambda _: False)
    with recorder.tracer_provider.get_tracer("t").start_as_current_span("ambient") as ambient:
        wrap_producer(bare, options).send("t", b"v")
    assert [span.name for span in recorder.spans] == ["ambient"]
    carried = get_current_span(extract(bare.headers[0])).get_span_context()
    assert carried.span_id == ambient.get_span_context().span_id
    assert isinstance(extract([]), Context)
