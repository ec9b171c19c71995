"""The client libraries' own metrics as OpenTelemetry metrics.

Of kafka-python by its option `metric_reporters=[...]`, of librdkafka by the option `stats_cb` of confluent-kafka.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from threading import RLock
from types import ModuleType
from typing import Any, ClassVar, NamedTuple
from weakref import WeakSet

from kafka.metrics.metrics_reporter import AbstractMetricsReporter
from kafka.metrics.stats.total import Total
from opentelemetry import metrics as api
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation

from otelkafka._telemetry import clock, scope, semconv
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
    """The instrument of one figure of a client library.

    Args:
        name: the name of the instrument.
        unit: the unit of the instrument.
        factor: converts the unit of the library to that unit.
        description: the description of the instrument.
        attributes: the attributes of the value.
        summed: whether values of clients with equal attributes are added; otherwise the largest is used.
        monotonic: whether the value only grows.
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
    return _reporter_of(_registry_of("metrics_reporter", meter_provider))


def statistics_reporter(meter_provider: MeterProvider | None = None) -> Callable[[str], None]:
    """Return a function for confluent-kafka's option `stats_cb`, which reports librdkafka's figures to OpenTelemetry.

    The option `statistics.interval.ms` says how often librdkafka measures. For example, `msg_cnt` of a producer becomes
    the gauge `librdkafka.producer.queue.messages`. Figures of a broker, a topic or a partition have other names, so
    that a sum over one name counts nothing twice. Times are in seconds. Several clients may share the function.

    Args:
        meter_provider: makes the instruments. None for the global one, also if it is set later.

    Raises:
        TypeError: `meter_provider` is not a meter provider.
    """
    return Statistics(_registry_of("statistics_reporter", meter_provider))


