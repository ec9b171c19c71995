"""Where a record's wait went: how long its consumer was busy, and how long it was fetching."""

from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from opentelemetry.trace import Span

from otelkafka._telemetry import attributes, semconv
from otelkafka._telemetry.attributes import Attributes
from otelkafka._telemetry.clock import MILLISECOND, NANOSECONDS, seconds
from otelkafka._telemetry.destination import Destination
from otelkafka._telemetry.metrics import TimeSpent

TIMESTAMP_TYPES = {0: "create", 1: "log_append"}

_MOST_MARKS = 4096
_MOST_HANDOVERS = 256
_MOST_SLOW = 64
_MOST_BUSY_LINKS = 3

SLOW = MILLISECOND
"""What was processed for as long may say what kept a consumer busy."""


class Handover(NamedTuple):
    """When the client returned a record, and the end of the partition at that time, if known."""

    time: int
    highwater: int | None


class Processed(NamedTuple):
    """What a consumer has processed: a record, or a batch.

    Attributes:
        start: the start of its processing, Unix time in nanoseconds.
        end: the end of its processing.
        span: its span, or one with the same context.
        destination: where it came from.
        partition: the one partition; None for several.
        offset: the offset of a record.
        records: how many a batch has.
    """

    start: int
    end: int
    span: Span
    destination: Destination
    partition: int | None
    offset: int | None
    records: int | None

    def link_attributes(self) -> Attributes:
        """Return the attributes of a link to it."""
        found: Attributes = {
            semconv.LINK_TYPE: semconv.LINK_BUSY,
            **self.destination.attributes,
            **attributes.of_partition(self.partition),
            **attributes.of_offset(self.offset),
            semconv.PROCESS_DURATION: seconds(self.end - self.start),
        }
        return found if self.records is None else {**found, semconv.MESSAGING_BATCH_MESSAGE_COUNT: self.records}


def queue_of(record: Any, start: int) -> int | None:
    """Return how long `record` waited until `start`, in nanoseconds; None if it has no timestamp."""
    timestamp = record.timestamp
    return None if timestamp is None or timestamp < 0 else max(0, start - timestamp * MILLISECOND)


def describe_wait(
    found: Attributes, record: Any, start: int, handover: int, history: "WaitHistory | None", attended: int | None
) -> int | None:
    """Add the parts of a record's wait to attributes.

    The rest, neither busy nor fetch, is the time before a consumer could fetch the record.

    Args:
        found: the attributes.
        record: the consumed record.
        start: when its process span starts, Unix time in nanoseconds.
        handover: when the client returned the record.
        history: that of the consumer that returned the record; None if it is not known: then the wait has no parts.
        attended: since when a consumer could fetch the record.

    Returns:
        The start of the part in which the consumer was busy or fetching. None if the consumer was busy for too short a
        time for busy links.
    """
    timestamp = record.timestamp
    if timestamp is None or timestamp < 0:
        return None
    created = timestamp * MILLISECOND
    queue = start - created
    found[semconv.QUEUE_DURATION] = queue / NANOSECONDS if queue > 0 else 0.0
    kind = TIMESTAMP_TYPES.get(getattr(record, "timestamp_type", -1))
    if kind is not None:
        found[semconv.QUEUE_TIMESTAMP_TYPE] = kind
    if queue < 0:
        found[semconv.QUEUE_CLOCK_SKEW] = True
    if history is None or attended is None:
        return None
    since = created if created > attended else attended  # noqa: FURB136 (once a record: without a call)
    fetches, fetched, processed = history.fetches, history.spent.fetched, history.processed
    handed_over = handover if handover < start else start  # noqa: FURB136 (likewise; a clock may have been set back)
    fetch = 0
    if since < fetches.last:
        fetch = fetched if handed_over >= fetches.last else fetches.at(handed_over, fetched)
        fetch = max(0, min(fetch - fetches.at(since, fetched), handed_over - since))
    busy = (start - since if start > since else 0) - fetch
    found[semconv.QUEUE_BUSY_DURATION] = busy / NANOSECONDS
    found[semconv.QUEUE_FETCH_DURATION] = fetch / NANOSECONDS
    processes = history.processes
    count = processed if start >= processes.last else processes.at(start, processed)
    found[semconv.QUEUE_BUSY_COUNT] = count - processes.at(since, processed) if busy and since < processes.last else 0
    return since if busy >= SLOW else None


