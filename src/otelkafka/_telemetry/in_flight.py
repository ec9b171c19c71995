"""What waits for an acknowledgement of the broker: sends and commits."""

import os
from collections.abc import Callable
from typing import Protocol

from opentelemetry.trace import Span

from otelkafka._telemetry import semconv
from otelkafka._telemetry.metrics import Reading


class NotAcknowledgedError(Exception):
    """The error on the span of a send or commit that was never acknowledged; it is not raised."""

    __module__ = "otelkafka"  # of `exception.type`, by which people may alert: it stays when this file moves


class Pending(Protocol):
    """A send or a commit that waits."""

    @property
    def span(self) -> Span:
        """Its span."""

    @property
    def failed(self) -> Callable[[BaseException | None], None]:
        """Ends it with an error."""


class InFlight:
    """The sends or the commits of one client that wait for their acknowledgement.

    Args:
        unanswered: the message of the error for those that never get one.
    """

    def __init__(self, unanswered: str) -> None:
        self._unanswered = unanswered
        self._process = os.getpid()
        self._pending: dict[Pending, None] = {}

    def add(self, pending: Pending, limit: int) -> bool:
        """Add one; False where there are `limit` already."""
        if len(self._pending) >= limit:
            return False
        self._pending[pending] = None
        return True

    def remove(self, pending: Pending) -> bool:
        """Remove one; False where another thread was first, so that each ends once."""
        try:
            del self._pending[pending]
        except KeyError:
            return False
        return True

    def read(self) -> list[Reading]:
        """Return how many of the spans that wait are recorded."""
        recording = sum(pending.span.is_recording() for pending in list(self._pending))
        return [({semconv.MESSAGING_SYSTEM: semconv.SYSTEM_KAFKA}, recording)]

    def end_all(self) -> None:
        """End what will not be acknowledged any more."""
        if os.getpid() != self._process:  # a child's close() ends nothing of its parent's
            self._pending.clear()
        for pending in list(self._pending):
            pending.failed(NotAcknowledgedError(self._unanswered))
