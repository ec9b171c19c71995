"""kafka-python's own metrics as OpenTelemetry metrics, by its option `metric_reporters=[...]`."""

import math
import re
from collections.abc import Iterable
from functools import lru_cache
from threading import RLock
from types import ModuleType
from typing import Any, ClassVar, NamedTuple
from weakref import WeakSet

from kafka.metrics.metrics_reporter import AbstractMetricsReporter
from kafka.metrics.stats.total import Total
from opentelemetry import metrics as api
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation

from otelkafka._telemetry import scope, semconv
from otelkafka._telemetry.attributes import Attributes
from otelkafka._telemetry.guard import Guard
from otelkafka._telemetry.metrics import PerProvider, Reading, bounded, merged

_UNCOUNTED = "kafka-metrics-count"
_UNITS = (
    (r"latency|-time-", "s", 0.001),
    (r"age$|seconds-ago$", "s", 1),
    (r"byte.*-rate$|bytes.*-rate$", "By/s", 1),
    (r"-size-", "By", 1),
    (r"^records-(lag|per-request)", "{record}", 1),
    (r"^records?-.*-rate$", "{record}/s", 1),
    (r"^connection-count$", "{connection}", 1),
    (r"^connection-.*-rate$", "{connection}/s", 1),
    (r"^requests-", "{request}", 1),
    (r"^assigned-partitions$", "{partition}", 1),
    (r"compression", "1", 1),
    (r"-rate$", "{operation}/s", 1),
)
_SUMMED = re.compile(r"-rate$|-count$|-in-flight$|^assigned-|-total$")
_guard = Guard(lambda *_: None)


class Figure(NamedTuple):
    """What one of kafka-python's figures is called and counted in.

    Args:
        name: of its instrument.
        unit: of its instrument.
        factor: from kafka-python's unit to that one.
        description: of its instrument.
        attributes: of its value.
        summed: whether clients of equal attributes add up; else the largest stands for them.
        monotonic: whether it only grows.
    """

    name: str
    unit: str
    factor: float
    description: str
    attributes: Attributes
    summed: bool
    monotonic: bool


def metrics_reporter(meter_provider: MeterProvider | None = None) -> type[AbstractMetricsReporter]:
    """Return a class for kafka-python's option `metric_reporters=[...]`, which reports its metrics to OpenTelemetry.

    For example, `record-queue-time-avg` of `producer-metrics` becomes the gauge `kafka.producer.record_queue_time_avg`.
    Metrics of a node, a topic or a partition have other names, so that a sum over one name counts nothing twice. Times
    are in seconds.

    Args:
        meter_provider: makes the instruments. None for the global one, also if it is set later.

    Raises:
        TypeError: `meter_provider` is not a meter provider.
    """
    if isinstance(meter_provider, type | ModuleType):
        kind = "class" if isinstance(meter_provider, type) else "module"
        msg = f"metrics_reporter({meter_provider.__name__}): give an instance, not the {kind}"
        raise TypeError(msg)
    if meter_provider is not None and not callable(getattr(meter_provider, "get_meter", None)):
        given = type(meter_provider).__name__
        msg = f"metrics_reporter({given}): give an object with get_meter(), or None for the global one"
        raise TypeError(msg)
    return _reporter_of(_registry_of(meter_provider))