class Registry:
    """The instruments of one meter provider, and the reporters that give their values.

    Args:
        meter: makes the instruments.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._names: set[str] = set()
        self._lock = RLock()
        self._kept: dict[str, dict[frozenset[Any], Reading]] = {}
        self.reporters: WeakSet[KafkaMetricsReporter | Statistics] = WeakSet()

    def restart(self) -> None:
        """Forget the clients of the parent process."""
        self._lock = RLock()
        self._kept.clear()
        self.reporters.clear()

    def ensure(self, figure: Figure) -> None:
        """Make the instrument of a figure, once; again if that failed, or was cut off by an interrupt or a fork."""

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return self._observe(figure)

        create = self._meter.create_observable_counter if figure.monotonic else self._meter.create_observable_gauge
        with self._lock:
            if figure.name not in self._names:
                create(figure.name, [observe], figure.unit, figure.description)
                self._names.add(figure.name)

    def keep(self, figure: Figure, value: float) -> None:
        """Keep the last value of a figure that only grows. It stays when the client is gone."""
        kept = self._kept.setdefault(figure.name, {})
        key, attributes = bounded(figure.attributes, kept)
        kept[key] = (attributes, value + kept.get(key, (None, 0.0))[1])

    def _observe(self, figure: Figure) -> list[Observation]:
        living = (reading for reporter in list(self.reporters) for reading in reporter.read(figure.name))
        return merged([*self._kept.get(figure.name, {}).values(), *living], sum if figure.summed else max)


class KafkaMetricsReporter(AbstractMetricsReporter):  # type: ignore[misc]
    """Keeps the figures of one client. kafka-python makes it, from the class that `metrics_reporter()` returns."""

    registry: ClassVar[Registry]

    def __init__(self) -> None:
        self._metrics: dict[Any, tuple[Figure, Any]] = {}
        self.registry.reporters.add(self)

    def configure(self, configs: Any) -> None:
        """Do nothing: there is no configuration."""

    def init(self, metrics: Any) -> None:
        """Add the figures that exist at the start. kafka-python calls this once."""
        for metric in metrics:
            self.metric_change(metric)

    def metric_change(self, metric: Any) -> None:
        """Add a figure that is new, or was replaced. kafka-python calls this."""
        _guard.call("metric_change", None, self._add, metric)

    def metric_removal(self, metric: Any) -> None:
        """Remove a figure. kafka-python calls this."""
        _guard.call("metric_removal", None, self._remove, metric.metric_name)

    def close(self) -> None:
        """Remove all figures. kafka-python calls this when the client is closed."""
        for name in list(self._metrics):
            _guard.call("close", None, self._remove, name)

    def read(self, name: str) -> Iterable[Reading]:
        """Return the values of one instrument. A figure that fails or has no value is left out."""
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
    """Return the figure of a `KafkaMetric`; None for the metric that counts metrics."""
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
    """Return what kafka-python appends to the name of a group: `node-1` of `producer-node-metrics.node-1`."""
    return {part: of.removeprefix("node-") if part == "node" else of} if of else {}


def _value(metric: Any, factor: float) -> float | None:
    value = metric.value()
    return value * factor if isinstance(value, int | float) and math.isfinite(value) else None


class _Statistic(NamedTuple):
    """One of librdkafka's figures.

    Args:
        path: the keys that lead to it in the statistics of its level.
        name: the name of the instrument, after the level.
        unit: the unit of the instrument.
        description: the description of the instrument.
        factor: converts the unit of librdkafka to that unit.
        summed: whether values of clients with equal attributes are added.
        monotonic: whether the value only grows.
    """

    path: str
    name: str
    unit: str
    description: str
    factor: float = 1
    summed: bool = True
    monotonic: bool = False


_MICROSECOND, _MILLISECOND = 1e-6, 1e-3


def _window(path: str, name: str, unit: str, description: str, factor: float = 1) -> tuple[_Statistic, ...]:
    """Return the average and the p99 of a value that librdkafka keeps a window of."""
    return (
        _Statistic(f"{path}.avg", f"{name}_avg", unit, f"{description}, average", factor, summed=False),
        _Statistic(f"{path}.p99", f"{name}_p99", unit, f"{description}, 99th percentile", factor, summed=False),
    )


def _counter(path: str, name: str, unit: str, description: str) -> _Statistic:
    return _Statistic(path, name, unit, description, monotonic=True)


_OF_CLIENT = (
    _Statistic("replyq", "callbacks", "{operation}", "Operations that wait for the application's poll()"),
    _counter("tx", "requests", "{request}", "Requests sent"),
    _counter("tx_bytes", "sent", "By", "Bytes sent"),
    _counter("rx", "responses", "{response}", "Responses received"),
    _counter("rx_bytes", "received", "By", "Bytes received"),
)
_OF_BROKER = (
    *_window("rtt", "request_latency", "s", "Time from a request to its response", _MICROSECOND),
    *_window("outbuf_latency", "output_latency", "s", "Time of a request in the output queue", _MICROSECOND),
    *_window("throttle", "throttle_time", "s", "Time that the broker throttles for", _MILLISECOND),
    _Statistic("outbuf_cnt", "output_queue", "{request}", "Requests that wait to be sent"),
    _Statistic("waitresp_cnt", "requests_in_flight", "{request}", "Requests that wait for a response"),
    _counter("txerrs", "send_errors", "{error}", "Requests that could not be sent"),
    _counter("txretries", "retries", "{request}", "Requests sent again"),
    _counter("req_timeouts", "timeouts", "{request}", "Requests that timed out"),
    _counter("connects", "connects", "{connection}", "Attempts to connect"),
    _counter("disconnects", "disconnects", "{connection}", "Connections that ended"),
)
_STATISTICS: Mapping[str, Mapping[str, tuple[_Statistic, ...]]] = {
    "producer": {
        "": (
            *_OF_CLIENT,
            _Statistic("msg_cnt", "queue.messages", "{message}", "Messages that wait in the producer"),
            _Statistic("msg_size", "queue.size", "By", "Size of the messages that wait in the producer"),
            _Statistic("msg_max", "queue.messages_limit", "{message}", "Most messages that may wait in the producer"),
            _Statistic("msg_size_max", "queue.size_limit", "By", "Largest size of what may wait in the producer"),
            _counter("txmsgs", "sent_messages", "{message}", "Messages sent"),
            _counter("txmsg_bytes", "sent_messages_size", "By", "Size of the messages sent"),
        ),
        "broker": (
            *_OF_BROKER,
            *_window("int_latency", "queue_latency", "s", "Time of a message in the producer's queue", _MICROSECOND),
        ),
        "topic": (
            *_window("batchsize", "batch_size", "By", "Size of a batch"),
            *_window("batchcnt", "batch_messages", "{message}", "Messages in a batch"),
        ),
        "partition": (
            _Statistic("msgq_cnt", "queue", "{message}", "Messages that wait to be batched"),
            _Statistic("xmit_msgq_cnt", "send_queue", "{message}", "Messages that wait to be sent"),
            _Statistic("msgs_inflight", "messages_in_flight", "{message}", "Messages that wait for an acknowledgement"),
        ),
    },
    "consumer": {
        "": (
            *_OF_CLIENT,
            _counter("rxmsgs", "received_messages", "{message}", "Messages received"),
            _counter("rxmsg_bytes", "received_messages_size", "By", "Size of the messages received"),
        ),
        "broker": _OF_BROKER,
        "partition": (
            _Statistic("fetchq_cnt", "fetch_queue.messages", "{message}", "Messages fetched before they are asked for"),
            _Statistic("fetchq_size", "fetch_queue.size", "By", "Size of the messages fetched before"),
            _Statistic("consumer_lag", "lag", "{message}", "Messages after the last one handed over"),
            _Statistic("consumer_lag_stored", "lag_stored", "{message}", "Messages after the stored offset"),
        ),
        "group": (
            _Statistic("assignment_size", "assigned_partitions", "{partition}", "Partitions assigned"),
            _Statistic("rebalance_age", "rebalance_age", "s", "Time since a rebalance", _MILLISECOND, summed=False),
            _counter("rebalance_cnt", "rebalances", "{rebalance}", "Rebalances"),
        ),
    },
}
"""By the type of client and the level of what is measured, as librdkafka's STATISTICS.md describes it."""

