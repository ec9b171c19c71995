"""The wall: what was asked and how far it is, and which consumers there are."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

KEPT = 100
WAITING, ANSWERED, FAILED = "waiting", "answered", "failed"


@dataclass(frozen=True)
class Entry:
    """A question on the wall.

    Attributes:
        state: "waiting", "printing", "answered", or "failed", when it was printed and its tweet failed.
        waited: how long it waited for its consumer, in seconds; None: it waits.
    """

    partition: int
    offset: int
    name: str
    question: str
    trace_id: str
    sampled: bool
    state: str = WAITING
    waited: float | None = None

    @property
    def done(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.state in {ANSWERED, FAILED}


class Wall:
    """The questions, and the members of the group that print them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._entries: dict[tuple[int, int], Entry] = {}
        self._members: dict[str, list[int]] = {}

    def put(self, given: dict[str, Any]) -> None:
        """Put up a question, or the next state of one that is there.

        Raises:
            TypeError, KeyError: `given` is no entry.
        """
        entry = Entry(**given)
        place = entry.partition, entry.offset
        with self._changed:
            # The consumer may be faster than the answer of the service that sent it.
            if entry.state != WAITING or place not in self._entries:
                self._entries[place] = replace(self._entries.get(place, entry), **given)
            while len(self._entries) > KEPT:
                del self._entries[next(iter(self._entries))]
            self._changed.notify_all()

    def assign(self, member: str, partitions: list[int]) -> None:
        """Note which partitions a member of the group has."""
        with self._changed:
            self._members[member] = partitions
            self._changed.notify_all()

    @property
    def entries(self) -> list[Entry]:
        """The questions, the newest first."""
        with self._changed:
            return list(self._entries.values())[::-1]

    @property
    def members(self) -> dict[str, list[int]]:
        """The partitions that each member has."""
        with self._changed:
            return dict(sorted(self._members.items()))

    def wait_for_members(self, count: int, timeout: float) -> bool:
        """Return as soon as so many members have partitions of their own, or whether they got there in time."""
        return self._wait(lambda: sum(map(bool, self._members.values())) >= count, timeout)

    def wait_for_answers(self, places: Iterable[tuple[int, int]], timeout: float) -> bool:
        """Return as soon as the questions at these places are done, or whether it came to that in time."""
        return self._wait(lambda: not any(map(self._is_open, places)), timeout)

    def _is_open(self, place: tuple[int, int]) -> bool:
        entry = self._entries.get(place)
        return entry is not None and not entry.done  # what went from the wall was done long ago

    def _wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        until = time.monotonic() + timeout
        with self._changed:
            while not condition():
                if not self._changed.wait(max(0, until - time.monotonic())) and time.monotonic() >= until:
                    return False
            return True
