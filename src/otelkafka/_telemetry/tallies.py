"""Histograms whose points are kept as plain numbers and merged into the SDK's own aggregation when it collects.

The SDK takes ten microseconds for a point, a list a tenth of a microsecond. All access to private parts of the SDK's
metrics is in this file. They are used if their types are exactly the known ones and a self-test has passed. Otherwise
each point goes through the public API.
"""

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from itertools import pairwise
from math import inf, isclose
from threading import Lock, RLock
from typing import Any, Final, NamedTuple

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Histogram, Observation
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, Span, SpanContext, TraceFlags, set_span_in_context

from otelkafka._telemetry.attributes import Attributes

MOST_PENDING: Final = 500
"""How many points of a tally wait for a collection before they are merged without one."""

_SDK: Final = "opentelemetry.sdk.metrics"
_NOTHING: Final = Context()
_NO_SPAN: Final = set_span_in_context(INVALID_SPAN, _NOTHING)
"""Not an empty context, in whose place the SDK takes the current one."""


class _Unknown:
    """Stands for an unknown SDK. It is equal to nothing, so that each point goes through the public API."""

    def __init__(self) -> None:
        self._reader_storages = object()


_UNKNOWN: Final = _Unknown()


class Tally:
    """The points of one histogram with the same attributes.

    Some points go through the public API: the first one, so that the SDK makes its aggregations with their start
    times; the first one after readers were added or removed; and, of the points of recording spans, one for each bucket
    between two collections, so that each bucket has an exemplar.

    Args:
        histogram: the SDK's.
        attributes: the attributes of the points.
        consumer: the SDK's consumer of the points; `_UNKNOWN` if each point goes through the public API.
    """

    __slots__ = (
        "_aggregations",
        "_attributes",
        "_bounds",
        "_consumer",
        "_histogram",
        "_is_merging",
        "_lock",
        "_pending",
        "_storages",
        "_with_exemplar",
    )

    def __init__(self, histogram: Histogram, attributes: Attributes, consumer: Any) -> None:
        self._histogram = histogram
        self._attributes = attributes
        self._consumer = consumer
        self._storages: Any = None
        self._aggregations: list[Any] = []
        self._bounds: list[float] = []
        self._with_exemplar: set[int] = set()
        self._pending: list[float] = []
        self._lock = RLock()
        self._is_merging = False

    @property
    def is_public(self) -> bool:
        """Whether each point goes through the public API."""
        return self._consumer is _UNKNOWN

    def add(self, value: float) -> None:
        """Record a point without a recording span, from any thread. Only merging takes a lock."""
        if self._consumer._reader_storages is not self._storages:
            self._record(value, _NO_SPAN)
            return
        pending = self._pending
        pending.append(value)
        if len(pending) >= MOST_PENDING and not self._is_merging:
            self.merge()

    def add_recording(self, value: float, span: Span) -> None:
        """Record a point of a recording span, which an exemplar may refer to."""
        if self._consumer._reader_storages is self._storages:
            bucket = bisect_left(self._bounds, value)
            if bucket in self._with_exemplar:
                self.add(value)
                return
            self._with_exemplar.add(bucket)
        self._record(value, set_span_in_context(span, _NOTHING))

    def record(self, value: float, span: Span) -> None:
        """Record a point of a span, recording or not."""
        if span.is_recording():
            self.add_recording(value, span)
        else:
            self.add(value)

    def collect(self) -> None:
        """Add all points so far to the aggregations, when a collection begins."""
        self._with_exemplar.clear()
        self.merge()

    def merge(self) -> None:
        """Add all points so far to the aggregations."""
        with self._lock:
            if self._is_merging:  # the handler of a signal has interrupted it
                return
            self._is_merging = True
            try:
                self._merge()
            finally:
                self._is_merging = False

    def restart(self) -> None:
        """Start without points in the child of a fork, with new locks: a thread of the parent may hold the old ones."""
        self._lock = RLock()
        for aggregation in self._aggregations:  # it may have been merging
            aggregation._lock = Lock()
        self._is_merging = False
        self._pending.clear()
        self._with_exemplar.clear()

    def _merge(self) -> None:
        values = self._pending[:]
        del self._pending[: len(values)]  # not what has been added meanwhile
        if not values or not _is_enabled(self._histogram):
            return
        total, ordered = sum(values), sorted(values)
        if not (ordered[0] >= 0 and total < inf):
            for value in values:  # the SDK knows what to do with what is negative or not finite
                self._histogram.record(value, self._attributes, _NO_SPAN)
            return
        failures = []
        for aggregation in self._aggregations:
            try:
                _add(aggregation, ordered, total)
            except Exception as error:  # noqa: BLE001, PERF203 (the others are given the points nevertheless)
                failures.append(error)
        if failures:
            self._consumer = _UNKNOWN
            raise failures[0]

    def _record(self, value: float, context: Context) -> None:
        """Record a point through the public API. If the readers have changed, find their aggregations."""
        consumer = self._consumer
        storages = consumer._reader_storages
        if storages is self._storages or consumer is _UNKNOWN:
            self._histogram.record(value, self._attributes, context)
            return
        try:
            self.merge()  # into the aggregations of the readers of before
        finally:
            self._histogram.record(value, self._attributes, context)
        try:
            found = [each for storage in storages.values() for each in self._aggregations_in(storage)]
        except Exception:  # noqa: BLE001 (whatever it is, this is not the SDK that is known)
            self._consumer = _UNKNOWN
            return
        self._bounds = sorted({bound for aggregation in found for bound in aggregation._boundaries})
        self._aggregations, self._storages = found, storages

    def _aggregations_in(self, storage: Any) -> list[Any]:
        """Return the aggregations for these attributes of one reader, one for each view.

        Raises:
            LookupError: a view leaves out attributes.
            TypeError: a view aggregates in another way, or the SDK is made otherwise.
        """
        sdk = _sdk()
        _expect(storage, sdk.storage)
        _expect(self._consumer._sdk_config.exemplar_filter, *sdk.filters)
        found = []
        for match in storage._instrument_view_instrument_matches[self._histogram]:
            _expect(match, sdk.match)
            aggregation = match._attributes_aggregation[sdk.key_of(self._attributes)]
            if type(aggregation) is not sdk.drop:
                _expect(aggregation, sdk.aggregation)
                _expect(aggregation._reservoir, sdk.reservoir)
                found.append(aggregation)
        return found


