"""Time to glass, as it came by OTLP: of each topic a histogram, of all consumers together."""

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from examples.ask.traces import attributes_of

PIPELINE = "otelkafka.pipeline.duration"
TOPIC, TEMPLATE = "messaging.destination.name", "messaging.destination.template"


@dataclass(frozen=True)
class Bar:
    """Records that took about as long.

    Attributes:
        range: how long, in words.
        share: the share of the most frequent, 0 to 1.
        trace_id: the trace id of one of them, where an exemplar named it.
    """

    range: str
    count: int
    share: float
    trace_id: str | None


@dataclass(frozen=True)
class TimeToGlass:
    """How long the records of a topic took; durations are in seconds."""

    topic: str
    count: int
    mean: float
    longest: float
    bars: list[Bar]


class Glass:
    """What the consumers reported last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._points: dict[str, list[Any]] = {}
        self._exemplars: dict[tuple[str, int], str] = {}

    def keep(self, instance: str, points: list[Any]) -> None:
        """Take the report of a consumer: totals since its start, and exemplars since its last report."""
        with self._lock:
            self._points[instance] = points
            for point in points:
                for exemplar in point.exemplars:
                    bucket = bisect_left(point.explicit_bounds, exemplar.as_double)
                    self._exemplars[_topic(point), bucket] = exemplar.trace_id.hex()

    def topics(self) -> list[TimeToGlass]:
        """Return each topic's, by name."""
        with self._lock:
            topics = defaultdict(list)
            for points in self._points.values():
                for point in points:
                    topics[_topic(point)].append(point)
            return [self._together(topic, points) for topic, points in sorted(topics.items())]

    def _together(self, topic: str, points: list[Any]) -> TimeToGlass:
        count = sum(point.count for point in points)
        mean = sum(point.sum for point in points) / count
        return TimeToGlass(topic, count, mean, max(point.max for point in points), list(self._bars(topic, points)))

    def _bars(self, topic: str, points: list[Any]) -> Iterator[Bar]:
        """Yield a bar per bucket, from the first to the last that is not empty."""
        counts = [sum(each) for each in zip(*(point.bucket_counts for point in points), strict=True)]
        used = [bucket for bucket, count in enumerate(counts) if count]
        for bucket in range(used[0], used[-1] + 1):
            words = _range(points[0].explicit_bounds, bucket)
            yield Bar(words, counts[bucket], counts[bucket] / max(counts), self._exemplars.get((topic, bucket)))


def _topic(point: Any) -> str:
    attributes = attributes_of(point.attributes)
    return str(attributes.get(TEMPLATE) or attributes.get(TOPIC))


def _range(bounds: Iterable[float], bucket: int) -> str:
    low, *rest = [0.0, *bounds][bucket : bucket + 2]
    return f"{low:g} to {rest[0]:g} s" if rest else f"over {low:g} s"
