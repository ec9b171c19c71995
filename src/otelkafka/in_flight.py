"""The send spans that wait for their acknowledgement."""

from collections.abc import Callable
from typing import Any

from opentelemetry.trace import Span


class NotAcknowledgedError(Exception):
    """What a send span records whose future was never resolved; it is not raised."""


class Pending:
    """A span in flight, without the record, so that waiting holds no memory of the caller's.

    Args:
        in_flight: where it waits.
        span: the span.
        topic: of its record.
        end: called once, with this, the metadata of an acknowledgement or None, and the error or None.
    """

    __slots__ = ("_end", "_in_flight", "span", "topic")

    def __init__(
        self, in_flight: "InFlight", span: Span, topic: str, end: "Callable[[Pending, Any, BaseException | None], None]"
    ) -> None:
        self._in_flight = in_flight
        self._end = end
        self.span = span
        self.topic = topic

    def acknowledged(self, metadata: Any) -> None:
        """End the span, if nothing has yet, with what the acknowledgement says."""
        if self._in_flight.remove(self):
            self._end(self, metadata, None)

    def failed(self, error: BaseException | None) -> None:
        """End the span, if nothing has yet, with an error; with None where it can be followed no further."""
        if self._in_flight.remove(self):
            self._end(self, None, error)


class InFlight:
    """The spans of one producer that wait for their acknowledgement."""

    def __init__(self) -> None:
        self._pending: dict[Pending, None] = {}

    def add(self, pending: Pending, limit: int) -> bool:
        """Add one; False where there are `limit` already."""
        if len(self._pending) >= limit:
            return False
        self._pending[pending] = None
        return True

    def remove(self, pending: Pending) -> bool:
        """Remove one; False where another thread was first, so that each ends once."""
        return self._pending.pop(pending, self) is None

    def end_all(self) -> None:
        """End what no future will end any more."""
        msg = "the producer was closed before the broker acknowledged the record"
        for pending in list(self._pending):
            pending.failed(NotAcknowledgedError(msg))
