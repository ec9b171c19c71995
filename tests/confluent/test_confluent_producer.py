"""A producer of confluent-kafka: a send is a span from before `produce()` until its delivery report."""

import gc
import threading
from typing import NamedTuple

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException
from opentelemetry import trace
from opentelemetry.trace import StatusCode

import otelkafka
from otelkafka import ProducerOptions
from otelkafka.testing import FakeConfluentProducer
from tests.support.face import INSTRUMENTED, bare_of, is_wrapped, wrap_producer
from tests.support.fakes import TRACEPARENT, ambient_of, is_nothing_current

GIVEN = [("a", b"b")]


class Header(NamedTuple):
    """A header of an application's."""

    name: str
    value: bytes


class Text(str):
    """A text of an application's."""

    __slots__ = ()


class Raw(bytes):
    """Bytes of an application's."""

    __slots__ = ()


TIMED_OUT = KafkaError(KafkaError._MSG_TIMED_OUT)
TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)


def carried(record):
    """The span id in the headers of a record."""
    return dict(record.headers)["traceparent"].decode().split("-")[2]


def test_send_ends_with_its_delivery_report(producer, recorder, metrics):
    """In `poll()`, with partition and offset; nothing is current after the call."""
    traced = producer(config={"client.id": "c"})
    assert traced.produce("t", b"v", b"k") is None
    assert is_nothing_current()
    assert recorder.spans == []
    assert traced.poll(0) == 1
    (span,) = recorder.spans
    assert span.name == "send t"
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes["messaging.kafka.offset"] == 0
    assert span.attributes["messaging.destination.partition.id"] == "0"
    assert span.attributes["messaging.kafka.message.key"] == "k"
    assert span.attributes["messaging.client.id"] == "c"
    assert (span.attributes["server.address"], span.attributes["server.port"]) == ("localhost", 9092)
    assert span.attributes["otelkafka.send.blocked_duration"] >= 0
    ((_, sent),) = metrics.points("messaging.client.sent.messages")
    assert sent == 1


@pytest.mark.parametrize("name", ["on_delivery", "callback"])
@pytest.mark.parametrize("at", ["name", "position"])
def test_callback_of_the_user_is_called_after_the_span_has_ended(producer, recorder, name, at):
    """With its own arguments, outside of the span; what it sends is no child of the send."""
    traced, calls = producer(), []

    def delivered(error, message):
        calls.append((error, message.topic(), message.offset(), len(recorder.spans), is_nothing_current()))

    if at == "name":
        traced.produce("t", b"v", **{name: delivered})
    else:
        traced.produce("t", b"v", None, -1, *((delivered,) if name == "callback" else (None, delivered)))
    traced.flush()
    assert calls == [(None, "t", 0, 1, True)]


def test_exception_of_a_callback_passes(producer, recorder):
    """Out of `poll()`, as without us."""
    traced = producer()
    traced.produce("t", b"v", on_delivery=lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        traced.poll(0)
    assert recorder.named("send t")[0].status.status_code is StatusCode.UNSET


def test_callback_of_the_configuration_is_called(producer, recorder):
    """For records that have none of their own: ours takes its place, and calls it."""
    calls = []
    traced = producer(config={"on_delivery": lambda error, message: calls.append(message.offset())})
    traced.produce("t", b"v")
    traced.produce("t", b"v", on_delivery=lambda *_: calls.append("own"))
    traced.flush()
    assert calls == [0, "own"]
    assert len(recorder.spans) == 2


def test_delivery_that_failed_is_an_error_by_librdkafkas_name(producer, recorder, metrics):
    """The same on the metric; the user's callback gets librdkafka's own error."""
    traced, calls = producer(auto_complete=False), []
    traced.produce("t", b"v", on_delivery=lambda error, message: calls.append((error, message.value())))
    traced.error_next(TIMED_OUT)
    traced.poll(0)
    assert calls == [(TIMED_OUT, b"v")]
    (span,) = recorder.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "_MSG_TIMED_OUT"
    assert span.events[0].attributes["exception.type"].endswith("KafkaException")
    ((attributes, _),) = metrics.points("messaging.client.operation.duration")
    assert attributes["error.type"] == "_MSG_TIMED_OUT"


@pytest.mark.parametrize(
    "error", [BufferError("Local: Queue full"), KafkaException(KafkaError(KafkaError._UNKNOWN_TOPIC))]
)
def test_record_that_is_refused_has_a_span_with_the_error(producer, recorder, metrics, error):
    """It passes unchanged; such a record counts as none sent."""
    traced = producer()
    traced.refuse_next(error)
    with pytest.raises(type(error)) as caught:
        traced.produce("t", b"v")
    assert caught.value is error
    assert caught.value.__context__ is None
    (span,) = recorder.spans
    assert span.attributes["error.type"] == ("BufferError" if type(error) is BufferError else "_UNKNOWN_TOPIC")
    assert metrics.points("messaging.client.sent.messages") == []
    assert is_nothing_current()


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("t", b"v", b"k", 0, None, None, 5, GIVEN), {}),
        (("t", b"v", b"k", 0), {"headers": GIVEN, "timestamp": 5}),
        (("t", b"v"), {"headers": GIVEN, "partition": 0}),
        (("t",), {"value": b"v", "headers": GIVEN}),
        ((), {"topic": "t", "value": b"v", "headers": GIVEN}),
    ],
)
def test_headers_are_carried_at_every_position(producer, recorder, args, kwargs):
    """A copy is sent; the caller's list stays."""
    traced = producer()
    traced.produce(*args, **kwargs)
    traced.flush()
    (record,), (span,) = traced.history, recorder.spans
    assert record.headers[0] == ("a", b"b")
    assert carried(record) == f"{span.context.span_id:016x}"
    assert GIVEN == [("a", b"b")]


