"""What a single node of Kafka cannot be made to do in seconds: errors of every kind, from every call, by fakes."""

import pytest
from kafka import errors
from opentelemetry.trace import StatusCode

from benchmarks.soak.sides import error_type
from otelkafka import ConsumerOptions, ProducerOptions, wrap_consumer, wrap_producer
from otelkafka.testing import SpanRecorder
from tests.support.fakes import FakeConsumer, FakeProducer, RepeatingFuture, ambient_of, failed, record

REFUSED = [
    errors.KafkaTimeoutError("the buffer is full"),
    errors.IllegalStateError("closed"),
    errors.NotLeaderForPartitionError(),
    errors.KafkaConnectionError("gone"),
]
SETTLING = [
    errors.NotCoordinatorError(),
    errors.CommitFailedError(),
    errors.RebalanceInProgressError(),
    errors.IllegalGenerationError(),
    errors.KafkaTimeoutError("no coordinator"),
]


def raising(error):
    def call(*_, **__):
        raise error

    return call


@pytest.fixture
def recorder():
    return SpanRecorder()


def check(span, error):
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == error_type(error)


@pytest.mark.parametrize("error", REFUSED, ids=error_type)
def test_send_that_raises(error, recorder):
    """The very error passes, and the span ends with it."""
    bare = FakeProducer()
    bare.send = raising(error)
    with pytest.raises(type(error)) as raised:
        wrap_producer(bare, ProducerOptions(tracer_provider=recorder.tracer_provider)).send("t", b"v")
    assert raised.value is error
    (span,) = recorder.spans
    check(span, error)


@pytest.mark.parametrize("error", REFUSED, ids=error_type)
@pytest.mark.parametrize("when", ["at once", "later"])
def test_future_that_fails(error, when, recorder):
    """The very future is returned, and the span ends with its error, once."""

    class Failing(FakeProducer):
        def send(self, *args, **kwargs):
            super().send(*args, **kwargs)
            self.futures[-1] = failed(error) if when == "at once" else RepeatingFuture()
            return self.futures[-1]

    bare = Failing()
    producer = wrap_producer(bare, ProducerOptions(tracer_provider=recorder.tracer_provider))
    future = producer.send("t", b"v")
    assert future is bare.futures[0]
    future.fail(error)
    producer.close()
    (span,) = recorder.spans
    check(span, error)


@pytest.mark.parametrize("error", SETTLING, ids=error_type)
@pytest.mark.parametrize("call", ["commit", "commit_async"])
def test_commit_that_raises_while_a_record_is_processed(error, call, recorder):
    """The coordinator has moved, the group has gone on: the commit's span has the error, the record's none."""
    bare = FakeConsumer(record(0), record(1))
    setattr(bare, call, raising(error))
    consumer = wrap_consumer(bare, ConsumerOptions(tracer_provider=recorder.tracer_provider))
    with ambient_of(recorder):
        for _ in consumer:
            with pytest.raises(type(error)) as raised:
                getattr(consumer, call)()
            assert raised.value is error
    commits = [span for span in recorder.spans if span.name.startswith("commit")]
    assert len(commits) == 2
    for span in commits:
        check(span, error)
    assert [span.status.status_code for span in recorder.named("process t")] == [StatusCode.UNSET] * 2


@pytest.mark.parametrize("error", SETTLING, ids=error_type)
def test_iteration_and_poll_that_raise_go_on(error, recorder):
    """Both hand over what comes after the error."""
    bare = FakeConsumer(record(0), record(1))
    consumer = wrap_consumer(bare, ConsumerOptions(tracer_provider=recorder.tracer_provider))
    records = iter(consumer)
    assert next(records).offset == 0
    bare.error_next(error)
    with pytest.raises(type(error)) as raised:
        next(records)
    assert raised.value is error
    assert next(records).offset == 1
    consumer.close()
    check(recorder.named("poll t")[0], error)
    assert len(recorder.named("process t")) == 2
