"""The instruments, one set for each meter provider of the process, and the values that they observe."""

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from itertools import count
from threading import Lock, RLock
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar
from weakref import WeakMethod, WeakSet, finalize

from opentelemetry import metrics as api
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation

from otelkafka._telemetry import clock, scope, semconv
from otelkafka._telemetry.attributes import Attributes
from otelkafka._telemetry.clock import seconds
from otelkafka._telemetry.tallies import Tallies

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""In seconds; source: semantic conventions v1.44, messaging metrics."""

QUEUE_BUCKETS: Final = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14400)
"""In seconds: a queue also waits minutes and hours."""

OVERFLOW: Final[Attributes] = {"otel.metric.overflow": True}
"""The attributes of what has no room among the attribute sets; the SDK's own name for it."""

MOST_SETS: Final = 2000
"""How many attribute sets a metric may have, beside that of the overflow."""

Reading: TypeAlias = tuple[Attributes, float]
Key: TypeAlias = frozenset[tuple[str, Any]]
_OVERFLOW_KEY: Final[Key] = frozenset(OVERFLOW.items())


def bounded(attributes: Attributes, known: Collection[Key]) -> tuple[Key, Attributes]:
    """Return attributes and their key. New attributes beyond the limit are replaced by those of the overflow."""
    key = frozenset(attributes.items())
    return (key, attributes) if key in known or len(known) < MOST_SETS else (_OVERFLOW_KEY, OVERFLOW)


def merged(readings: Iterable[Reading], merge: Callable[[list[float]], float]) -> list[Observation]:
    """Return one observation for each attribute set, as an SDK keeps one, and one for all sets beyond the limit."""
    found: dict[Key, tuple[Attributes, list[float]]] = {}
    for attributes, value in readings:
        key, kept = bounded(attributes, found)
        found.setdefault(key, (kept, []))[1].append(value)
    return [Observation(merge(values), attributes) for attributes, values in found.values()]


class Total:
    """A number that only grows, with its attributes.

    Attributes:
        count: adds one, from any thread, without a lock and without a call of a Python function.
    """

    __slots__ = ("_added", "_lock", "_taken", "attributes", "count")

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes
        self.count: Callable[[], int] = count().__next__
        self._taken = 0
        self._added: float = 0
        self._lock = RLock()

    def restart(self) -> None:
        """Begin at zero, with a lock that no thread of a parent process holds."""
        self._lock = RLock()
        self._taken = self.count() + 1
        self._added = 0

    def add(self, amount: float = 1) -> None:
        """Add to the number, from any thread."""
        with self._lock:
            self._added += amount

    def read(self) -> float:
        """Return the present number."""
        with self._lock:
            ones = self.count() - self._taken
            self._taken += 1  # the one by which it was read
            return self._added + ones


class Totals:
    """The totals of one counter, by attributes. They outlive the clients that counted.

    Args:
        on_overflow: called for each attribute set beyond the limit.
    """

    def __init__(self, on_overflow: Callable[[], None] = lambda: None) -> None:
        self._on_overflow = on_overflow
        # Not a plain lock: a collection of garbage may run here, and end spans that count.
        self._lock = RLock()
        self._totals: dict[Key, Total] = {}

    def of(self, attributes: Attributes) -> Total:
        """Return the total with these attributes. The caller may keep it."""
        with self._lock:
            key, kept = bounded(attributes, self._totals)
            found = self._totals.get(key)
            if found is None:
                found = self._totals.setdefault(key, Total(kept))
        if kept is not attributes:
            self._on_overflow()
        return found

    def observe(self, _: CallbackOptions | None = None) -> list[Observation]:
        """Return the present totals."""
        return [Observation(total.read(), total.attributes) for total in list(self._totals.values())]

    def restart(self) -> None:
        """Begin at zero."""
        self._lock = RLock()
        for total in self._totals.values():
            total.restart()