@pytest.mark.parametrize(
    "headers",
    [
        None,
        [],
        {},
        {"a": b"b"},
        {"a": "text"},
        {"a": None},
        [("a", None)],
        [("a", "text"), ("a", b"again")],
        [Header("a", b"b")],
        [(Text("a"), Raw(b"b"))],
        {"a": Text("text")},
        [(b"a", b"b"), (5, b"b")],
        [TRACEPARENT],
        {"traceparent": TRACEPARENT[1].decode()},
    ],
)
def test_headers_that_confluent_kafka_takes_carry_the_context(producer, recorder, headers):
    """As list or dict of any names, values bytes, text or None; a context in them is the parent, and is replaced."""
    bare, traced = FakeConfluentProducer(), producer()
    bare.produce("t", b"v", headers=headers)
    traced.produce("t", b"v", headers=headers)
    traced.flush()
    (record,), (span,) = traced.history, recorder.spans
    assert carried(record) == f"{span.context.span_id:016x}"
    assert [name for name, _ in record.headers].count("traceparent") == 1
    kept = [header for header in bare.history[0].headers if header[0] != "traceparent"]
    assert [header for header in record.headers if header[0] != "traceparent"] == kept
    assert (span.parent is not None) == ("traceparent" in dict(headers or ()))


@pytest.mark.parametrize("headers", [(("a", b"b"),), [["a", b"b"]], 5, [("a",)], [("a", 5)]])
def test_headers_that_confluent_kafka_refuses_are_refused_with_its_error(producer, recorder, headers):
    """The same class and message as of the bare client."""
    errors = []
    for each in (FakeConfluentProducer(), producer()):
        with pytest.raises(Exception) as caught:
            each.produce("t", b"v", headers=headers)
        errors.append((type(caught.value), str(caught.value)))
    assert errors[0] == errors[1]


TOO_MANY = ("t", b"v", b"k", 0, None, None, 0, None, 5)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), (("t",), {"nope": 1}), ((5,), {}), (("t", 5), {}), (("t",), {"topic": "t"}), (TOO_MANY, {})],
)
def test_arguments_that_confluent_kafka_refuses_are_refused_with_its_error(args, kwargs):
    """The same class and message as of the bare client. None stays current."""
    bare, errors = confluent_kafka.Producer({"bootstrap.servers": "localhost:1", "log_level": 0}), []
    for each in (bare, otelkafka.wrap_producer(bare)):
        with pytest.raises(TypeError) as caught:
            each.produce(*args, **kwargs)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]
    assert is_nothing_current()


