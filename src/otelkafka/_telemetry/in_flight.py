"""Sends and commits that wait for the broker's acknowledgement."""

from collections.abc import Callable
from typing import Protocol
from weakref import finalize

from opentelemetry.trace import Span

from otelkafka._telemetry import lifetime, semconv
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
        unanswered: the message of the error on spans that never get an acknowledgement.

    Attributes:
        pending: the sends or commits that wait.
    """

    def __init__(self, unanswered: str) -> None:
        self._unanswered = unanswered
        self.pending: dict[Pending, None] = {}
        lifetime.end_at_exit(self)

    def add(self, pending: Pending, limit: int) -> bool:
        """Add one. Return False if `limit` of them wait already."""
        if len(self.pending) >= limit:
            return False
        self.pending[pending] = None
        return True

    def remove(self, pending: Pending) -> bool:
        """Remove one. Return False if another thread has removed it, so that each ends once."""
        try:
            del self.pending[pending]
        except KeyError:
            return False
        return True

    def read(self) -> list[Reading]:
        """Return the number of waiting spans that are recorded."""
        recording = sum(pending.span.is_recording() for pending in list(self.pending))
        return [({semconv.MESSAGING_SYSTEM: semconv.SYSTEM_KAFKA}, recording)]

    def end_all(self) -> None:
        """End everything that waits, with `NotAcknowledgedError`."""
        for pending in list(self.pending):
            pending.failed(NotAcknowledgedError(self._unanswered))

    def restart(self) -> None:
        """Forget everything that waits, in the child of a fork, so that its `close()` ends no span of the parent."""
        self.pending.clear()


_of_clients: dict[tuple[int, str], InFlight] = {}


def in_flight_of(client: object, unanswered: str) -> InFlight:
    """Return what waits of a client, however often that is traced: it ends when the client is dropped.

    Args:
        client: the client, which is held weakly.
        unanswered: as for `InFlight`.
    """
    key = (id(client), unanswered)
    found = _of_clients.get(key)
    if found is None:
        found = InFlight(unanswered)
        try:
            finalize(client, _end_with_client, key).atexit = False
        except TypeError:  # its slots leave no room for a weak reference
            return found
        found = _of_clients.setdefault(key, found)
    return found


def _end_with_client(key: tuple[int, str]) -> None:
    found = _of_clients.pop(key, None)
    if found is not None:
        lifetime.finish(found.end_all)
