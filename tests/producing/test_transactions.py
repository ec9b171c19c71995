"""Transactions: what ends one has a span, what begins one only where it fails, and all are measured."""

import pytest
from kafka import TopicPartition
from opentelemetry import context
from opentelemetry.trace import SpanKind

from otelkafka import ProducerOptions
from tests.support.face import wrap_producer
from tests.support.fakes import FakeProducer, ambient_of

OFFSETS = {TopicPartition("t", 0): 5}


class Transacting(FakeProducer):
    """A producer with transactions, whose calls fail where the test asks for it."""

    def __init__(self, error=None):
        super().__init__(bootstrap_servers="host:9092", client_id="p")
        self.config["transactional_id"] = "x"  # which kafka-python before 2.2 does not know
        self.error = error

    def _call(self, *_, **__):
        if self.error:
            raise self.error
        return "done"

    init_transactions = begin_transaction = commit_transaction = abort_transaction = _call
    send_offsets_to_transaction = _call


@pytest.fixture
def wrap(recorder, metrics):
    def wrap(bare):
        providers = {"tracer_provider": recorder.tracer_provider, "meter_provider": metrics.meter_provider}
        return wrap_producer(bare, ProducerOptions(**providers))

    return wrap


def names(recorder):
    return [span.name for span in recorder.spans]


def test_commit_of_a_transaction_is_a_client_span(wrap, recorder, metrics):
    """commit: a child of the ambient span, measured; init and begin have a metric only."""
    producer = wrap(Transacting())
    with ambient_of(recorder) as ambient:
        assert producer.init_transactions() == producer.begin_transaction() == "done"
        assert producer.commit_transaction() == "done"
    commit, _ = recorder.spans
    assert (commit.name, commit.kind, commit.links) == ("commit transaction", SpanKind.CLIENT, ())
    assert commit.parent.span_id == ambient.get_span_context().span_id
    assert dict(commit.attributes) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "commit transaction",
        "messaging.operation.type": "settle",
        "messaging.client.id": "p",
        "server.address": "host",
        "server.port": 9092,
    }
    measured = [shown["messaging.operation.name"] for shown, _ in metrics.points("messaging.client.operation.duration")]
    assert measured == ["init transactions", "begin transaction", "commit transaction"]


def test_abort_says_how_many_sends_it_voided(wrap, recorder):
    """Sends since begin, not those of the transaction before; spans that ended are as they were."""
    producer = wrap(Transacting())
    producer.begin_transaction()
    producer.send("t", b"v").acknowledge()
    producer.commit_transaction()
    producer.begin_transaction()
    for _ in range(3):
        producer.send("t", b"v").acknowledge()
    producer.abort_transaction()
    (abort,) = recorder.named("abort transaction")
    assert abort.attributes["otelkafka.transaction.voided"] == 3
    assert abort.parent is None
    assert len(recorder.named("send t")) == 4


def test_abort_voids_no_send_that_the_client_refused(wrap, recorder):
    """A record that the client has not taken is in no transaction, wherever anything is recorded of it."""
    bare = Transacting()
    bare.config["value_serializer"] = str.encode
    producer = wrap(bare)
    producer.begin_transaction()
    producer.send("t", "v")
    with pytest.raises(TypeError):
        producer.send("t", b"v")
    producer.abort_transaction()
    (abort,) = recorder.named("abort transaction")
    assert abort.attributes["otelkafka.transaction.voided"] == 1


def test_offsets_have_a_span_inside_another_only(wrap, recorder, metrics):
    """send offsets: as a commit, only where there is a span around it; it has what there is one of."""
    producer = wrap(Transacting())
    producer.send_offsets_to_transaction(OFFSETS, "g")
    with ambient_of(recorder):
        producer.send_offsets_to_transaction(offsets=OFFSETS, group_metadata="g")
    sent, _ = recorder.spans
    assert sent.name == "send offsets"
    assert sent.attributes["messaging.destination.name"] == "t"
    assert sent.attributes["messaging.destination.partition.id"] == "0"
    assert sent.attributes["messaging.kafka.offset"] == 5
    ((shown, count),) = metrics.points("messaging.client.operation.duration")
    assert (shown["messaging.destination.name"], shown["messaging.destination.partition.id"], count) == ("t", "0", 2)


@pytest.mark.parametrize(
    "method",
    [
        "init_transactions",
        "begin_transaction",
        "send_offsets_to_transaction",
        "commit_transaction",
        "abort_transaction",
    ],
)
def test_failure_has_a_span_and_passes(wrap, recorder, metrics, method):
    """Whatever fails in a transaction has an error span, offsets inside a span, and raises the very error."""
    error = OSError("fenced")
    producer = wrap(Transacting(error))
    with ambient_of(recorder), pytest.raises(OSError) as raised:
        getattr(producer, method)(*([OFFSETS, "g"] if "offsets" in method else []))
    assert raised.value is error
    failed, _ = recorder.spans
    assert failed.attributes["error.type"] == "OSError"
    ((shown, count),) = metrics.points("messaging.client.operation.duration")
    assert (shown["error.type"], count) == ("OSError", 1)


def test_failure_of_offsets_without_a_span_around_them_has_its_metric(wrap, recorder, metrics):
    """send offsets: no span without one around it, also where it fails."""
    with pytest.raises(OSError):
        wrap(Transacting(OSError())).send_offsets_to_transaction(OFFSETS, "g")
    assert recorder.spans == []
    assert len(metrics.points("messaging.client.operation.duration")) == 1


def test_producer_without_transactions_has_none_wrapped(wrap):
    """What the client lacks the wrapper lacks, and methods are its own in name and doc."""

    class Sending:
        """All that kafka-python before 2.2 has of a producer here."""

        def send(self, *args, **kwargs):
            pass

    assert not hasattr(wrap(Sending()), "commit_transaction")
    producer = wrap(Transacting())
    assert producer.commit_transaction.__name__ == "_call"


def test_transactions_are_left_alone_where_telemetry_is_suppressed(wrap, recorder, metrics):
    """suppress_instrumentation(): no span, no metric."""
    token = context.attach(context.set_value("suppress_instrumentation", True))
    try:
        assert wrap(Transacting()).commit_transaction() == "done"
    finally:
        context.detach(token)
    assert names(recorder) == []
    assert metrics.points("messaging.client.operation.duration") == []