def test_record_that_our_header_made_too_large_is_sent_without(producer, recorder, cluster):
    """Once more, as the caller gave it, with the callback nevertheless."""

    class Small(FakeConfluentProducer):
        def produce(self, topic, value=None, *args, headers=None, **kwargs):
            if "traceparent" in dict(headers or ()):
                raise KafkaException(TOO_LARGE)
            super().produce(topic, value, *args, headers=headers, **kwargs)

    traced, calls = producer(Small(cluster=cluster)), []
    traced.produce("t", b"v", on_delivery=lambda *_: calls.append(1), headers={"a": "b"})
    traced.flush()
    assert [record.headers for record in traced.history] == [[("a", b"b")]]
    assert calls == [1]
    (span,) = recorder.spans
    assert span.attributes["otelkafka.send.without_context"] is True
    assert span.status.status_code is StatusCode.UNSET


def test_record_that_is_too_large_by_itself_has_its_error(producer, recorder, cluster):
    """Raised as it was, after both attempts."""

    class Small(FakeConfluentProducer):
        def produce(self, *_, **__):
            raise KafkaException(TOO_LARGE)

    with pytest.raises(KafkaException):
        producer(Small(cluster=cluster)).produce("t", b"v")
    assert recorder.spans[0].attributes["error.type"] == "MSG_SIZE_TOO_LARGE"


def test_report_that_comes_before_produce_has_returned_ends_the_send(producer, recorder, cluster):
    """Another thread polls: who is second ends it, once."""

    class Fast(FakeConfluentProducer):
        def produce(self, *args, **kwargs):
            super().produce(*args, **kwargs)
            other = threading.Thread(target=self.poll)
            other.start()
            other.join()

    traced = producer(Fast(cluster=cluster))
    traced.produce("t", b"v")
    (span,) = recorder.spans
    assert span.attributes["messaging.kafka.offset"] == 0
    traced.close()
    assert len(recorder.spans) == 1


def test_purged_records_fail_by_librdkafkas_name(producer, recorder):
    """With the poll after it."""
    traced = producer(auto_complete=False)
    traced.produce("t", b"v")
    traced.purge()
    traced.poll(0)
    assert recorder.spans[0].attributes["error.type"] == "_PURGE_QUEUE"


def test_who_never_polls_has_so_many_spans_in_flight_and_no_more(producer, recorder, metrics):
    """Those beyond end with `produce()`; the others end with `close()`, once."""
    traced = producer(max_in_flight=2)
    for _ in range(5):
        traced.produce("t", b"v")
    assert len(recorder.spans) == 3
    ((_, in_flight),) = metrics.points("otelkafka.spans.in_flight")
    assert in_flight == 2
    traced.close()
    assert len(recorder.spans) == 5


def test_close_ends_what_is_never_reported(producer, recorder, cluster):
    """With an error that says so."""

    class Silent(FakeConfluentProducer):
        def flush(self, timeout=-1):
            return len(self)

    with producer(Silent(cluster=cluster)) as traced:
        traced.produce("t", b"v")
        assert recorder.spans == []
    assert recorder.spans[0].attributes["error.type"] == "NotAcknowledgedError"


def test_sends_of_a_producer_that_is_dropped_end(producer, recorder):
    """With it: nobody will report them."""
    traced = producer(auto_complete=False)
    traced.produce("t", b"v")
    del traced
    gc.collect()
    assert recorder.spans[0].attributes["error.type"] == "NotAcknowledgedError"


def test_sends_outlive_the_wrapper_of_a_producer_that_is_used_on(producer, recorder, cluster):
    """The report still ends the span."""
    bare = FakeConfluentProducer(cluster=cluster)
    producer(bare).produce("t", b"v")
    gc.collect()
    assert recorder.spans == []
    bare.flush()
    assert recorder.spans[0].attributes["messaging.kafka.offset"] == 0


def test_serializing_subclass_has_its_own_order_of_arguments(producer, recorder, cluster):
    """Key before value, as confluent-kafka's SerializingProducer; the record is as it would be without us."""

    class Serializing(FakeConfluentProducer):
        def produce(self, topic, key=None, value=None, partition=-1, on_delivery=None, timestamp=0, headers=None):
            super().produce(
                topic,
                value.encode(),
                key.encode(),
                headers=headers,
                partition=partition,
                timestamp=timestamp,
                on_delivery=on_delivery,
            )

    traced, calls = producer(Serializing(cluster=cluster)), []
    traced.produce("t", "k", "v", 0, lambda *_: calls.append(1), 5, {"a": "b"})
    traced.flush()
    (record,), (span,) = traced.history, recorder.spans
    assert (record.key, record.value, record.timestamp) == (b"k", b"v", 5)
    assert span.attributes["messaging.kafka.message.key"] == "k"
    assert carried(record) == f"{span.context.span_id:016x}"
    assert calls == [1]


