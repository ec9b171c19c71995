"""The commits of a consumer: a span inside of what is processed, and a measure of each."""

from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from otelkafka._context.current import get_current, is_suppressed, restored
from otelkafka._telemetry import attributes, semconv
from otelkafka._telemetry.destination import Committed, Destination, committed_by
from otelkafka._telemetry.in_flight import in_flight_of
from otelkafka._telemetry.operation import Operation
from otelkafka._telemetry.telemetry import Telemetry
from otelkafka.options import ConsumerOptions

_MOST_WAITING = 10_000


class Commit:
    """A commit that has begun.

    Args:
        commits: the commits of the consumer, which end this one.
        destination: the topics whose offsets are committed.
        partition: the one partition; None for several.
        start: when `commit()` was called, Unix time in nanoseconds.
        span: the span of the commit, or one that records nothing.
    """

    __slots__ = ("_commits", "destination", "partition", "span", "start")

    def __init__(
        self, commits: "Commits", destination: Destination, partition: int | None, start: int, span: Span
    ) -> None:
        self._commits = commits
        self.destination = destination
        self.partition = partition
        self.start = start
        self.span = span

    def acknowledged(self, _: object = None) -> None:
        """End the commit when the broker has answered, unless it has ended already."""
        self._commits.end(self, None)

    def failed(self, error: BaseException | None) -> None:
        """End the commit with an error, unless it has ended already."""
        self._commits.end(self, error)


class Commits:
    """The commits of one consumer.

    Args:
        telemetry: the telemetry of the consumer.
        options: the options of the consumer.
        consumer: the client, which waits for answers of the broker.
    """

    def __init__(self, telemetry: Telemetry, options: ConsumerOptions, consumer: object) -> None:
        self._telemetry = telemetry
        self._options = options
        self._operation = Operation(telemetry, "commit", semconv.TYPE_SETTLE, SpanKind.CLIENT)
        self._waiting = in_flight_of(consumer, "the consumer was closed before the broker acknowledged the commit")

    def begin(self, offsets: Any) -> Commit | None:
        """Start a commit. Return None if telemetry is suppressed.

        Args:
            offsets: from partitions to offsets; None for all that is assigned.
        """
        if is_suppressed():
            return None
        start = self._telemetry.now()
        contained = self._telemetry.guard.call
        nowhere = Committed(self._telemetry.destinations.of(set()), None, None)
        committed = contained("commit", nowhere, self._committed_by, offsets)
        span = contained("commit", INVALID_SPAN, self._start, committed, start)
        commit = Commit(self, committed.destination, committed.partition, start, span)
        if not self._waiting.add(commit, _MOST_WAITING):
            self._finish(commit, None)
        return commit

    def end(self, commit: Commit, error: BaseException | None) -> None:
        """End a commit, unless another thread has ended it already."""
        if self._waiting.remove(commit):
            self._finish(commit, error)

    def end_all(self) -> None:
        """End every commit that still waits for its answer. Called when the consumer is closed."""
        self._waiting.end_all()

    def count_automatic(self, offsets: Any, error: BaseException | None) -> None:
        """Count an automatic commit, by its result."""
        if not is_suppressed():
            self._telemetry.guard.call("commit", None, self._count_automatic, offsets, error)

    def _count_automatic(self, offsets: Any, error: BaseException | None) -> None:
        instruments = self._telemetry.instruments
        if instruments is not None:
            destination, partition, _ = committed_by(offsets, self._telemetry.destinations.of)
            self._operation.series(destination, partition, error).total(instruments.auto_commits).add()

    def _finish(self, commit: Commit, error: BaseException | None) -> None:
        self._operation.finish(commit.start, commit.destination, commit.partition, commit.span, error)

    def _start(self, committed: Committed, start: int) -> Span:
        destination, partition, offset = committed
        ambient = restored()
        # Without a span around it a commit would be a trace of its own: a flood of traces with one span.
        wanted = self._options.commit_spans and destination.traced
        if not wanted or not trace.get_current_span(ambient).get_span_context().is_valid:
            return INVALID_SPAN
        known = attributes.of_offset(offset)
        return self._operation.start(ambient, destination, partition, start_time=start, more=known) or INVALID_SPAN

    def _committed_by(self, offsets: Any) -> Committed:
        client = self._telemetry.client
        given = client.consumed() or None if offsets is None else offsets
        return committed_by(given, self._telemetry.destinations.of, client.assignment() or ())


class OffsetStore:
    """A call that has begun, and stores offsets.

    Args:
        telemetry: the telemetry of the consumer.
        span: the span of the call.
    """

    __slots__ = ("_span", "_telemetry")

    def __init__(self, telemetry: Telemetry, span: Span) -> None:
        self._telemetry = telemetry
        self._span = span

    def acknowledged(self, _: object = None) -> None:
        """End it: they are stored."""
        self._telemetry.end_span(self._span, None)

    def failed(self, error: BaseException) -> None:
        """End it with an error."""
        self._telemetry.end_span(self._span, error)


class OffsetStores:
    """The offsets that one consumer stores for its next automatic commit: a span inside of what is processed.

    There is no measure: they are stored once a record, and no broker is asked.

    Args:
        telemetry: the telemetry of the consumer.
        options: the options of the consumer.
    """

    def __init__(self, telemetry: Telemetry, options: ConsumerOptions) -> None:
        self._telemetry = telemetry
        self._has_spans = options.commit_spans
        self._operation = Operation(telemetry, "store offsets", semconv.TYPE_SETTLE, SpanKind.CLIENT)

    def begin(self, read: Callable[[], Any]) -> OffsetStore | None:
        """Start to store offsets; None where no span around is recorded.

        Args:
            read: returns the offsets by partition.
        """
        if not self._has_spans or not trace.get_current_span(get_current()).is_recording() or is_suppressed():
            return None
        return self._telemetry.guard.call("commit", None, self._start, read)

    def _start(self, read: Callable[[], Any]) -> OffsetStore | None:
        start, ambient = self._telemetry.now(), restored()
        destination, partition, offset = committed_by(read(), self._telemetry.destinations.of)
        if not destination.traced:
            return None
        known = attributes.of_offset(offset)
        span = self._operation.start(ambient, destination, partition, start_time=start, more=known)
        return None if span is None else OffsetStore(self._telemetry, span)
