"""What a single node of Kafka cannot be made to do in seconds: errors of every kind, from every call, by fakes."""

import pytest
from opentelemetry.trace import StatusCode

from otelkafka import ConsumerOptions, ProducerOptions
from otelkafka.testing import SpanRecorder
from tests.outages.fakes import FAKES, is_same, name_of
from tests.support.fakes import ambient_of, record


def with_errors(kind, *more):
    """Run a test with each error of a kind, of each library."""
    return pytest.mark.parametrize(
        ("fakes", "error", *(name for name, _ in more)),
        [
            pytest.param(fakes, error, *each, id="-".join((name_of(fakes), fakes.library.error_type(error), *each)))
            for fakes in FAKES
            for error in getattr(fakes, kind)
            for each in ([(value,) for _, values in more for value in values(fakes)] or [()])
        ],
    )


@pytest.fixture
def recorder():
    return SpanRecorder()


@pytest.fixture
def producing(recorder):
    return ProducerOptions(tracer_provider=recorder.tracer_provider)


@pytest.fixture
def consuming(recorder):
    return ConsumerOptions(tracer_provider=recorder.tracer_provider)


def check(span, fakes, error):
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == fakes.library.error_type(error)


@with_errors("refused")
def test_send_that_raises(fakes, error, recorder, producing):
    """The very error passes, and the span ends with it."""
    producer = fakes.producer(producing, refusal=error)
    with pytest.raises(type(error)) as raised:
        producer.send(b"v")
    assert raised.value is error
    producer.close()
    (span,) = recorder.spans
    check(span, fakes, error)


@with_errors("refused", ("when", lambda _: ("at once", "later")))
def test_send_that_fails(fakes, error, when, recorder, producing):
    """The application gets the very error as it would without tracing, and the span ends with it, once."""
    producer = fakes.producer(producing, failure=error if when == "at once" else None)
    producer.send(b"v")
    if when == "later":
        producer.fail(error)
    assert is_same(producer.failure(), error)
    producer.close()
    (span,) = recorder.spans
    check(span, fakes, error)


@with_errors("settling", ("call", lambda fakes: fakes.commits))
def test_commit_that_raises_while_a_record_is_processed(fakes, error, call, recorder, consuming):
    """The coordinator has moved, the group has gone on: the commit's span has the error, the record's none."""
    consumer = fakes.consumer(consuming, record(0), record(1))
    with ambient_of(recorder):
        raised = consumer.commit_each(call, error)
    assert [each is error for each in raised] == [True, True]
    commits = [span for span in recorder.spans if span.name.startswith("commit")]
    assert len(commits) == 2
    for span in commits:
        check(span, fakes, error)
    consumer.close()
    assert [span.status.status_code for span in recorder.named("process t")] == [StatusCode.UNSET] * 2


@with_errors("settling")
def test_iteration_and_poll_that_raise_go_on(fakes, error, recorder, consuming):
    """Both hand over what comes after the error."""
    consumer = fakes.consumer(consuming, record(0), record(1))
    assert consumer.next() == 0
    consumer.raise_next(error)
    with pytest.raises(type(error)) as raised:
        consumer.next()
    assert is_same(raised.value, error)
    assert consumer.next() == 1
    consumer.close()
    check(recorder.named("poll t")[0], fakes, error)
    assert len(recorder.named("process t")) == 2