@pytest.mark.skipif(
    not hasattr(confluent_kafka.Producer, "produce_batch"), reason="this release has no produce_batch()"
)
def test_batch_is_one_span_that_ends_with_its_last_report(producer, recorder, metrics):
    """Callbacks of records, and that of the batch, are called; the caller's dicts stay."""
    traced, calls = producer(auto_complete=False), []
    messages = [{"value": b"1"}, {"value": b"2", "callback": lambda *_: calls.append("own")}]
    given = [dict(message) for message in messages]
    assert traced.produce_batch("t", messages, on_delivery=lambda *_: calls.append("all")) == 2
    assert messages == given
    traced.complete_next()
    traced.poll(0)
    assert recorder.spans == []
    traced.flush()
    (span,) = recorder.spans
    assert span.name == "send t"
    assert span.attributes["messaging.batch.message_count"] == 2
    assert calls == ["all", "own"]
    ((_, sent),) = metrics.points("messaging.client.sent.messages")
    assert sent == 2


@pytest.mark.skipif(
    not hasattr(confluent_kafka.Producer, "produce_batch"), reason="this release has no produce_batch()"
)
def test_records_of_a_batch_that_the_client_refuses_are_not_sent(recorder, metrics):
    """The span has the error of the first one. The caller's dicts have it, too."""
    config = {"bootstrap.servers": "localhost:1", "queue.buffering.max.messages": 1, "log_level": 0}
    providers = {"tracer_provider": recorder.tracer_provider, "meter_provider": metrics.meter_provider}
    traced = otelkafka.wrap_producer(confluent_kafka.Producer(config), ProducerOptions(config=config, **providers))
    batches = [[{"value": b"1"}, {"value": b"2"}] for _ in range(2)]
    assert [traced.produce_batch("t", batch) for batch in batches] == [1, 0]
    assert [["_error" in message for message in batch] for batch in batches] == [[False, True], [True, True]]
    assert len(recorder.spans) == 1
    traced.purge()
    traced.flush(0)
    assert [span.attributes["error.type"] for span in recorder.spans] == ["_QUEUE_FULL"] * 2
    ((_, sent),) = metrics.points("messaging.client.sent.messages")
    assert sent == 1
    with pytest.raises(TypeError):
        traced.produce_batch("t", batches[0], 0, None, None, None)


def test_transactions(producer, recorder):
    """A span for what ends one; an abort says how many sends it voided."""
    traced = producer(config={"transactional.id": "tx"})
    with ambient_of(recorder):
        traced.init_transactions()
        traced.begin_transaction()
        traced.produce("t", b"lost")
        traced.abort_transaction()
        traced.begin_transaction()
        traced.produce("t", b"kept")
        traced.send_offsets_to_transaction([confluent_kafka.TopicPartition("u", 0, 5)], "g")
        traced.commit_transaction()
    (aborted,) = recorder.named("abort transaction")
    assert aborted.attributes["otelkafka.transaction.voided"] == 1
    (offsets,) = recorder.named("send offsets")
    assert offsets.attributes["messaging.destination.name"] == "u"
    assert offsets.attributes["messaging.kafka.offset"] == 5
    assert len(recorder.named("commit transaction")) == 1
    assert not recorder.named("init transactions")


def test_transaction_that_fails_has_its_error(producer, recorder):
    """By librdkafka's name, and passes unchanged."""
    with pytest.raises(KafkaException):
        producer().init_transactions()
    assert recorder.named("init transactions")[0].attributes["error.type"] == "_NOT_CONFIGURED"


def test_hooks_get_message_and_acknowledgement(producer, recorder):
    """`on_send` the message by kafka-python's names, `on_ack` the client's own from the delivery report."""
    seen = []
    traced = producer(
        on_send=lambda span, message: seen.append((span.is_recording(), message.topic, message.headers)),
        on_ack=lambda span, message: seen.append((span.is_recording(), message.topic(), message.offset())),
    )
    traced.produce("t", b"v", headers={"a": "b"})
    traced.flush()
    assert seen == [(True, "t", [("a", b"b")]), (True, "t", 0)]