class Registry:
    """The instruments of one meter provider, and the reporters that they ask.

    Args:
        meter: makes the instruments.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._names: set[str] = set()
        self._lock = RLock()
        self._kept: dict[str, dict[frozenset[Any], Reading]] = {}
        self.reporters: WeakSet[KafkaMetricsReporter] = WeakSet()

    def restart(self) -> None:
        """Begin without the clients of a parent process."""
        self._lock = RLock()
        self._kept.clear()
        self.reporters.clear()

    def ensure(self, figure: Figure) -> None:
        """Make the instrument of a figure, once; again where that failed, was interrupted, or cut off by a fork."""

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return self._observe(figure)

        create = self._meter.create_observable_counter if figure.monotonic else self._meter.create_observable_gauge
        with self._lock:
            if figure.name not in self._names:
                create(figure.name, [observe], figure.unit, figure.description)
                self._names.add(figure.name)

    def keep(self, figure: Figure, value: float) -> None:
        """Take over the last value of what only grows: it outlives its client."""
        kept = self._kept.setdefault(figure.name, {})
        key, attributes = bounded(figure.attributes, kept)
        kept[key] = (attributes, value + kept.get(key, (None, 0.0))[1])

    def _observe(self, figure: Figure) -> list[Observation]:
        living = (reading for reporter in list(self.reporters) for reading in reporter.read(figure.name))
        return merged([*self._kept.get(figure.name, {}).values(), *living], sum if figure.summed else max)


class KafkaMetricsReporter(AbstractMetricsReporter):  # type: ignore[misc]
    """Keeps the figures of one client; kafka-python makes it, of the class that `metrics_reporter()` returns."""

    registry: ClassVar[Registry]

    def __init__(self) -> None:
        self._metrics: dict[Any, tuple[Figure, Any]] = {}
        self.registry.reporters.add(self)

    def configure(self, configs: Any) -> None:
        """Take no configuration: there is none."""

    def init(self, metrics: Any) -> None:
        """Add the figures that are there from the start; kafka-python calls it once."""
        for metric in metrics:
            self.metric_change(metric)

    def metric_change(self, metric: Any) -> None:
        """Add a figure that is new, or was replaced; kafka-python calls it."""
        _guard.call("metric_change", None, self._add, metric)

    def metric_removal(self, metric: Any) -> None:
        """Remove a figure; kafka-python calls it."""
        _guard.call("metric_removal", None, self._remove, metric.metric_name)

    def close(self) -> None:
        """Remove all figures; kafka-python calls it when the client is closed."""
        for name in list(self._metrics):
            _guard.call("close", None, self._remove, name)

    def read(self, name: str) -> Iterable[Reading]:
        """Return the values under one instrument's name; a figure that fails or has no value is left out."""
        for figure, metric in list(self._metrics.values()):
            if figure.name == name:
                value = _guard.call("value", None, _value, metric, figure.factor)
                if value is not None:
                    yield figure.attributes, value

    def _add(self, metric: Any) -> None:
        figure = figure_of(metric)
        if figure is not None:
            self._metrics[metric.metric_name] = (figure, metric)
            self.registry.ensure(figure)

    def _remove(self, name: Any) -> None:
        figure, metric = self._metrics.pop(name, (None, None))
        if figure is not None and figure.monotonic:
            self.registry.keep(figure, _value(metric, figure.factor) or 0.0)


def figure_of(metric: Any) -> Figure | None:
    """Return what a `KafkaMetric` is called and counted in; None for the one that counts figures."""
    name = metric.metric_name
    if name.group == _UNCOUNTED:
        return None
    group, _, of = name.group.partition(".")
    side, _, part = group.removesuffix("-metrics").partition("-")
    tags = {**(name.tags or {}), **_tag(part, of)}
    levels = [level for level in ("topic", "partition") if level in tags and level != part]
    path = [side, part, *levels[-1:], name.name]
    unit, factor = next(((unit, by) for pattern, unit, by in _UNITS if re.search(pattern, name.name)), ("1", 1))
    return Figure(
        ".".join(["kafka", *(each.replace("-", "_") for each in path if each)]),
        unit,
        factor,
        re.sub(r" for topic .*", " for a topic", name.description or ""),
        {_ATTRIBUTES.get(tag, tag): value for tag, value in tags.items()},
        bool(_SUMMED.search(name.name)),
        isinstance(metric.measurable, Total),
    )


_ATTRIBUTES = {
    "client-id": semconv.MESSAGING_CLIENT_ID,
    "topic": semconv.MESSAGING_DESTINATION_NAME,
    "partition": semconv.MESSAGING_DESTINATION_PARTITION_ID,
    "node": semconv.NODE_ID,
}


def _tag(part: str, of: str) -> dict[str, str]:
    """Return what kafka-python writes into the name of a group: `producer-node-metrics.node-1`."""
    return {part: of.removeprefix("node-") if part == "node" else of} if of else {}


def _value(metric: Any, factor: float) -> float | None:
    value = metric.value()
    return value * factor if isinstance(value, int | float) and math.isfinite(value) else None


_SCOPE = "otelkafka.reporter"


def _make_registry(provider: MeterProvider) -> Registry:
    return Registry(provider.get_meter(_SCOPE, scope.VERSION, semconv.SCHEMA_URL))


class _GlobalProvider(MeterProvider):
    """Stands for the global provider, whichever that will be."""

    def get_meter(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Any = None,  # noqa: ARG002 (of the signature)
    ) -> Meter:
        """Return a meter of the global provider; before there is one, a meter that becomes one of its."""
        return api.get_meter(name, version or "", schema_url=schema_url)


_registries = PerProvider(_make_registry)
_global = _GlobalProvider()


def _registry_of(provider: MeterProvider | None) -> Registry:
    """Return the one registry of a provider."""
    present = api.get_meter_provider()
    listener = present if provider is None else provider
    if listener is present and present not in _registries:
        listener = _global
    registry = _registries.of(listener)
    if registry is None:
        msg = f"metrics_reporter({type(listener).__name__}): its get_meter() raised when it was called first"
        raise RuntimeError(msg)
    return registry


@lru_cache(maxsize=64)
def _reporter_of(registry: Registry) -> type[KafkaMetricsReporter]:
    return type("MetricsReporter", (KafkaMetricsReporter,), {"registry": registry})
