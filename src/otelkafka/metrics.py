"""The instruments, one set of them for each meter provider in a process, and the totals behind observable counters."""

import os
from collections.abc import Callable, Iterable, Sequence
from threading import RLock
from time import time_ns
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary, WeakSet, finalize

from opentelemetry import metrics as api
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation

from otelkafka import semconv
from otelkafka.attributes import Attributes
from otelkafka.totals import Key, Reading, Totals, bounded, merged
from otelkafka.wait import TimeSpent

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""In seconds; source: semantic conventions v1.44, messaging metrics."""

QUEUE_BUCKETS: Final = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14400)
"""In seconds: a queue also waits minutes and hours."""


class Source(Protocol):
    """A client that is asked at collection time; it is held weakly."""

    def read(self, metric: str) -> Iterable[Reading]:
        """Return the values of a gauge."""


class Instruments:
    """The instruments of one meter provider.

    Args:
        meter: makes them.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._sources: WeakSet[Any] = WeakSet()
        self._spent: dict[TimeSpent, Attributes] = {}
        self._counters: list[Totals] = []
        self._admitted: dict[str, set[Key]] = {}
        self.dropped = self._counter(semconv.METRIC_DROPPED, "{item}", "Left out on purpose, by reason.")
        self.errors = self._counter(semconv.METRIC_ERRORS, "{error}", "Failures of telemetry that were contained.")
        self.operation_duration = self._histogram(
            semconv.METRIC_OPERATION_DURATION, BUCKETS, "Duration of a client's operation."
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
        self.sent = self._counter(semconv.METRIC_SENT_MESSAGES, "{message}", "Messages that a producer tried to send.")
        self.consumed = self._counter(semconv.METRIC_CONSUMED_MESSAGES, "{message}", "Messages handed over.")
        self.without_context = self._counter(
            semconv.METRIC_WITHOUT_CONTEXT, "{message}", "Records that carried no valid context."
        )
        self.sampled = self._counter(semconv.METRIC_SAMPLED, "{message}", "Recorded against their context, by reason.")
        self.rebalances = self._counter(semconv.METRIC_REBALANCES, "{rebalance}", "Rebalances, by kind.")
        self.auto_commits = self._counter(semconv.METRIC_AUTO_COMMITS, "{commit}", "Automatic commits, by result.")
        self._time = Totals(lambda: self.drop(semconv.DROPPED_ATTRIBUTE_SETS))
        self._counters.append(self._time)
        meter.create_observable_counter(
            semconv.METRIC_CONSUMER_TIME, [self._observe_time], "s", "Where a consumer's time went."
        )
        self._gauge(semconv.METRIC_CONSUMER_LAG, "{message}", "Records behind, as of the last one handed over.")
        self._gauge(semconv.METRIC_PROCESS_AGE, "s", "How long the record in process has been so.")
        meter.create_observable_up_down_counter(
            semconv.METRIC_SPANS_IN_FLIGHT,
            [lambda _: self._read(semconv.METRIC_SPANS_IN_FLIGHT, sum)],
            "{span}",
            "Recording send spans that wait for their acknowledgement.",
        )

    def watch(self, source: Source) -> None:
        """Ask a client at collection time, as long as it lives."""
        self._sources.add(source)

    def follow(self, owner: object, spent: TimeSpent, attributes: Attributes) -> None:
        """Count the time of a consumer, to the last moment of its life."""
        self._spent[spent] = attributes
        finalize(owner, spent.abandon).atexit = False

    def admit(self, operation: str, attributes: Attributes) -> Attributes:
        """Return the attributes for the metrics of an operation; those of the overflow where it has too many sets."""
        admitted = self._admitted.setdefault(operation, set())
        key, kept = bounded(attributes, admitted)
        admitted.add(key)
        if kept is not attributes:
            self.drop(semconv.DROPPED_ATTRIBUTE_SETS)
        return kept

    def drop(self, reason: str, count: int = 1) -> None:
        """Count what is left out on purpose."""
        self.dropped.of({semconv.DROP_REASON: reason}).add(count)

    def restart(self) -> None:
        """Begin at zero, without the clients of a parent process."""
        self._sources.clear()
        self._spent.clear()
        for totals in self._counters:
            totals.restart()

    def _histogram(self, name: str, buckets: Sequence[float], description: str) -> Histogram:
        return self._meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=buckets)

    def _counter(self, name: str, unit: str, description: str) -> Totals:
        totals = Totals(lambda: self.drop(semconv.DROPPED_ATTRIBUTE_SETS))
        self._counters.append(totals)
        self._meter.create_observable_counter(name, [totals.observe], unit, description)
        return totals

    def _gauge(self, name: str, unit: str, description: str) -> None:
        self._meter.create_observable_gauge(name, [lambda _: self._read(name, max)], unit, description)

    def _observe_time(self, options: CallbackOptions) -> list[Observation]:
        for spent in list(self._spent):
            self._settle(spent)
        return self._time.observe(options)

    def _settle(self, spent: TimeSpent) -> None:
        attributes = self._spent.get(spent)
        if attributes is not None:
            busy, fetch = spent.take(time_ns())
            self._time.of({**attributes, semconv.CONSUMER_STATE: semconv.STATE_BUSY}).add(busy)
            self._time.of({**attributes, semconv.CONSUMER_STATE: semconv.STATE_FETCH}).add(fetch)
        if spent.abandoned:
            self._spent.pop(spent, None)

    def _read(self, name: str, merge: Callable[[list[float]], float]) -> list[Observation]:
        return merged((reading for source in list(self._sources) for reading in source.read(name)), merge)


_instruments: "WeakKeyDictionary[MeterProvider, Instruments | None]" = WeakKeyDictionary()
_lock = RLock()


def instruments_of(provider: MeterProvider | None, name: str, version: str) -> Instruments | None:
    """Return the instruments of a meter provider: one set, whoever asks.

    Args:
        provider: None for the global one of this moment.
        name: of the instrumentation.
        version: of the instrumentation.

    Returns:
        None where nobody listens: there is no SDK, or it is disabled.
    """
    listener = api.get_meter_provider() if provider is None else provider
    if type(listener).__module__.startswith(api.__name__):  # the API's own, which listen to nothing
        return None
    with _lock:
        if listener not in _instruments:
            _instruments[listener] = None  # one that fails is not asked again: what it has made so far would pile up
            meter = listener.get_meter(name, version, semconv.SCHEMA_URL)
            _instruments[listener] = None if isinstance(meter, api.NoOpMeter) else Instruments(meter)
        return _instruments[listener]


def _restart_in_child() -> None:
    global _lock  # noqa: PLW0603 (another thread of the parent may hold it)
    _lock = RLock()
    for instruments in list(_instruments.values()):
        if instruments is not None:
            instruments.restart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_in_child)