_FIGURES = {
    (kind, level): [
        (
            each.path,
            Figure(
                ".".join(["librdkafka", kind, *([level] if level else ()), each.name]),
                each.unit,
                each.factor,
                each.description,
                {},
                each.summed,
                each.monotonic,
            ),
        )
        for each in statistics
    ]
    for kind, levels in _STATISTICS.items()
    for level, statistics in levels.items()
}
_HANDLE = re.compile(r'"name":\s*"((?:[^"\\]|\\.)*)"')
_STALE, _GONE = 3, 30
"""After how many intervals without a report the gauges of a client vanish, and after how many it is forgotten."""
_FIRST_INTERVAL, _SHORTEST_INTERVAL = 60.0, 1.0


class _Report:
    """The last report of one client.

    Args:
        text: the report, which is parsed when it is read.
        time: when it came, in seconds of the monotonic clock.
        interval: the seconds since the report before.
    """

    def __init__(self, text: str, time: float, interval: float) -> None:
        self.time = time
        self.interval = interval
        self._text = text
        self._readings: dict[str, list[tuple[Figure, Reading]]] | None = None

    @property
    def readings(self) -> dict[str, list[tuple[Figure, Reading]]]:
        """Return the figures and their values, by the names of the instruments."""
        if self._readings is None:
            found: dict[str, list[tuple[Figure, Reading]]] = {}
            _guard.call("stats_cb", None, self._parse, found)
            self._readings, self._text = found, ""
        return self._readings

    def _parse(self, found: dict[str, list[tuple[Figure, Reading]]]) -> None:
        for figure, reading in _readings(json.loads(self._text)):
            found.setdefault(figure.name, []).append((figure, reading))


