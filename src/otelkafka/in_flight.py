"""The sends and commits that wait for their acknowledgement."""

import os
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span

from otelkafka import semconv
from otelkafka.attributes import Attributes
from otelkafka.destination import Destination
from otelkafka.headers import Headers
from otelkafka.message import Message
from otelkafka.totals import Reading


class NotAcknowledgedError(Exception):
    """What a send span records whose future was never resolved; it is not raised."""


class Work(Protocol):
    """What was started, with its span."""

    span: Span


class Sent:
    """One call of `send()`, without the record, so that waiting for its end holds no memory of the caller's.

    Args:
        destination: of the record.
        span: its span, or one that records nothing.
        start: when it was called, Unix time in nanoseconds.
        context: that is current inside of it.
        headers: to send in place of the caller's; None to leave them.

    Attributes:
        is_heard: whether anybody hears how it ends.
        partition: the one that the caller gave.
        blocked: how long it took to return, in nanoseconds.
        parent: the span that its own continues, where a failure is to be recorded.
        told: what is told of the record then.
    """

    is_heard = False
    partition: int | None = None
    blocked = 0
    parent: Span = INVALID_SPAN
    told: Attributes = {}  # noqa: RUF012 (another one takes its place)

    def __init__(
        self, destination: Destination, span: Span, start: int, context: Context, headers: Headers | None
    ) -> None:
        self.destination = destination
        self.span = span
        self.start = start
        self.context = context
        self.headers = headers

    def heard(self, message: Message) -> "Sent":
        """Note that somebody hears how it ends."""
        self.is_heard, self.partition = True, message.partition
        return self


W = TypeVar("W", bound=Work)


class Pending(Generic[W]):
    """What waits for its acknowledgement.

    Args:
        in_flight: where it waits.
        work: what was started.
        end: called once, with that, the metadata of an acknowledgement or None, and the error or None.
    """

    __slots__ = ("_end", "_in_flight", "work")

    def __init__(self, in_flight: "InFlight", work: W, end: Callable[[W, Any, BaseException | None], None]) -> None:
        self._in_flight = in_flight
        self._end = end
        self.work = work

    def acknowledged(self, metadata: Any) -> None:
        """End the span, if nothing has yet, with what the acknowledgement says."""
        if self._in_flight.remove(self):
            self._end(self.work, metadata, None)

    def failed(self, error: BaseException | None) -> None:
        """End the span, if nothing has yet, with an error; with None where it can be followed no further."""
        if self._in_flight.remove(self):
            self._end(self.work, None, error)


class InFlight:
    """What of one client waits for its acknowledgement.

    Args:
        unanswered: what to say of those that never get it.
    """

    def __init__(self, unanswered: str = "the producer was closed before the broker acknowledged the record") -> None:
        self._unanswered = unanswered
        self._process = os.getpid()
        self._pending: dict[Pending[Any], None] = {}

    def add(self, pending: Pending[Any], limit: int) -> bool:
        """Add one; False where there are `limit` already."""
        if len(self._pending) >= limit:
            return False
        self._pending[pending] = None
        return True

    def remove(self, pending: Pending[Any]) -> bool:
        """Remove one; False where another thread was first, so that each ends once."""
        return self._pending.pop(pending, self) is None

    def read(self, metric: str) -> Iterable[Reading]:
        """Return how many recording spans wait."""
        if metric == semconv.METRIC_SPANS_IN_FLIGHT:
            recording = sum(pending.work.span.is_recording() for pending in list(self._pending))
            yield {semconv.MESSAGING_SYSTEM: semconv.SYSTEM_KAFKA}, recording

    def end_all(self) -> None:
        """End what no future will end any more."""
        if os.getpid() != self._process:  # a child's close() ends nothing of its parent's
            self._pending.clear()
        for pending in list(self._pending):
            pending.failed(NotAcknowledgedError(self._unanswered))
