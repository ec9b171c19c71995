"""What was set as a target, and whether the figures meet it."""

from collections.abc import Callable, Iterator
from statistics import median
from typing import NamedTuple

from benchmarks.end_to_end import ACTIONS as ON_KAFKA
from benchmarks.modes import MODES
from benchmarks.own_cost import WITH_METRICS
from benchmarks.results import Results

SEND = {"no-sdk": 0.8, "never": 0.35, "ratio": 0.35, "always": 1.15}
RECORD = {"no-sdk": 0.4, "never": 0.22, "ratio": 0.22, "always": 1.0}
KEPT = {"send": 0.92, "iterate": 0.85, "poll": 0.85}
UNSAMPLED = ("never", "ratio")
WRAPPED, INSTRUMENTED = "wrapped", "instrumented"
Figure = Callable[[Results, str], "float | None"]


class Target(NamedTuple):
    """One thing that was promised.

    Args:
        what: in words.
        limit: which must not be passed.
        figure: returns the measured figure of a face; None where there is none.
        at_least: whether the limit is the least that will do.
        faces: which can be measured.
    """

    what: str
    limit: float
    figure: Figure
    at_least: bool = False
    faces: tuple[str, ...] = (WRAPPED, INSTRUMENTED)

    def is_met(self, figure: float) -> bool:
        """Return whether a figure meets the limit."""
        return figure >= self.limit if self.at_least else figure <= self.limit

    @property
    def wanted(self) -> str:
        """The limit in words."""
        return f"at {'least' if self.at_least else 'most'} {self.limit:g}"


def targets() -> Iterator[Target]:
    """Return all of them."""
    for mode, limit in SEND.items():
        yield _ratio("a send", "send", mode, limit)
    for what, action in (("a record iterated", "iterate"), ("a record of a polled list", "poll")):
        for mode, limit in RECORD.items():
            yield _ratio(what, action, mode, limit)
    for mode in UNSAMPLED:
        yield _ratio("a record of a polled list with poll spans", "poll-spans", mode, 1.0)
    for action in ("send", "iterate", "poll"):
        yield Target(f"{action}: what metrics add, to the SDK's histograms and counter alone", 0.2, _metrics(action))
    for what, action in (("a record iterated", "iterate"), ("a record of a polled list", "poll")):
        yield _ratio(f"{what}, with metrics", action, "ratio", 0.4, WITH_METRICS)
    yield Target("counting once, us", 0.3, lambda found, _: found.counter(), faces=(WRAPPED,))
    for action in ON_KAFKA:
        yield Target(
            f"{action} on Kafka, ratio: kept of the bare client's throughput",
            KEPT[action],
            _kept(action),
            True,
            (WRAPPED,),
        )
        for other, limit in (("minimum", 0.95), ("contrib", 1.0)):
            yield Target(
                f"{action} on Kafka: kept of the throughput with {other}, worst mode",
                limit,
                _beats(action, other),
                True,
                (WRAPPED,),
            )
    yield Target("async for on Kafka, ratio: kept of aiokafka's throughput", 0.9, _kept_awaited, True, (WRAPPED,))
    yield Target("memory more than the bare client's, MiB", 5, lambda found, face: found.grown(face))
    yield Target("sends in flight at the end", 0, _left("in_flight"))
    yield Target("threads more than the bare client's", 0, _left("threads"))
    yield Target("import, ms", 60, _import, faces=(WRAPPED,))


def _ratio(what: str, action: str, mode: str, limit: float, more: str = "") -> Target:
    case = f"{action} {mode}"
    return Target(
        f"{what}, {mode}: cost to the minimum's", limit, lambda found, face: found.worst_ratio(case, face + more)
    )


def _metrics(action: str) -> Figure:
    return lambda found, face: found.metrics_ratio(action, face)


def _kept(action: str) -> Figure:
    def figure(found: Results, face: str) -> float | None:
        kept = found.kept(f"{action} ratio", face)
        return median(kept) if kept else None

    return figure


def _kept_awaited(found: Results, face: str) -> float | None:
    rates = found.found.get("aiokafka on Kafka", {}).get("async for ratio")
    return median(rate / whole for rate, whole in zip(rates[face], rates["bare"], strict=True)) if rates else None


def _beats(action: str, other: str) -> Figure:
    def figure(found: Results, face: str) -> float | None:
        kept = [found.kept(f"{action} {mode}", face, other) for mode in MODES]
        return min((median(each) for each in kept if each), default=None)

    return figure


def _left(name: str) -> Figure:
    def figure(found: Results, face: str) -> float | None:
        memory = found.found.get("memory")
        return memory[face][name] - memory["bare"][name] if memory else None

    return figure


def _import(found: Results, _: str) -> float | None:
    taken = found.found.get("import")
    return median(taken) if taken else None
