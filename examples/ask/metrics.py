"""The metrics that came by OTLP, in memory: a history of the few that show where the time goes."""

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from examples.ask.glass import PIPELINE, Glass
from examples.ask.traces import attributes_of

KEPT = 600
TIME, LAG, QUEUE = "otelkafka.consumer.time", "otelkafka.consumer.lag", "otelkafka.queue.duration"
STATE = "otelkafka.consumer.state"


@dataclass(frozen=True)
class Sample:
    """What the consumers reported at a moment, in seconds since 1970; all but the lag are totals since their start."""

    moment: float
    busy: float
    fetch: float
    lag: float
    waited: float
    processed: int


@dataclass(frozen=True)
class Interval:
    """What happened between two samples.

    Attributes:
        moment: its end, in seconds since 1970.
        busy: the share of the consumers' time spent in their own code, 0 to 1.
        lag: records behind, of all partitions, as of the last record handed over.
        waited: the mean time in the queue of the records that came into process, in seconds; None: none did.
    """

    moment: float
    busy: float
    lag: float
    waited: float | None


class Metrics:
    """The history of all consumers together.

    Attributes:
        glass: how long records took from their origin to the end of their processing.
    """

    def __init__(self) -> None:
        self.glass = Glass()
        self._lock = threading.Lock()
        self._latest: dict[str, Sample] = {}
        self._history: deque[Sample] = deque(maxlen=KEPT)

    def receive(self, body: bytes) -> None:
        """Take an OTLP request to export metrics, as protobuf.

        Raises:
            google.protobuf.message.DecodeError: it is none.
        """
        request = ExportMetricsServiceRequest.FromString(body)
        for resource_metrics in request.resource_metrics:
            instance = str(attributes_of(resource_metrics.resource.attributes).get("service.instance.id"))
            points = _points(resource_metrics)
            self.glass.keep(instance, points.get(PIPELINE, []))
            if TIME in points:
                self._keep(instance, _sample(points))

    def _keep(self, instance: str, sample: Sample) -> None:
        with self._lock:
            self._latest[instance] = sample
            each = self._latest.values()
            self._history.append(
                Sample(
                    sample.moment,
                    sum(one.busy for one in each),
                    sum(one.fetch for one in each),
                    sum(one.lag for one in each),
                    sum(one.waited for one in each),
                    sum(one.processed for one in each),
                )
            )

    def intervals(self) -> list[Interval]:
        """Return what happened from sample to sample."""
        with self._lock:
            history, consumers = list(self._history), len(self._latest)
        # From one sample to the next only one of the consumers has reported something new.
        return [_between(before, after) for before, after in zip(history, history[consumers:], strict=False)]


def _points(resource_metrics: Any) -> dict[str, list[Any]]:
    return {
        metric.name: list(getattr(metric, metric.WhichOneof("data")).data_points)
        for scope_metrics in resource_metrics.scope_metrics
        for metric in scope_metrics.metrics
    }


def _sample(points: dict[str, list[Any]]) -> Sample:
    time = {"busy": 0.0, "fetch": 0.0}
    for point in points[TIME]:
        time[attributes_of(point.attributes)[STATE]] += _number(point)
    queue = points.get(QUEUE, [])
    return Sample(
        moment=max(point.time_unix_nano for point in points[TIME]) / 1e9,
        lag=sum(map(_number, points.get(LAG, []))),
        waited=sum(point.sum for point in queue),
        processed=sum(point.count for point in queue),
        **time,
    )


def _number(point: Any) -> float:
    return float(getattr(point, point.WhichOneof("value")))


def _between(before: Sample, after: Sample) -> Interval:
    busy, fetch, count = after.busy - before.busy, after.fetch - before.fetch, after.processed - before.processed
    return Interval(
        moment=after.moment,
        busy=busy / (busy + fetch) if busy + fetch > 0 else 0.0,
        lag=after.lag,
        waited=(after.waited - before.waited) / count if count > 0 else None,
    )
