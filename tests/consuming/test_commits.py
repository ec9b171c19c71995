"""Commits: a span inside what is processed, a measure always, and the user's callback."""

from types import SimpleNamespace

import pytest
from kafka import ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from opentelemetry import context
from opentelemetry.trace import SpanKind, StatusCode

from tests.support.face import bare_of, wrap_consumer
from tests.support.fakes import FakeConsumer, ambient_of, options_of, record
from tests.support.internals import face_of
from tests.support.memory import largest_within

COMMIT = {
    "messaging.system": "kafka",
    "messaging.operation.name": "commit",
    "messaging.operation.type": "settle",
    "messaging.destination.name": "t",
    "messaging.destination.partition.id": "0",
    "messaging.consumer.group.name": "g",
    "server.address": "host",
    "server.port": 9092,
}
OFFSETS = {TopicPartition("t", 0): 5}
OFFSET_REST = (None,) * (len(OffsetAndMetadata._fields) - 1)


class Committing(FakeConsumer):
    """Commits as kafka-python does: a callback gets it at a later poll()."""

    def __init__(self, *records, error=None, callback=None):
        super().__init__(*records)
        self._coordinator = SimpleNamespace(config={"default_offset_commit_callback": callback})
        self.error = error
        self.waiting = []

    def commit(self, offsets=None, timeout_ms=None):
        if self.error:
            raise self.error
        return "committed"

    def commit_async(self, offsets=None, callback=None):
        if not (callback is None or callable(callback)):
            raise self.error
        self.waiting.append((callback or self._coordinator.config["default_offset_commit_callback"], offsets))
        return "future"

    def answer(self):
        for callback, offsets in self.waiting:
            callback(offsets, self.error or "response")


def commit_points(metrics):
    return metrics.points("messaging.client.operation.duration")


def test_commit_inside_a_record_is_its_child(wrap, recorder, metrics):
    """A CLIENT span below the process span, with topic, partition and group, and the same on the metric."""
    consumer = wrap(Committing(record(0)))
    for _ in consumer:
        assert consumer.commit() == "committed"
    commit, process = recorder.spans
    assert (commit.name, commit.kind, commit.links) == ("commit t", SpanKind.CLIENT, ())
    assert commit.parent.span_id == process.context.span_id
    assert dict(commit.attributes) == {**COMMIT, "messaging.client.id": "c", "messaging.kafka.offset": 1}
    assert commit_points(metrics) == [(COMMIT, 1)]


def test_commit_without_a_span_around_it_has_its_metric_only(wrap, recorder, metrics):
    """No detached roots flood the backend, also where it fails."""
    wrap(Committing()).commit(OFFSETS)
    with pytest.raises(OSError):
        wrap(Committing(error=OSError())).commit(OFFSETS)
    assert recorder.spans == []
    assert commit_points(metrics) == [(COMMIT, 1), ({**COMMIT, "error.type": "OSError"}, 1)]


def test_failed_commit_is_recorded_and_raises(wrap, recorder):
    """The exception passes, and its span has it."""
    error = OSError("gone")
    consumer = wrap(Committing(error=error))
    with ambient_of(recorder), pytest.raises(OSError) as raised:
        consumer.commit()
    assert raised.value is error
    assert recorder.spans[0].attributes["error.type"] == "OSError"
    assert recorder.spans[0].status.status_code is StatusCode.ERROR


@pytest.mark.parametrize("form", ["keyword", "position", "default", "none"])
def test_asynchronous_commit_ends_in_its_callback(wrap, recorder, metrics, form):
    """The span ends when the broker has answered, and the callback that would be called without us is called."""
    heard = []

    def callback(offsets, response):
        heard.append((offsets, response, len(recorder.spans)))

    bare = Committing(callback=callback if form == "default" else None)
    consumer = wrap(bare)
    with ambient_of(recorder):
        if form == "position":
            future = consumer.commit_async(OFFSETS, callback)
        elif form == "keyword":
            future = consumer.commit_async(offsets=OFFSETS, callback=callback)
        else:
            future = consumer.commit_async(OFFSETS)
    assert future == "future"
    assert [span.name for span in recorder.spans] == ["ambient"]
    bare.answer()
    assert [span.name for span in recorder.spans] == ["ambient", "commit t"]
    assert heard == ([] if form == "none" else [(OFFSETS, "response", 2)])
    assert commit_points(metrics) == [(COMMIT, 1)]


def test_asynchronous_commit_that_fails_is_recorded(wrap, recorder, metrics):
    """What the broker answers is the span's error."""
    bare = Committing(error=OSError())
    with ambient_of(recorder):
        wrap(bare).commit_async(OFFSETS)
    bare.answer()
    assert recorder.named("commit t")[0].attributes["error.type"] == "OSError"
    assert commit_points(metrics) == [({**COMMIT, "error.type": "OSError"}, 1)]


def test_asynchronous_commit_that_is_refused_raises_its_own_error(wrap, recorder):
    """What commit_async() refuses it refuses with its own error; that ends the span, too."""
    bare = Committing(error=OSError())
    consumer = wrap(bare)
    with pytest.raises(OSError):
        consumer.commit_async(OFFSETS, "no function")
    with pytest.raises(TypeError), ambient_of(recorder):
        consumer.commit_async(OFFSETS, nonsense=1)
    assert recorder.named("commit t")[0].attributes["error.type"] == "TypeError"


def test_commit_that_is_never_answered_ends_with_close(wrap, recorder):
    """A closed consumer calls no callback any more: its spans end."""
    consumer = wrap(Committing())
    with ambient_of(recorder):
        consumer.commit_async(OFFSETS)
    consumer.close()
    assert recorder.named("commit t")[0].attributes["error.type"] == "NotAcknowledgedError"


