"""What clients, records and errors come to as attributes."""

from uuid import UUID

import pytest
from kafka import errors
from opentelemetry.trace import StatusCode

from otelkafka import ConsumerOptions, ProducerOptions, process
from tests.support.face import wrap_producer
from tests.support.fakes import FakeProducer, consumer_of, record


def processed(recorder, one, **options):
    with process(one, ConsumerOptions(tracer_provider=recorder.tracer_provider, **options)):
        pass
    return recorder.spans[-1].attributes


def sent(recorder, config, **options):
    options = ProducerOptions(tracer_provider=recorder.tracer_provider, max_in_flight=0, **options)
    wrap_producer(FakeProducer(**config), options).send("t", b"v")
    return recorder.spans[-1].attributes


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("text", "text"),
        (b"bytes", "bytes"),
        (bytearray(b"bytes"), "bytes"),
        (memoryview(b"bytes"), "bytes"),
        (7, "7"),
        (1.5, "1.5"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"\xff", None),
        (None, None),
        (object(), None),
        ({"a": 1}, None),
    ],
    ids=repr,
)
def test_key_is_recorded_as_its_canonical_string(recorder, key, shown):
    """A key is recorded where it has a canonical string, and left out where it has none."""
    assert processed(recorder, record(0, key=key)).get("messaging.kafka.message.key") == shown


@pytest.mark.parametrize(
    ("capture_key", "shown"), [(True, "k"), (False, None), (lambda key: None, None), (lambda key: f"#{len(key)}", "#1")]
)
def test_key_is_captured_as_the_options_want(recorder, capture_key, shown):
    """capture_key: whether at all, or in which form."""
    assert processed(recorder, record(0, key="k"), capture_key=capture_key).get("messaging.kafka.message.key") == shown


def test_wrong_key_format_is_contained(recorder, caplog):
    """Nothing is recorded for a function that returns no str, and the rest of the span is as it would be."""
    shown = processed(recorder, record(0, key="k"), capture_key=lambda key: 5)
    assert "messaging.kafka.message.key" not in shown
    assert shown["messaging.kafka.offset"] == 0
    assert "return a str or None" in caplog.text


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ({"serialized_value_size": -1, "value": "made by a deserializer"}, True),
        ({"serialized_value_size": 3, "value": None}, None),
        ({"serialized_value_size": None, "value": None}, True),
    ],
)
def test_tombstone_is_recorded_only_where_it_is_one(recorder, more, shown):
    """What the broker holds counts, not what a deserializer made of it."""
    assert processed(recorder, record(0, **more)).get("messaging.kafka.message.tombstone") is shown


def test_headers_are_captured_as_lists_of_text(recorder):
    """Headers that fit a name or wildcard, each with all of its values; what is no text is left out."""
    headers = [("x-a", b"1"), ("x-a", b"2"), ("x-b", b"\xff"), ("x-c", None), ("y", b"3")]
    shown = processed(recorder, record(0, headers=headers), capture_headers=["x-*"])
    assert {name: value for name, value in shown.items() if name.startswith("messaging.header.")} == {
        "messaging.header.x-a": ("1", "2")
    }


@pytest.mark.parametrize(
    ("servers", "address", "port"),
    [
        ("host:9092", "host", 9092),
        ("host", "host", None),
        ("one:1,two:2", "one", 1),
        (["one:1", "two:2"], "one", 1),
        ("[::1]:9092", "::1", 9092),
        ("SASL_SSL://user:secret@host:9093", "host", 9093),
        ("host:port", None, None),
        ([], None, None),
        (None, None, None),
    ],
)
def test_first_bootstrap_server_stands_for_an_unknown_leader(recorder, servers, address, port):
    """A str or a list, with and without a port; never with a password, and nothing where it is none."""
    shown = sent(recorder, {"bootstrap_servers": servers})
    assert (shown.get("server.address"), shown.get("server.port")) == (address, port)


def test_record_without_a_timestamp_has_no_wait(recorder):
    """Where the broker knows no time, nothing is recorded of the wait."""
    for timestamp in (None, -1):
        shown = processed(recorder, record(0, timestamp=timestamp))
        assert not [name for name in shown if name.startswith("otelkafka.queue")]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.UnknownTopicOrPartitionError("t"), "UNKNOWN_TOPIC_OR_PARTITION"),
        (errors.KafkaTimeoutError("late"), "KafkaTimeoutError"),
        (ValueError("no"), "ValueError"),
    ],
)
def test_error_type_is_kafkas_name_or_the_class(recorder, error, kind):
    """A broker's error is recorded by the name of its code, any other by its class; the status has its message."""
    with pytest.raises(type(error)), process(record(0), ConsumerOptions(tracer_provider=recorder.tracer_provider)):
        raise error
    (span,) = recorder.spans
    assert span.attributes["error.type"] == kind
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, str(error))
    (event,) = span.events
    assert event.name == "exception"


def test_malformed_header_costs_only_the_headers(recorder):
    """capture_headers of what is no header: everything else is recorded."""
    list(consumer_of(recorder, record(0, headers=["junk"]), capture_headers=["x"]))
    assert recorder.spans[0].attributes["messaging.kafka.offset"] == 0
    assert "otelkafka.queue.duration" in recorder.spans[0].attributes