def test_ambient_span_is_the_parent(producer, recorder):
    """Also of a send whose report comes later."""
    traced = producer()
    with ambient_of(recorder) as ambient:
        traced.produce("t", b"v")
    traced.flush()
    assert recorder.named("send t")[0].parent.span_id == ambient.get_span_context().span_id


@pytest.mark.skipif(INSTRUMENTED, reason="a patched client is the client itself")
def test_wrapped_producer_is_used_as_the_producer(producer):
    """It passes `isinstance`, has a length and all methods, and is true where nothing waits."""
    traced = producer(auto_complete=False)
    assert isinstance(traced, confluent_kafka.Producer)
    assert isinstance(traced, otelkafka.TracedConfluentProducer)
    assert bool(traced)
    traced.produce("t", b"v")
    assert len(traced) == 1
    assert otelkafka.wrap_producer(traced).__wrapped__ is traced.__wrapped__
    for name in dir(confluent_kafka.Producer):
        assert hasattr(traced, name), name


@pytest.mark.skipif(INSTRUMENTED, reason="a patched client was seen when it was made")
def test_real_producer_whose_configuration_is_not_known(recorder, caplog):
    """Its group and servers are left out; a callback that cannot be found keeps being called, and the span ends."""
    real = confluent_kafka.Producer({"bootstrap.servers": "localhost:1", "client.id": "c", "on_delivery": print})
    traced = wrap_producer(real, ProducerOptions(tracer_provider=recorder.tracer_provider))
    traced.produce("t", b"v")
    (span,) = recorder.spans
    assert "server.address" not in span.attributes
    assert "messaging.client.id" not in span.attributes
    assert "ProducerOptions(config=...)" in caplog.text


@pytest.mark.skipif(INSTRUMENTED, reason="a patched client was seen when it was made")
def test_real_producer_with_its_configuration_in_the_options(recorder):
    """As many facts as of any other client, and no secret in the representation."""
    config = {"bootstrap.servers": "localhost:1,other:2", "client.id": "c", "sasl.password": "secret"}
    options = ProducerOptions(tracer_provider=recorder.tracer_provider, config=config)
    assert "secret" not in repr(options)
    traced = wrap_producer(confluent_kafka.Producer(config), options)
    traced.produce("t", b"v")
    assert recorder.spans == []
    traced.purge()
    traced.poll(0)
    (span,) = recorder.spans
    assert (span.attributes["server.address"], span.attributes["server.port"]) == ("localhost", 1)
    assert span.attributes["messaging.client.id"] == "c"
    assert span.attributes["error.type"] == "_PURGE_QUEUE"


def test_unsampled_sends_carry_the_decision_and_take_no_callback(cluster, producer):
    """What is recorded nowhere is not followed."""
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    from otelkafka.testing import SpanRecorder

    bare, taken = FakeConfluentProducer(cluster=cluster), []
    produce = bare.produce
    bare.produce = lambda *args, **kwargs: taken.append(kwargs) or produce(*args, **kwargs)
    if INSTRUMENTED:
        pytest.skip("an attribute of the instance is called in the place of the patched method")
    off = SpanRecorder(ALWAYS_OFF)
    traced = otelkafka.wrap_producer(bare, ProducerOptions(tracer_provider=off.tracer_provider))
    traced.produce("t", b"v")
    assert set(taken[0]) == {"headers"}
    assert int(traced.history[0].headers[0][1][-2:], 16) & 1 == 0


def test_suppressed_instrumentation_leaves_the_call_alone(producer, recorder):
    """As for any other client."""
    from opentelemetry.instrumentation.utils import suppress_instrumentation

    traced = producer()
    with suppress_instrumentation():
        traced.produce("t", b"v")
    traced.flush()
    assert recorder.spans == []
    assert traced.history[0].headers == []
    assert bare_of(traced) is not None
    assert is_wrapped(traced) is not INSTRUMENTED
    assert trace.get_current_span() is not None


class Old:
    """A producer of a release whose producers cannot be closed."""

    __module__ = "cimpl"

    def produce(self, topic, **more):
        """Send nothing."""


def test_close_is_there_where_the_producer_has_it():
    """A program may ask: not each release has it."""
    assert not hasattr(otelkafka.wrap_producer(Old()), "close")
    assert hasattr(otelkafka.wrap_producer(FakeConfluentProducer()), "close")
