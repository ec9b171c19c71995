"""Secrets: no setting, value or header that was not asked for gets into a span, a metric, a log or an error of ours."""

import hashlib

import pytest

from otelkafka import Options, extract, inject, process, process_batch, wrap_handler
from otelkafka.reporter import metrics_reporter
from tests.support.face import wrap_consumer, wrap_producer
from tests.support.fakes import TRACEPARENT, FakeProducer, consumer_of, options_of, producer_of, record
from tests.support.internals import KafkaPythonClient
from tests.support.operations import BAGGAGE, CONFIG, HEADER, SECRET, VALUE

HEADERS = [TRACEPARENT, HEADER, BAGGAGE]


@pytest.mark.parametrize(
    "call",
    [
        lambda: wrap_producer(CONFIG),
        lambda: wrap_consumer(CONFIG),
        lambda: wrap_producer(FakeProducer(), CONFIG),
        lambda: wrap_handler(CONFIG),
        lambda: wrap_handler(len, CONFIG),
        lambda: metrics_reporter(CONFIG),
        lambda: process(dict(HEADERS)),
        lambda: process_batch([record(0, headers=HEADERS, value=VALUE), HEADER]),
        lambda: inject(dict(HEADERS)),
        lambda: extract(dict(HEADERS)),
        lambda: Options(tracer_provider=CONFIG),
        lambda: Options(capture_headers=HEADERS),
    ],
)
def test_error_of_ours_does_not_show_its_argument(call):
    """What was given in the wrong place is named by its type."""
    with pytest.raises(TypeError, match="give") as raised:
        call()
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "SASL_SSL://user:s3cret@host:9092",
        "user:s3cret@host:9092",
        "user:s3cret/1@host:9092",
        "user:1/s3cret@host:9092",
        "s3cret:9/x?y#z@host:9092",
        "s3@cret:s3@cret@host:9092",
    ],
)
def test_credentials_in_a_bootstrap_url_are_left_out(url):
    """Whatever a password is made of, host and port are what is recorded."""
    facts = KafkaPythonClient(FakeProducer(bootstrap_servers=url))
    assert facts.server(None, None) == ("host", 9092)
    assert facts.bootstrap_servers == ["host:9092"]


def test_only_headers_that_were_asked_for_are_recorded(recorder):
    """And of those with a like name none."""
    headers = [*HEADERS, ("y", b"asked")]
    producer_of(recorder, FakeProducer(), capture_headers=("y",), max_in_flight=0).send("t", VALUE, headers=headers)
    list(consumer_of(recorder, record(0, headers=headers), capture_headers=("y",)))
    for span in recorder.spans:
        shown = {name: value for name, value in span.attributes.items() if name.startswith("messaging.header.")}
        assert shown == {"messaging.header.y": ("asked",)}
        assert SECRET not in repr(span.attributes)


@pytest.mark.parametrize(
    "capture_key, shown",
    [(False, None), (lambda key: hashlib.sha256(key).hexdigest()[:8], hashlib.sha256(VALUE).hexdigest()[:8])],
)
def test_keys_are_turned_off_or_hashed(recorder, capture_key, shown):
    """On spans of sends, of records, of batches and on their links."""
    options = {"capture_key": capture_key}
    producer_of(recorder, FakeProducer(), max_in_flight=0, **options).send("t", VALUE, VALUE)
    consumed = record(0, key=VALUE)
    list(consumer_of(recorder, consumed, **options))
    with process_batch([consumed], options_of(recorder, **options)):
        pass
    sent, processed, batch = recorder.spans
    (link,) = batch.links
    for attributes in (sent.attributes, processed.attributes, link.attributes):
        assert attributes.get("messaging.kafka.message.key") == shown
        assert SECRET not in repr(attributes)


def test_text_of_an_exception_is_left_out_where_that_is_asked(recorder, caplog):
    """Of the application's and of telemetry's own: the class is logged, and no more."""

    def hook(*_):
        raise ValueError(SECRET)

    options = options_of(recorder, record_exceptions=False, on_process=hook)
    with pytest.raises(KeyError), process(record(0), options):
        raise KeyError(SECRET)
    (span,) = recorder.spans
    assert span.attributes["error.type"] == "KeyError"
    assert not span.events
    assert span.status.description is None
    assert "on_process failed" in caplog.text
    assert "ValueError" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("key", ["\ud800", "a\udfffb"])
def test_key_that_no_exporter_can_write_is_left_out(recorder, key):
    """One half of a surrogate pair would cost everything that is exported with it."""
    list(consumer_of(recorder, record(0, key=key)))
    with process(record(0, key=key), options_of(recorder, capture_key=str)):
        pass
    assert not [span for span in recorder.spans if "messaging.kafka.message.key" in span.attributes]