def test_commit_of_several_topics_names_none(wrap, recorder):
    """Several topics: `commit`; one partition only where it is one."""
    consumer = wrap(Committing())
    with ambient_of(recorder):
        consumer.commit({TopicPartition("t", 0): 1, TopicPartition("u", 0): 1})
        consumer.commit({TopicPartition("t", 0): 1, TopicPartition("t", 1): 1})
    several, partitions, _ = recorder.spans
    assert several.name == "commit"
    assert "messaging.destination.name" not in several.attributes
    assert partitions.name == "commit t"
    assert "messaging.destination.partition.id" not in partitions.attributes


@pytest.mark.parametrize(
    ("offsets", "offset"),
    [
        ({TopicPartition("t", 0): OffsetAndMetadata(5, *OFFSET_REST)}, 5),
        ({TopicPartition("t", 0): 5}, 5),
        ({TopicPartition("t", 0): "junk"}, None),
        ({TopicPartition("t", 0): 5, TopicPartition("t", 1): 6}, None),
        (None, 2),
        ({}, None),
    ],
)
def test_commit_has_the_offset_where_it_is_one(wrap, recorder, offsets, offset):
    """The one that is committed: of the next record. Without offsets, how far the consumer has come."""
    consumer = wrap(Committing(record(0), record(1)), process="manual")
    list(consumer)
    with ambient_of(recorder):
        consumer.commit(offsets)
        consumer.commit_async(offsets)
    bare_of(consumer).answer()
    first, _, second = recorder.spans
    assert first.name == second.name == ("commit" if offsets == {} else "commit t")
    assert [span.attributes.get("messaging.kafka.offset") for span in (first, second)] == [offset, offset]


def test_commit_without_offsets_names_what_it_commits(wrap, recorder):
    """Where the client does not know its offsets, what is assigned."""
    consumer = wrap(Committing(record(0)), process="manual")
    bare_of(consumer)._subscription.positions.clear()
    with ambient_of(recorder):
        consumer.commit()
    assert recorder.spans[0].name == "commit"

    class Unknowing(Committing):
        def assignment(self):
            return {TopicPartition("u", 3)}

    consumer = wrap(Unknowing())
    bare_of(consumer)._subscription = None
    with ambient_of(recorder):
        consumer.commit()
    (span,) = recorder.named("commit u")
    assert span.attributes["messaging.destination.partition.id"] == "3"
    assert "messaging.kafka.offset" not in span.attributes


def test_commit_spans_can_be_left_out(wrap, recorder, metrics):
    """commit_spans=False, or a topic left out: no span, and the metric nevertheless."""
    with ambient_of(recorder):
        wrap(Committing(), commit_spans=False).commit(OFFSETS)
        wrap(Committing(), trace_topic=lambda _: False).commit(OFFSETS)
    assert [span.name for span in recorder.spans] == ["ambient"]
    assert commit_points(metrics) == [(COMMIT, 2)]


def test_commits_are_left_alone_where_telemetry_is_suppressed(wrap, metrics):
    """suppress_instrumentation(): no span, no metric."""
    token = context.attach(context.set_value("suppress_instrumentation", True))
    try:
        bare = Committing(callback=lambda *_: None)
        consumer = wrap(bare)
        assert consumer.commit() == "committed"
        assert consumer.commit_async() == "future"
        bare.answer()
    finally:
        context.detach(token)
    assert commit_points(metrics) == metrics.points("otelkafka.consumer.auto_commits") == []


@pytest.mark.parametrize("error", [None, OSError()])
def test_automatic_commits_are_counted_after_the_users_callback(wrap, recorder, metrics, error):
    """By result, never a span or a duration; the user's callback is called first, and what it raises passes."""
    heard = []

    def callback(offsets, response):
        heard.append(metrics.points("otelkafka.consumer.auto_commits"))
        raise ValueError("mine")

    bare = Committing(callback=callback)
    wrap(wrap(bare))
    with pytest.raises(ValueError, match="mine"):
        bare._coordinator.config["default_offset_commit_callback"](OFFSETS, error or "response")
    shown = {name: value for name, value in COMMIT.items() if name != "messaging.operation.type"}
    shown = shown if error is None else {**shown, "error.type": "OSError"}
    assert heard == [[]]
    assert metrics.points("otelkafka.consumer.auto_commits") == [(shown, 1)]
    assert recorder.spans == []
    assert commit_points(metrics) == []


def test_many_commits_that_are_never_answered_do_not_grow_the_memory(wrap, recorder):
    """What waits for its answer is bounded: the span of a commit beyond that ends when commit_async() returns."""
    consumer = wrap(Committing())
    with ambient_of(recorder):
        for _ in range(11_000):
            consumer.commit_async(OFFSETS)
            bare_of(consumer).waiting.clear()
    assert len(recorder.named("commit t")) == 1000
    assert largest_within(face_of(consumer)) <= 11_000
    consumer.close()
    assert len(recorder.named("commit t")) == 11_000


def test_commit_inside_of_a_listener_is_traced(recorder):
    """Releases before 3.0 call the listener inside poll(), in the same thread."""

    class Listener(ConsumerRebalanceListener):
        def on_partitions_assigned(self, assigned):
            pass

        def on_partitions_revoked(self, revoked):
            consumer.commit()

    class Revoking(FakeConsumer):
        def poll(self):
            self.listener.on_partitions_revoked(self.assignment())
            return super().poll()

        def commit(self, offsets=None):
            pass

    consumer = wrap_consumer(Revoking(), options_of(recorder))
    consumer.subscribe(["t"], listener=Listener())
    consumer.poll()
    assert [span.name for span in recorder.spans] == ["commit t", "revoke t"]