class Tallies:
    """The tallies of one histogram, one for each attribute set.

    Args:
        histogram: the histogram of the meter provider.
        has_type: whether the points carry `messaging.operation.type`.
    """

    def __init__(self, histogram: Histogram, *, has_type: bool = False) -> None:
        self.has_type = has_type
        self._histogram = histogram
        self._consumer = _consumer_of(histogram)
        self._tallies: dict[frozenset[tuple[str, Any]], Tally] = {}

    def of(self, attributes: Attributes) -> Tally:
        """Return the tally with these attributes. The caller may keep it."""
        key = frozenset(attributes.items())
        found = self._tallies.get(key)
        if found is None:
            found = self._tallies.setdefault(key, Tally(self._histogram, attributes, self._consumer))
        return found

    def collect(self) -> None:
        """Add all points so far to the SDK's aggregations, when a collection begins."""
        failures = []
        for tally in list(self._tallies.values()):
            try:
                tally.collect()
            except Exception as error:  # noqa: BLE001, PERF203 (the others are collected nevertheless)
                failures.append(error)
        if failures:
            raise failures[0]

    def restart(self) -> None:
        """Begin without points."""
        for tally in self._tallies.values():
            tally.restart()


class _Sdk(NamedTuple):
    """The SDK's private parts."""

    histogram: type
    consumer: type
    filters: tuple[type, ...]
    storage: type
    match: type
    aggregation: type
    drop: type
    reservoir: type
    key_of: Callable[[Attributes], Any]


@cache
def _sdk() -> _Sdk:
    """Return the SDK's private parts.

    Raises:
        ImportError: this release has a module elsewhere.
        AttributeError: this release has a class elsewhere.
    """
    instrument = import_module(f"{_SDK}._internal.instrument")
    consumer = import_module(f"{_SDK}._internal.measurement_consumer")
    exemplar = import_module(f"{_SDK}._internal.exemplar")
    storage = import_module(f"{_SDK}._internal.metric_reader_storage")
    match = import_module(f"{_SDK}._internal._view_instrument_match")
    aggregation = import_module(f"{_SDK}._internal.aggregation")
    return _Sdk(
        instrument._Histogram,
        consumer.SynchronousMeasurementConsumer,
        (exemplar.TraceBasedExemplarFilter, exemplar.AlwaysOffExemplarFilter),
        storage.MetricReaderStorage,
        match._ViewInstrumentMatch,
        aggregation._ExplicitBucketHistogramAggregation,
        aggregation._DropAggregation,
        exemplar.AlignedHistogramBucketExemplarReservoir,
        getattr(match, "_hash_attributes", lambda attributes: frozenset(attributes.items())),
    )


