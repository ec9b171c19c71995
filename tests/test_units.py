"""The rules that need no broker: options, headers, the layers, and containment of telemetry's failures."""

import ast
from pathlib import Path

import pytest
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
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

TRACEPARENT = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
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


class Broken(TextMapPropagator):
    fields = frozenset()

    def inject(self, *_, **__):
        raise RuntimeError("inject")

    def extract(self, *_, **__):
        raise RuntimeError("extract")


class FakeProducer:
    config = {"bootstrap_servers": "user:secret@host:9092"}

    def __init__(self):
        self.sent = []

    def send(self, topic, value=None, key=None, headers=None, partition=None, timestamp_ms=None):
        self.sent.append((topic, value, headers))
        return self

    def add_callback(self, function):
        self.callback = function

    def add_errback(self, function):
        pass

    def close(self):
        pass


def boom(*_):
    raise RuntimeError("boom")


@pytest.mark.parametrize(
    "options",
    [
        {"propagator": Broken()},
        {"on_send": boom},
        {"span_name": boom},
        {"destination_template": boom},
        {"trace_topic": boom},
        {"capture_key": boom},
    ],
    ids=lambda options: next(iter(options)),
)
def test_failures_of_telemetry_are_contained(options, caplog):
    """Whatever a propagator, hook or naming function raises, the record goes out; it is logged once."""
    bare = FakeProducer()
    recorder = SpanRecorder()
    producer = wrap_producer(bare, ProducerOptions(tracer_provider=recorder.tracer_provider, **options))
    for topic in "ab":
        assert producer.send(topic, b"v", b"k") is bare
    assert [sent[:2] for sent in bare.sent] == [("a", b"v"), ("b", b"v")]
    assert len(caplog.records) == 1


def test_close_ends_what_is_in_flight_once():
    """A future that never resolves leaves no span open after close(), and a late one changes nothing."""
    bare, recorder = FakeProducer(), SpanRecorder()
    producer = wrap_producer(bare, ProducerOptions(tracer_provider=recorder.tracer_provider))
    producer.send("t", b"v")
    assert recorder.spans == []
    producer.close()
    bare.callback(None)
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
    carried = get_current_span(extract(bare.sent[0][2])).get_span_context()
    assert carried.span_id == ambient.get_span_context().span_id
    assert isinstance(extract([]), Context)