class Gauge:
    """The observations of one asynchronous instrument. It reads the clients when an SDK collects.

    Args:
        merge: makes one value of several with equal attributes.
    """

    def __init__(self, merge: Callable[[list[float]], float]) -> None:
        self._merge = merge
        self._reads: set[WeakMethod[Callable[[], Iterable[Reading]]]] = set()

    def watch(self, read: Callable[[], Iterable[Reading]]) -> None:
        """Read a client at each collection, until it is garbage collected.

        Args:
            read: a bound method of it; it is held weakly.
        """
        self._reads.add(WeakMethod(read, self._reads.discard))

    def observe(self, _: CallbackOptions | None = None) -> list[Observation]:
        """Return the present values."""
        living = [read for read in (reference() for reference in list(self._reads)) if read is not None]
        return merged((reading for read in living for reading in read()), self._merge)

    def restart(self) -> None:
        """Begin without the clients of a parent process."""
        self._reads.clear()


class TimeSpent:
    """How long one consumer has been busy and fetching, from `start` on.

    Args:
        start: when the consumer was wrapped.

    Attributes:
        fetched: the time that it spent fetching, without the present fetch.
        entered: the start of the present fetch; None if there is none.
        abandoned: whether the consumer was garbage collected.
        counted_by: the instruments that count it; those of the last meter provider, if it was replaced.
    """

    def __init__(self, start: int) -> None:
        self.fetched = 0
        self.entered: int | None = None
        self.abandoned = False
        self.counted_by: object = None
        self._start = start
        self._end: int | None = None
        self._taken = (0, 0)
        self._lock = Lock()

    def set_back(self, by: int) -> None:
        """Note that the clock was set back. Durations that have passed do not change."""
        self._start -= by

    def stop(self, now: int) -> None:
        """Note that the consumer is closed: it is neither busy nor fetching from now on."""
        if self.entered is not None:
            self.fetched, self.entered = self.fetched + max(0, now - self.entered), None
        self._end = self._end or now

    def abandon(self) -> None:
        """Note that the consumer was dropped. Called in its finalizer, which may run anywhere and must take no lock."""
        self.abandoned = True
        with suppress(Exception):  # a clock that fails
            self.stop(clock.now())

    def restart(self) -> None:
        """Start from zero in the child of a fork, with a new lock: a thread of the parent may hold the old one."""
        self._lock = Lock()
        with suppress(Exception):  # a clock that fails
            self.take(clock.now())

    def take(self, now: int) -> tuple[float, float]:
        """Return the busy and the fetch time since the last call, in seconds. Called from any thread."""
        with self._lock:
            entered, fetched = self.entered, self.fetched
            fetch = fetched + (0 if entered is None else max(0, now - entered))
            busy = max(0, (self._end or now) - self._start - fetch)
            # A total that was read while the consumer changed it may be ahead of the next one: it never shrinks.
            before, self._taken = self._taken, (max(busy, self._taken[0]), max(fetch, self._taken[1]))
            return seconds(self._taken[0] - before[0]), seconds(self._taken[1] - before[1])