class _Marks:
    """The values of a running total at some moments. Between two marks the total is interpolated.

    Marks are at least a millisecond apart, and older marks are thinned out. So their number is bounded, and the
    resolution is lower for the more distant past.

    Args:
        now: when the total was zero.

    Attributes:
        last: the time of the last mark.
        next: when the next one is due.
    """

    __slots__ = ("_marks", "last", "next")

    def __init__(self, now: int) -> None:
        self._marks = [(now, 0)]
        self.last = self.next = now

    def mark(self, now: int, total: int) -> None:
        """Add a mark with the present total."""
        if len(self._marks) >= _MOST_MARKS:  # a new list: who reads the old one may be in another thread
            half = _MOST_MARKS // 2
            self._marks = self._marks[:half:2] + self._marks[half:]
        self._marks.append((now, total))
        self.last, self.next = now, now + MILLISECOND

    def at(self, moment: int, total: int) -> int:
        """Return what the total was at a moment, of what it is now."""
        marks = self._marks
        if moment >= marks[-1][0]:
            return total
        after = bisect_right(marks, moment, key=_moment_of)
        if after == 0:
            return 0
        (start, low), (end, high) = marks[after - 1], marks[after]
        return low + (high - low) * (moment - start) // (end - start)

    def follow_back(self, by: int) -> None:
        """Shift the marks, after the clock was set back."""
        self._marks = [(moment - by, total) for moment, total in self._marks]
        self.last -= by
        self.next = self.last