def _consumer_of(histogram: Histogram) -> Any:
    """Return the SDK's consumer of a histogram's points; `_UNKNOWN` if a type is not exactly the SDK's own."""
    if f"{_SDK}._internal" in sys.modules and _passes_self_test() and type(histogram) is _sdk().histogram:
        consumer: Any = getattr(histogram, "_measurement_consumer", None)
        if type(consumer) is _sdk().consumer:
            return consumer
    return _UNKNOWN


def _expect(part: object, *known: type) -> None:
    if type(part) not in known:
        msg = f"{type(part).__name__} is none of {[each.__name__ for each in known]}"
        raise TypeError(msg)


def _is_enabled(histogram: Any) -> bool:
    """Return whether a histogram is enabled. Those of old releases always are."""
    return not hasattr(histogram, "_is_enabled") or bool(histogram._is_enabled())


def _add(aggregation: Any, values: list[float], total: float) -> None:
    """Add points to an aggregation.

    Args:
        aggregation: an explicit bucket histogram.
        values: the values of the points, sorted.
        total: the sum of the values.
    """
    ends = [0, *(bisect_right(values, bound) for bound in aggregation._boundaries), len(values)]
    counts = [end - start for start, end in pairwise(ends)]
    with aggregation._lock:
        present = aggregation._value
        if present is not None:
            counts = [each + more for each, more in zip(present, counts, strict=True)]
        aggregation._value = counts
        aggregation._sum += total
        if aggregation._record_min_max:
            aggregation._min = min(aggregation._min, values[0])
            aggregation._max = max(aggregation._max, values[-1])


@cache
def _passes_self_test() -> bool:
    """Return whether the SDK of this process exports tallied points exactly like points of the public API."""
    try:
        return _tallies_equal_points()
    except Exception:  # noqa: BLE001 (whatever it is, this is not the SDK that is known)
        return False


def _tallies_equal_points() -> bool:
    metrics, export = import_module(_SDK), import_module(f"{_SDK}.export")
    resource = import_module("opentelemetry.sdk.resources").Resource({})
    exemplar_filter = _sdk().filters[0]()
    readers = [
        export.InMemoryMetricReader({metrics.Histogram: temporality})
        for temporality in (export.AggregationTemporality.CUMULATIVE, export.AggregationTemporality.DELTA)
    ]
    provider = metrics.MeterProvider(readers, resource, exemplar_filter, shutdown_on_exit=False)
    meter = provider.get_meter("otelkafka.self_test")
    public, tallied = (
        meter.create_histogram(name, explicit_bucket_boundaries_advisory=(1, 2, 4)) for name in ("public", "tallied")
    )
    attributes: Attributes = {"a": "b", "c": "d"}
    tally = Tally(tallied, attributes, tallied._measurement_consumer)

    def collect(_: CallbackOptions) -> Iterable[Observation]:
        tally.collect()
        return ()

    meter.create_observable_counter("collections", [collect])
    span = NonRecordingSpan(SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)))
    for values in ((0.3, 2, 2.5), (4, 0.1), (), (9.0,)):
        for value in values:
            public.record(value, attributes, set_span_in_context(span, _NOTHING))
            tally.add_recording(value, span)
            public.record(value, attributes, _NO_SPAN)
            tally.add(value)
        for reader in readers:
            points = _points_of(reader)
            if tally.is_public or not _are_equal(points.get("public"), points.get("tallied")):
                return False
    return True


def _points_of(reader: Any) -> dict[str, tuple[Any, Any]]:
    """Return the temporality and the one point of each histogram."""
    data = reader.get_metrics_data()
    found = [
        metric for resource in (data.resource_metrics if data else ()) for scope in resource.scope_metrics
        for metric in scope.metrics
    ]  # fmt: skip
    return {metric.name: (metric.data.aggregation_temporality, metric.data.data_points[0]) for metric in found}


def _are_equal(one: tuple[Any, Any] | None, other: tuple[Any, Any] | None) -> bool:
    if one is None or other is None:
        return one is other
    return _facts_of(*one) == _facts_of(*other) and isclose(one[1].sum, other[1].sum)


def _facts_of(temporality: Any, point: Any) -> tuple[Any, ...]:
    exemplars = [(each.value, each.span_id, each.trace_id) for each in point.exemplars]
    return (
        temporality,
        dict(point.attributes),
        tuple(point.explicit_bounds),
        tuple(point.bucket_counts),
        point.count,
        point.min,
        point.max,
        exemplars,
    )
