"""Where a record's wait went: how long its consumer was busy, and how long it was fetching."""

from bisect import bisect_right
from typing import Any, NamedTuple

from otelkafka._telemetry import semconv
from otelkafka._telemetry.attributes import Attributes
from otelkafka._telemetry.clock import MILLISECOND, NANOSECONDS
from otelkafka._telemetry.metrics import TimeSpent

TIMESTAMP_TYPES = {0: "create", 1: "log_append"}

_MOST_MARKS = 4096
_MOST_HANDOVERS = 256


class Handover(NamedTuple):
    """When a record came out of its client, and the end of its partition then, if that is known."""

    time: int
    highwater: int | None


class Wait(NamedTuple):
    """A record's wait, in nanoseconds: what is neither busy nor fetch lies before there was somebody to fetch it."""

    queue: int
    busy: int | None
    fetch: int | None
    timestamp_type: str | None
    clock_skew: bool

    def attributes(self) -> Attributes:
        """Return the wait as attributes, in seconds."""
        found: Attributes = {semconv.QUEUE_DURATION: self.queue / NANOSECONDS}
        if self.busy is not None and self.fetch is not None:
            found[semconv.QUEUE_BUSY_DURATION] = self.busy / NANOSECONDS
            found[semconv.QUEUE_FETCH_DURATION] = self.fetch / NANOSECONDS
        if self.timestamp_type is not None:
            found[semconv.QUEUE_TIMESTAMP_TYPE] = self.timestamp_type
        if self.clock_skew:
            found[semconv.QUEUE_CLOCK_SKEW] = True
        return found


def queue_of(record: Any, start: int) -> int | None:
    """Return how long `record` waited until `start`; None where it has no timestamp."""
    timestamp = record.timestamp
    return None if timestamp is None or timestamp < 0 else max(0, start - timestamp * MILLISECOND)


def wait_of(
    record: Any, start: int, handover: int, history: "WaitHistory | None", attended: int | None = None
) -> Wait | None:
    """Return the wait of `record`, whose process span starts at `start`.

    Args:
        record: the consumed record.
        start: when its process span starts.
        handover: when it came out of its client.
        history: of the consumer that handed it over; None where that is not known, and then there is no split.
        attended: since when there was somebody to fetch it; None to ask the history.

    Returns:
        None where the record has no timestamp.
    """
    queue = queue_of(record, start)
    if queue is None:
        return None
    created = record.timestamp * MILLISECOND
    busy = fetch = None
    if history is not None:
        attended = history.attended_since(record.topic, record.partition) if attended is None else attended
        since = max(created, attended)
        fetch = history.fetched(since, min(handover, start))  # the clock may have been set back
        busy = max(0, start - since) - fetch
    kind = TIMESTAMP_TYPES.get(getattr(record, "timestamp_type", -1))
    return Wait(queue, busy, fetch, kind, created > start)