class Statistics:
    """Reports the statistics of clients of confluent-kafka, which call it with each report.

    Args:
        registry: the registry of the instruments.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._reports: dict[str, _Report] = {}
        self._kinds: set[str] = set()
        registry.reporters.add(self)

    def __call__(self, statistics: str) -> None:
        """Keep the statistics of a client until they are collected."""
        _guard.call("stats_cb", None, self._keep, statistics)

    def _keep(self, statistics: str) -> None:
        found = _HANDLE.search(statistics)
        if found is None:
            return
        handle, now = found[1], clock.monotonic()
        before = self._reports.get(handle)
        interval = _FIRST_INTERVAL if before is None else max(now - before.time, _SHORTEST_INTERVAL)
        self._reports[handle] = _Report(statistics, now, interval)
        kind = "producer" if "#producer-" in handle else "consumer"
        if kind not in self._kinds:
            for (of, _), figures in _FIGURES.items():
                for _, figure in figures if of == kind else ():
                    self._registry.ensure(figure)
            self._kinds.add(kind)

    def read(self, name: str) -> Iterable[Reading]:
        """Return the values of one instrument. Gauges of a client that no longer reports are left out."""
        now = clock.monotonic()
        for handle, report in list(self._reports.items()):
            age = now - report.time
            if age > _GONE * report.interval:
                self._forget(handle)
                continue
            for figure, reading in report.readings.get(name, ()):
                if figure.monotonic or age <= _STALE * report.interval:
                    yield reading

    def _forget(self, handle: str) -> None:
        report = self._reports.pop(handle, None)
        for readings in report.readings.values() if report else ():
            for figure, (attributes, value) in readings:
                if figure.monotonic:
                    self._registry.keep(figure._replace(attributes=attributes), value)


def _readings(statistics: Any) -> Iterator[tuple[Figure, Reading]]:
    """Yield the figures of a client's statistics and their values."""
    kind = statistics["type"]
    client: Attributes = {semconv.MESSAGING_CLIENT_ID: statistics["client_id"]}
    yield from _level(kind, "", statistics, client)
    for broker in statistics.get("brokers", {}).values():
        if broker.get("nodeid", -1) >= 0 and broker.get("source") != "logical":
            yield from _level(kind, "broker", broker, {**client, semconv.NODE_ID: str(broker["nodeid"])})
    for topic in statistics.get("topics", {}).values():
        of_topic = {**client, semconv.MESSAGING_DESTINATION_NAME: topic["topic"]}
        yield from _level(kind, "topic", topic, of_topic)
        for partition in topic.get("partitions", {}).values():
            number = partition["partition"]
            if number >= 0:
                place = {**of_topic, semconv.MESSAGING_DESTINATION_PARTITION_ID: str(number)}
                yield from _level(kind, "partition", partition, place)
    if "cgrp" in statistics:
        yield from _level(kind, "group", statistics["cgrp"], client)


def _level(kind: str, level: str, found: Any, attributes: Attributes) -> Iterator[tuple[Figure, Reading]]:
    for path, figure in _FIGURES.get((kind, level), ()):
        name, _, part = path.partition(".")
        value = found.get(name)
        if part:
            value = value.get(part) if isinstance(value, dict) and value.get("cnt") else None
        if isinstance(value, int | float) and value >= 0:
            yield figure, (attributes, value * figure.factor)


_SCOPE = "otelkafka.reporter"


def _make_registry(provider: MeterProvider) -> Registry:
    return Registry(provider.get_meter(_SCOPE, scope.VERSION, semconv.SCHEMA_URL))


class _GlobalProvider(MeterProvider):
    """Stands for the global provider, also if it is set later."""

    def get_meter(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Any = None,  # noqa: ARG002 (of the signature)
    ) -> Meter:
        """Return a meter of the global provider. If that is set later, the meter becomes one of its meters."""
        return api.get_meter(name, version or "", schema_url=schema_url)


_registries = PerProvider(_make_registry)
_global = _GlobalProvider()


def _registry_of(call: str, provider: MeterProvider | None) -> Registry:
    """Return the one registry of a provider. `call` is the function that got the provider."""
    if isinstance(provider, type | ModuleType):
        kind = "class" if isinstance(provider, type) else "module"
        msg = f"{call}({provider.__name__}): give an instance, not the {kind}"
        raise TypeError(msg)
    if provider is not None and not callable(getattr(provider, "get_meter", None)):
        msg = f"{call}({type(provider).__name__}): give an object with get_meter(), or None for the global one"
        raise TypeError(msg)
    present = api.get_meter_provider()
    listener = present if provider is None else provider
    if listener is present and present not in _registries:
        listener = _global
    registry = _registries.of(listener)
    if registry is None:
        msg = f"{call}({type(listener).__name__}): its get_meter() raised when it was called first"
        raise RuntimeError(msg)
    return registry


@lru_cache(maxsize=64)
def _reporter_of(registry: Registry) -> type[KafkaMetricsReporter]:
    return type("MetricsReporter", (KafkaMetricsReporter,), {"registry": registry})