class Instruments:
    """The instruments of one meter provider.

    Args:
        meter: makes them.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._spent: dict[TimeSpent, Attributes] = {}
        self._observed: list[Totals | Gauge | Tallies] = []
        self._tallies: list[Tallies] = []
        self._admitted: dict[str, set[Key]] = {}
        # Histograms first: they are the most that can be interrupted, and an SDK returns the same ones again.
        self.operation_duration = self._histogram(
            semconv.METRIC_OPERATION_DURATION, BUCKETS, "Duration of a client's operation.", has_type=True
        )
        self.process_duration = self._histogram(
            semconv.METRIC_PROCESS_DURATION, BUCKETS, "Duration of processing a record or a batch."
        )
        self.queue_duration = self._histogram(
            semconv.METRIC_QUEUE_DURATION, QUEUE_BUCKETS, "From a record's timestamp to the start of its processing."
        )
        self.pipeline_duration = self._histogram(
            semconv.METRIC_PIPELINE_DURATION, QUEUE_BUCKETS, "From a record's origin to the end of its processing."
        )
        self.dropped = self._totals()
        meter.create_observable_counter(
            semconv.METRIC_DROPPED,
            [self._collect_tallies, self.dropped.observe],  # an SDK calls back before it collects histograms
            "{item}",
            "Left out on purpose, by reason.",
        )
        self.errors = self._counter(semconv.METRIC_ERRORS, "{error}", "Failures of telemetry that were contained.")
        self.sent = self._counter(
            semconv.METRIC_SENT_MESSAGES, "{message}", "Messages that a producer attempted to send."
        )
        self.consumed = self._counter(semconv.METRIC_CONSUMED_MESSAGES, "{message}", "Messages handed over.")
        self.without_context = self._counter(
            semconv.METRIC_WITHOUT_CONTEXT, "{message}", "Records that carried no valid context."
        )
        self.sampled = self._counter(semconv.METRIC_SAMPLED, "{message}", "Recorded against their context, by reason.")
        self.rebalances = self._counter(semconv.METRIC_REBALANCES, "{rebalance}", "Rebalances, by kind.")
        self.auto_commits = self._counter(semconv.METRIC_AUTO_COMMITS, "{commit}", "Automatic commits, by result.")
        self._time = self._totals()
        meter.create_observable_counter(
            semconv.METRIC_CONSUMER_TIME, [self._observe_time], "s", "Where a consumer's time went."
        )
        self.consumer_lag = self._gauge(
            semconv.METRIC_CONSUMER_LAG, "{message}", "Records behind, as of the last one handed over."
        )
        self.process_age = self._gauge(semconv.METRIC_PROCESS_AGE, "s", "How long the record in process has been so.")
        self.spans_in_flight = self._watched(sum)
        meter.create_observable_up_down_counter(
            semconv.METRIC_SPANS_IN_FLIGHT,
            [self.spans_in_flight.observe],
            "{span}",
            "Recording send spans that wait for their acknowledgement.",
        )

    def follow(self, owner: object, spent: TimeSpent, attributes: Attributes) -> None:
        """Count the time of a consumer until its end."""
        self._spent[spent] = attributes
        spent.counted_by = self
        finalize(owner, spent.abandon).atexit = False

    def admit(self, operation: str, attributes: Attributes) -> Attributes:
        """Return the attributes for the metrics of an operation; beyond the limit of sets, those of the overflow."""
        admitted = self._admitted.setdefault(operation, set())
        key, kept = bounded(attributes, admitted)
        admitted.add(key)
        if kept is not attributes:
            self._drop_attribute_set()
        return kept

    def drop(self, reason: str, items: int = 1) -> None:
        """Count telemetry that is left out on purpose."""
        self.dropped.of({semconv.DROP_REASON: reason}).add(items)

    def restart(self) -> None:
        """Begin at zero, without the clients of a parent process."""
        for spent in self._spent:
            spent.restart()
        self._spent.clear()
        for observed in self._observed:
            observed.restart()

    def _histogram(self, name: str, buckets: Sequence[float], description: str, *, has_type: bool = False) -> Tallies:
        made = self._meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=buckets)
        tallies = Tallies(made, has_type=has_type)
        self._observed.append(tallies)
        self._tallies.append(tallies)
        return tallies

    def _collect_tallies(self, _: CallbackOptions) -> Iterable[Observation]:
        for tallies in self._tallies:
            tallies.collect()
        return ()

    def _counter(self, name: str, unit: str, description: str) -> Totals:
        totals = self._totals()
        self._meter.create_observable_counter(name, [totals.observe], unit, description)
        return totals

    def _totals(self) -> Totals:
        totals = Totals(self._drop_attribute_set)
        self._observed.append(totals)
        return totals

    def _gauge(self, name: str, unit: str, description: str) -> Gauge:
        gauge = self._watched(max)
        self._meter.create_observable_gauge(name, [gauge.observe], unit, description)
        return gauge

    def _watched(self, merge: Callable[[list[float]], float]) -> Gauge:
        gauge = Gauge(merge)
        self._observed.append(gauge)
        return gauge

    def _drop_attribute_set(self) -> None:
        self.drop(semconv.DROPPED_ATTRIBUTE_SETS)

    def _observe_time(self, options: CallbackOptions) -> list[Observation]:
        for spent in list(self._spent):
            self._settle(spent)
        return self._time.observe(options)

    def _settle(self, spent: TimeSpent) -> None:
        attributes = self._spent.get(spent)
        if attributes is not None and spent.counted_by is self:
            busy, fetch = spent.take(clock.now())
            self._time.of({**attributes, semconv.CONSUMER_STATE: semconv.STATE_BUSY}).add(busy)
            self._time.of({**attributes, semconv.CONSUMER_STATE: semconv.STATE_FETCH}).add(fetch)
        if spent.abandoned or spent.counted_by is not self:
            self._spent.pop(spent, None)


class Restartable(Protocol):
    """An object that starts from zero in the child of a fork."""

    def restart(self) -> None:
        """Begin at zero, without the clients of a parent process."""


R = TypeVar("R", bound=Restartable)


class PerProvider(Generic[R]):
    """One set of instruments for each meter provider, because a second instrument of the same name would be lost.

    A provider is identified by its `id()`, as long as it lives. In the child of a fork each set starts from zero.

    Args:
        make: makes the set of a provider, or returns None if nothing reads its metrics. If it raises, the set is None,
            and it is not called again for that provider, so that instruments do not pile up. If it is interrupted, for
            example by a KeyboardInterrupt, it is called again.
    """

    def __init__(self, make: Callable[[MeterProvider], R | None]) -> None:
        self._make = make
        self._made: dict[int, R | None] = {}
        self._used: WeakSet[R] = WeakSet()  # also those that outlive their provider
        self._immortal: list[MeterProvider] = []
        self._lock = RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._restart)

    def __contains__(self, provider: MeterProvider) -> bool:
        """Return whether there is a set of this provider."""
        return id(provider) in self._made

    def of(self, provider: MeterProvider) -> R | None:
        """Return the set of a provider."""
        with self._lock:
            if provider not in self:
                self._made[id(provider)] = None
                self._forget_with(provider)
                try:
                    made = self._made[id(provider)] = self._make(provider)
                    if made is not None:
                        self._used.add(made)
                except BaseException as error:
                    if not isinstance(error, Exception):
                        self._made.pop(id(provider), None)
                    raise
            return self._made[id(provider)]

    def _forget_with(self, provider: MeterProvider) -> None:
        try:
            finalize(provider, self._made.pop, id(provider), None).atexit = False
        except TypeError:  # a class whose slots leave no room for a weak reference: its identity must not be used again
            self._immortal.append(provider)

    def _restart(self) -> None:
        self._lock = RLock()  # another thread of the parent may hold the old one
        for made in list(self._used):
            made.restart()
        # Where there is none, another thread of the parent may have been about to make it: ask again.
        for key in [key for key, made in self._made.items() if made is None]:
            del self._made[key]


def _make_instruments(provider: MeterProvider) -> Instruments | None:
    meter = provider.get_meter(scope.NAME, scope.VERSION, semconv.SCHEMA_URL)
    return None if isinstance(meter, api.NoOpMeter) else Instruments(meter)


_instruments = PerProvider(_make_instruments)


def instruments_of(provider: MeterProvider | None) -> Instruments | None:
    """Return the instruments of a meter provider. Each call for it returns the same set.

    Args:
        provider: the meter provider; None for the present global one.

    Returns:
        The instruments; None if nothing reads them, because there is no SDK or it is disabled.
    """
    listener = api.get_meter_provider() if provider is None else provider
    if type(listener).__module__.startswith(api.__name__):  # the API's own, which listen to nothing
        return None
    return _instruments.of(listener)