class WaitHistory:
    """The time that one consumer spent inside `poll()` and `next()`, as a running total with marks.

    Between two marks the total is taken to grow evenly; marks are a millisecond apart or more, and older ones are
    thinned out, so that the history is bounded and the further back it is asked, the coarser it answers.

    Args:
        now: when the consumer was wrapped.

    Attributes:
        has_listener: whether a listener is called at each assignment; without one they are compared after fetches.
        spent: the running totals.
        lags: of each assigned partition, as of the last record handed over.
        last_mark: the time of the last mark.
        next_mark: when the next one is due.
    """

    def __init__(self, now: int) -> None:
        self.has_listener = True
        self._since = now
        self._assigned: dict[tuple[str, int], int] = {}
        self._revoked: dict[tuple[str, int], int] = {}
        self._handovers: dict[tuple[str, int], tuple[tuple[int, int, Handover], ...]] = {}
        self._marks = ([now], [0])
        self.last_mark = self.next_mark = now
        self.spent = TimeSpent(now)
        self.lags: dict[tuple[str, int], int] = {}

    def note_fetch(self, start: int, end: int) -> bool:
        """Note that the consumer has been fetching, and returns what it fetched, or raises.

        Returns:
            True about once a millisecond, and as soon as the clock was set back.
        """
        spent = self.spent
        spent.entered = None
        if self.last_mark <= start <= end < self.next_mark:
            spent.fetched += end - start
            return False
        if start < self.last_mark:
            self._follow_back(start)
        if start >= self.next_mark:
            self._mark(start)
        if end > start:
            spent.fetched += end - start
        if end >= self.next_mark:
            self._mark(end)
        return True

    def assign(self, partitions: set[tuple[str, int]], now: int) -> None:
        """Note the partitions that the consumer has been assigned in addition."""
        for partition in partitions:
            self._assigned[partition] = now
            self._revoked.pop(partition, None)

    def revoke(self, partitions: set[tuple[str, int]]) -> None:
        """Forget partitions that the consumer has no more, and what was handed over of those revoked before.

        What was handed over of these may still be in process in other threads, also while a listener waits for that.
        """
        if not partitions:
            return
        for partition in self._revoked:
            self._handovers.pop(partition, None)
        self._revoked = {partition: self._assigned.pop(partition, 0) for partition in partitions}
        for partition in partitions:
            self.lags.pop(partition, None)

    def update(self, partitions: set[tuple[str, int]] | None, now: int) -> None:
        """Note what the consumer is assigned now, if that is known, by comparing it with what was noted."""
        if partitions is not None:
            noted = {*self._assigned, *self.lags}  # a lag may have been noted before the assignment was
            self.revoke(noted - partitions)
            self.assign(partitions - noted, now)

    def attended_since(self, topic: str, partition: int) -> int:
        """Return since when there is somebody to fetch the partition's records."""
        assigned = self._assigned.get((topic, partition))
        return max(self._since, self._revoked.get((topic, partition), 0) if assigned is None else assigned)

    def fetched(self, start: int, end: int) -> int:
        """Return how much of the time from `start` to `end` was spent fetching."""
        return max(0, min(self._total(end) - self._total(start), end - start)) if start < end else 0

    def note_handover(self, topic: str, partition: int, first: int, last: int, handover: Handover) -> None:
        """Note when the records from offset `first` to `last` were handed over, for who processes them later."""
        noted = self._handovers.get((topic, partition), ())
        if noted and noted[-1][1] < first and handover.time - noted[-1][2].time < MILLISECOND:
            first, _, handover = noted[-1]
            noted = noted[:-1]
        # In its place and not changed: records are processed in other threads, too.
        self._handovers[topic, partition] = (*noted[1 - _MOST_HANDOVERS :], (first, last, handover))

    def handover_of(self, record: Any) -> Handover | None:
        """Return when a record was handed over, if that was noted and is not too long ago."""
        for first, last, handover in reversed(self._handovers.get((record.topic, record.partition), ())):
            if first <= record.offset <= last:
                return handover
        return None

    def _follow_back(self, now: int) -> None:
        """Follow a clock that was set back: what was noted has passed all the same."""
        by = self.last_mark - now
        moments, totals = self._marks
        self._marks = ([moment - by for moment in moments], totals)
        self._assigned = {partition: min(since - by, now) for partition, since in self._assigned.items()}
        self._since = min(self._since - by, now)
        self.last_mark = self.next_mark = now
        self.spent.set_back(by)

    def _mark(self, now: int) -> None:
        moments, totals = self._marks
        if len(moments) >= _MOST_MARKS:  # new lists: who reads the old ones may be in another thread
            half = _MOST_MARKS // 2
            moments, totals = moments[:half:2] + moments[half:], totals[:half:2] + totals[half:]
            self._marks = (moments, totals)
        totals.append(self.spent.fetched)
        moments.append(now)
        self.last_mark, self.next_mark = now, now + MILLISECOND

    def _total(self, moment: int) -> int:
        """Return the time spent fetching up to `moment`."""
        moments, totals = self._marks
        if moment >= moments[-1]:
            return self.spent.fetched
        after = bisect_right(moments, moment)
        if after == 0:
            return 0
        start, end, low, high = moments[after - 1], moments[after], totals[after - 1], totals[after]
        return low + (high - low) * (moment - start) // (end - start)
