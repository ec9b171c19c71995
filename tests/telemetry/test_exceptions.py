"""Texts of anybody's reach a span in a form that every exporter can write, and an exception needs no text."""

import json
import logging

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.trace import StatusCode

from otelkafka import ConsumerOptions, ProducerOptions, process, wrap_handler
from otelkafka.testing import MetricRecorder
from tests.support.face import process_of, wrap_consumer, wrap_producer
from tests.support.fakes import FakeConsumer, FakeProducer, options_of, producer_of, record

HALF = "\ud800"


class Silent(Exception):
    """Raises where it is asked for its text."""

    def __str__(self):
        raise RuntimeError


def noted():
    error = ValueError("plain")
    error.__notes__ = [f"note {HALF}"]  # as add_note() of Python 3.11 does
    return error


def caused():
    error = ValueError("plain")
    error.__cause__ = OSError(HALF)
    return error


@pytest.mark.parametrize(
    ("error", "description"),
    [
        (ValueError(f"no such user: {HALF}"), "no such user: \\ud800"),
        (noted(), "plain"),
        (caused(), "plain"),
        (Silent(), "Silent"),
        (ValueError("plain"), "plain"),
    ],
    ids=["message", "note", "cause", "no text", "plain"],
)
def test_exception_is_recorded_in_a_form_that_can_be_exported(recorder, error, description):
    """Other people's spans of the same batch are not lost, and the error is the application's own."""
    with pytest.raises(type(error)) as raised, process(record(0), options_of(recorder)):
        raise error
    assert raised.value is error
    (span,) = recorder.spans
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, description)
    (event,) = span.events
    assert event.name == "exception"
    assert event.attributes["exception.type"].endswith(type(error).__name__)
    assert event.attributes["exception.message"] == description
    assert type(error).__name__ in event.attributes["exception.stacktrace"]
    encode_spans(recorder.spans)


def test_half_a_surrogate_pair_in_a_record_loses_no_span(recorder):
    """Seven ASCII bytes in a record of anybody's: what a handler says of them can be exported."""

    @wrap_handler(options=options_of(recorder))
    def handle(record):
        raise ValueError("no such user: " + json.loads(record.value)["user"])

    with recorder.tracer_provider.get_tracer("app").start_as_current_span("somebody else's span"):
        pass
    with pytest.raises(ValueError):
        handle(record(0, value=b'{"user": "\\ud800"}'))
    assert len(recorder.spans) == 2
    encode_spans(recorder.spans)


@pytest.mark.parametrize("with_errors", [False, True], ids=["sound", "with errors"])
def test_no_name_reaches_a_span_that_cannot_be_exported(recorder, metrics, with_errors):
    """Topic, template, span name, key, header, client id, group and server: each may be anything."""
    odd = f"t{HALF}"
    options = {
        "tracer_provider": recorder.tracer_provider,
        "meter_provider": metrics.meter_provider,
        "capture_headers": ("*",),
        "span_name": lambda operation, _: f"{operation} {HALF}",
        "destination_template": lambda topic: topic + HALF,
    }
    headers = [(odd, b"x"), (odd, b"\xed\xa0\x80")]
    config = {"client_id": odd, "bootstrap_servers": [f"{odd}:9092"]}
    producer = wrap_producer(FakeProducer(**config), ProducerOptions(**options))
    future = producer.send(odd, b"v", b"\xed\xa0\x80", headers)
    future.fail(type("Odd", (Exception,), {"__qualname__": HALF})(HALF)) if with_errors else future.acknowledge()
    read = record(0, key=odd, headers=headers)._replace(topic=odd)
    consumer = wrap_consumer(FakeConsumer(read), ConsumerOptions(**options, poll_spans=True))
    for each in consumer:
        with process_of(consumer, each):
            consumer.commit()
    consumer.close()
    assert len(recorder.spans) >= 3
    encode_spans(recorder.spans)
    for name in metrics.metrics:
        for attributes, _ in metrics.points(name):
            json.dumps(attributes, ensure_ascii=False).encode()


class Remote(logging.Handler):
    """Ships logs to a server that is down, and does not catch that."""

    def emit(self, _):
        raise ConnectionError("the log server is down")


def test_logging_handler_that_raises_is_contained(recorder):
    """What is logged of a fault of telemetry fails, too: no record is lost, no call raises."""

    def hook(*_):
        raise KeyError("a bug")

    handler = Remote()
    logging.getLogger("otelkafka").addHandler(handler)
    try:
        records = [record(at) for at in range(3)]
        metrics = MetricRecorder()
        providers = {"tracer_provider": recorder.tracer_provider, "meter_provider": metrics.meter_provider}
        consumer = wrap_consumer(FakeConsumer(*records), ConsumerOptions(on_process=hook, **providers))
        assert [each.offset for each in consumer] == [0, 1, 2]
        bare = FakeProducer()
        producer_of(recorder, bare, on_send=hook, on_ack=hook).send("t", b"v").acknowledge()
        assert len(bare.calls) == 1
    finally:
        logging.getLogger("otelkafka").removeHandler(handler)
    assert sum(count for _, count in metrics.points("otelkafka.telemetry.errors")) == 3