class WaitHistory:
    """What one consumer did with its time: when it fetched, and what it processed.

    Args:
        now: when the consumer was wrapped.

    Attributes:
        has_listener: whether a listener is called at each assignment. If not, assignments are compared after fetches.
        spent: the running totals of time.
        fetches: the marks of the time spent fetching.
        processed: how many records have been processed.
        processes: the marks of `processed`. They are approximate, because other threads process records without a lock.
        slow: records and batches whose processing took at least a millisecond.
        since: when it was wrapped, Unix time in nanoseconds.
        attended: since when it could fetch each partition that is assigned, or was until a moment ago, where that is
            later than `since`.
        lags: the lag of each assigned partition, as of the last record that was returned.
    """

    def __init__(self, now: int) -> None:
        self.has_listener = True
        self.since = now
        self.attended: dict[tuple[str, int], int] = {}
        self._assigned: set[tuple[str, int]] = set()
        self._revoked: set[tuple[str, int]] = set()
        self._handovers: dict[tuple[str, int], tuple[tuple[int, int, Handover], ...]] = {}
        self.fetches, self.processes = _Marks(now), _Marks(now)
        self.slow: tuple[Processed, ...] = ()
        self._slowest: tuple[tuple[Processed, ...], int, tuple[Processed, ...]] = (), 0, ()
        self.processed = 0
        self.spent = TimeSpent(now)
        self.lags: dict[tuple[str, int], int] = {}

    def note_fetch(self, start: int, end: int) -> bool:
        """Note that the consumer has been fetching, and returns what it fetched, or raises.

        Returns:
            True about once a millisecond, and after the clock was set back.
        """
        spent, marks = self.spent, self.fetches
        spent.entered = None
        if marks.last <= start <= end < marks.next:
            spent.fetched += end - start
            return False
        if start < marks.last:
            self._follow_back(start)
        if start >= marks.next:
            marks.mark(start, spent.fetched)
        if end > start:
            spent.fetched += end - start
        if end >= marks.next:
            marks.mark(end, spent.fetched)
            self.processes.mark(end, self.processed)
        return True

    def assign(self, partitions: set[tuple[str, int]], now: int) -> None:
        """Note the partitions that the consumer has been assigned in addition."""
        self.attended.update(dict.fromkeys(partitions, max(now, self.since)))
        self._assigned = self._assigned | partitions
        self._revoked = self._revoked - partitions

    def revoke(self, partitions: set[tuple[str, int]]) -> None:
        """Forget partitions that the consumer has lost, and the records of partitions that were revoked before.

        Records of the partitions that are lost now may still be processed in other threads, and a listener may wait
        for that.
        """
        if not partitions:
            return
        for partition in self._revoked:
            self._handovers.pop(partition, None)
            self.attended.pop(partition, None)
        self._revoked = partitions
        self._assigned = self._assigned - partitions
        for partition in partitions:
            self.lags.pop(partition, None)

    def update(self, partitions: set[tuple[str, int]] | None, now: int) -> None:
        """Compare the present assignment, if it is known, with the noted one, and note the difference."""
        if partitions is not None:
            noted = self._assigned | self.lags.keys()  # a lag may have been noted before the assignment was
            self.revoke(noted - partitions)
            self.assign(partitions - noted, now)

    def attended_since(self, topic: str, partition: int) -> int:
        """Return since when a consumer could fetch the records of the partition."""
        return self.attended.get((topic, partition), self.since)

    def fetched(self, start: int, end: int) -> int:
        """Return how much of the time from `start` to `end` was spent fetching."""
        if start >= end:
            return 0
        fetched = self.spent.fetched
        return max(0, min(self.fetches.at(end, fetched) - self.fetches.at(start, fetched), end - start))

    def note_processed(self, processed: Processed) -> None:
        """Note that a record or a batch was processed. Called in any thread."""
        self.processed += 1 if processed.records is None else processed.records
        if processed.end >= self.processes.next:
            self.processes.mark(processed.end, self.processed)
        if processed.end - processed.start < SLOW:
            return
        noted = self.slow
        if len(noted) >= _MOST_SLOW:  # of the older half, half is kept: what took longest
            half = _MOST_SLOW // 2
            by_length = sorted(range(half), key=lambda at: noted[at].end - noted[at].start)
            noted = (*(noted[at] for at in sorted(by_length[half // 2 :])), *noted[half:])
        self.slow = (*noted, processed)  # in its place: records are processed in other threads, too

    def slowest(self, since: int, until: int) -> Sequence[Processed]:
        """Return what kept the consumer busy between two moments: at most three, longest first, from 1 ms on."""
        slow, found = self.slow, list[tuple[int, Processed]]()
        if self._slowest[0] is slow and self._slowest[1] == since and slow[-1].end <= until:  # as in a backlog
            return self._slowest[2]
        for each in reversed(slow):
            start, end = max(each.start, since), min(each.end, until)
            overlap = end - start
            if each.end - since < SLOW:  # those before it ended before it, or at about the same time
                break
            if overlap >= SLOW and (len(found) < _MOST_BUSY_LINKS or overlap > found[-1][0]):
                overlap -= self.fetched(start, end)
                if overlap >= SLOW:
                    found.append((overlap, each))
                    found.sort(key=lambda one: -one[0])
                    del found[_MOST_BUSY_LINKS:]
        slowest = tuple(each for _, each in found)
        if slow[-1].end <= until:
            self._slowest = slow, since, slowest
        return slowest

    def note_handover(self, topic: str, partition: int, first: int, last: int, handover: Handover) -> None:
        """Note when the records from offset `first` to `last` were returned, for calls that process them later."""
        noted = self._handovers.get((topic, partition), ())
        if noted and noted[-1][1] < first and handover.time - noted[-1][2].time < MILLISECOND:
            first, _, handover = noted[-1]
            noted = noted[:-1]
        # In its place and not changed: records are processed in other threads, too.
        self._handovers[topic, partition] = (*noted[1 - _MOST_HANDOVERS :], (first, last, handover))

    def handover_of(self, record: Any) -> Handover | None:
        """Return when a record was returned, if that was noted and is still kept."""
        for first, last, handover in reversed(self._handovers.get((record.topic, record.partition), ())):
            if first <= record.offset <= last:
                return handover
        return None

    def _follow_back(self, now: int) -> None:
        """Shift what was noted, after the clock was set back: the time has passed nevertheless."""
        by = self.fetches.last - now
        self.fetches.follow_back(by)
        self.processes.follow_back(by)
        self.slow = tuple(each._replace(start=each.start - by, end=each.end - by) for each in self.slow)
        self.attended = {partition: min(since - by, now) for partition, since in self.attended.items()}
        self.since = min(self.since - by, now)
        self.spent.set_back(by)


_moment_of = itemgetter(0)
