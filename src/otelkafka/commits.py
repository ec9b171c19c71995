"""Commits of a consumer: a span inside what is processed, and a measure of each."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from otelkafka import client, semconv
from otelkafka.ambient import is_suppressed
from otelkafka.destination import Destination
from otelkafka.in_flight import InFlight, Pending
from otelkafka.operation import Operation
from otelkafka.passage import Args, Call, KwArgs
from otelkafka.processing import Processing

_CALLBACK = 1  # where `commit_async()` has it among its positional arguments
_MOST_WAITING = 10_000


class Commits:
    """The commits of one consumer.

    Args:
        processing: of the consumer.

    Attributes:
        guard: contains what telling of them raises.
    """

    def __init__(self, processing: Processing) -> None:
        self._processing = processing
        self.guard = processing.telemetry.guard
        self._telemetry = processing.telemetry
        self._operation = Operation(self._telemetry, processing.facts, "commit", semconv.TYPE_SETTLE, SpanKind.CLIENT)
        self._waiting = InFlight("the consumer was closed before the broker acknowledged the commit")

    def commit(self, consumer: Any, commit: Call, args: Args, kwargs: KwArgs) -> Any:
        """Call the consumer's `commit()`."""
        if is_suppressed():
            return commit(*args, **kwargs)
        pending = self._begin(consumer, args, kwargs)
        try:
            result = commit(*args, **kwargs)
        except BaseException as error:
            pending.failed(error)
            raise
        pending.acknowledged(result)
        return result

    def commit_async(self, consumer: Any, commit_async: Call, args: Args, kwargs: KwArgs) -> Any:
        """Call the consumer's `commit_async()`, and hear of its end before the user's callback does."""
        given = args[_CALLBACK] if len(args) > _CALLBACK else kwargs.get("callback")
        if is_suppressed() or len(args) > _CALLBACK + 1 or not (given is None or callable(given)):
            return commit_async(*args, **kwargs)
        pending = self._begin(consumer, args, kwargs)
        callback = given or user_commit_callback(consumer)

        def settled(offsets: Any, response: Any) -> Any:
            pending.failed(response) if isinstance(response, BaseException) else pending.acknowledged(response)
            return None if callback is None else callback(offsets, response)

        try:
            return commit_async(*args[:_CALLBACK], **{**kwargs, "callback": settled})
        except BaseException as error:
            pending.failed(error)
            raise

    def count_automatic(self, offsets: Any, response: Any) -> None:
        """Count a commit that the consumer made by itself, by its result."""
        instruments = self._processing.telemetry.instruments
        if instruments is None:
            return
        destination, partition = what(self._telemetry.destinations.of, offsets)
        error = response if isinstance(response, BaseException) else None
        self._operation.series(destination, partition, error).total(instruments.auto_commits).add()

    def end_all(self) -> None:
        """End what no callback will end any more."""
        self._waiting.end_all()

    def _begin(self, consumer: Any, args: Args, kwargs: KwArgs) -> "Pending[_Commit]":
        start = self._telemetry.now()
        nowhere = (self._telemetry.destinations.of(set()), None)
        destination, partition = self._telemetry.guard.call("commit", nowhere, self._what, consumer, args, kwargs)
        span = self._telemetry.guard.call("commit", INVALID_SPAN, self._start, destination, partition, start)
        pending = Pending(self._waiting, _Commit(destination, partition, start, span), self._end)
        if not self._waiting.add(pending, _MOST_WAITING):
            self._end(pending.work, None, None)
        return pending

    def _end(self, begun: "_Commit", _: Any, error: BaseException | None) -> None:
        self._operation.finish(begun.start, begun.destination, begun.partition, begun.span, error)

    def _start(self, destination: Destination, partition: int | None, start: int) -> Span:
        ambient = context_api.get_current()
        # Without a span around it a commit would be a trace of its own, which nobody looks for.
        wanted = self._processing.options.commit_spans and destination.traced
        if not wanted or not trace.get_current_span(ambient).get_span_context().is_valid:
            return INVALID_SPAN
        return self._operation.start(ambient, destination, partition, start_time=start) or INVALID_SPAN

    def _what(self, consumer: Any, args: Args, kwargs: KwArgs) -> tuple[Destination, int | None]:
        """Return what is committed: what the caller says, else all that is assigned."""
        offsets = args[0] if args else kwargs.get("offsets")
        return what(self._telemetry.destinations.of, offsets, client.assignment(consumer) or ())


@dataclass(slots=True)
class _Commit:
    """A commit that has begun."""

    destination: Destination
    partition: int | None
    start: int
    span: Span


def what(
    destination_of: Callable[[set[str]], Destination], offsets: Any, otherwise: Iterable[tuple[str, int]] = ()
) -> tuple[Destination, int | None]:
    """Return the destination that `offsets` have in common, and the partition where it is one."""
    given = {(each.topic, each.partition) for each in offsets} if isinstance(offsets, Mapping) else set(otherwise)
    return destination_of({topic for topic, _ in given}), next(iter(given))[1] if len(given) == 1 else None


class AutoCommits:
    """Counts the automatic commits of a consumer, after the user's callback has heard of them.

    Args:
        callback: the user's, or kafka-python's own.
    """

    def __init__(self, callback: Callable[[Any, Any], Any]) -> None:
        self.callback = callback
        self.commits: Commits | None = None

    def __call__(self, offsets: Any, response: Any) -> Any:
        """Call the user's callback, and count."""
        try:
            return self.callback(offsets, response)
        finally:
            if self.commits is not None and not is_suppressed():
                self.commits.guard.call("commit", None, self.commits.count_automatic, offsets, response)


def hear_auto_commits(consumer: Any, commits: Commits) -> None:
    """Count the automatic commits of a consumer, where it tells of them."""
    present = client.commit_callback(consumer)
    if present is None:
        return
    counting = present if isinstance(present, AutoCommits) else AutoCommits(present)
    counting.commits = commits
    if counting is not present:
        client.replace_commit_callback(consumer, counting)


def user_commit_callback(consumer: Any) -> Any:
    """Return the callback that a consumer calls where `commit_async()` is given none."""
    present = client.commit_callback(consumer)
    return present.callback if isinstance(present, AutoCommits) else present
