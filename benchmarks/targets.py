"""What was set as a target, and whether the figures meet it."""

from collections.abc import Callable, Iterator
from statistics import median
from typing import NamedTuple

from benchmarks.end_to_end import ACTIONS as ON_KAFKA
from benchmarks.modes import MODES
from benchmarks.results import Results

SEND = {"no-sdk": 1.0, "never": 0.5, "ratio": 0.4, "always": 1.15}
RECORD = {"no-sdk": 0.4, "never": 0.25, "ratio": 0.25, "always": 1.15}
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
        """Tell whether a figure will do."""
        return figure >= self.limit if self.at_least else figure <= self.limit

    @property
    def wanted(self) -> str:
        """The limit in words."""
        return f"at {'least' if self.at_least else 'most'} {self.limit:g}"


def targets() -> Iterator[Target]:
    """Return all of them."""
    for mode, limit in SEND.items():
        yield _ratio("a send", "send", mode, limit)
    for mode, limit in RECORD.items():
        yield _ratio("a record iterated", "iterate", mode, limit)
    for what, action in (("a record of a polled list", "poll"), ("the same with poll spans", "poll-spans")):
        for mode in UNSAMPLED:
            yield _ratio(what, action, mode, 1.0)
    for action in ("send", "iterate"):
        yield Target(f"{action}: what metrics add, to their histograms and counter alone", 1.0, _metrics(action))
    yield Target("counting once, us", 0.3, lambda found, _: found.counter(), faces=(WRAPPED,))
    for action in ON_KAFKA:
        yield Target(
            f"{action} on Kafka, ratio: kept of the bare client's throughput", 0.9, _kept(action), True, (WRAPPED,)
        )
        yield Target(
            f"{action} on Kafka: kept of the minimum's throughput, worst mode", 1.0, _beats(action), True, (WRAPPED,)
        )
    yield Target("memory more than the bare client's, MiB", 5, lambda found, face: found.grown(face))
    yield Target("sends in flight at the end", 0, _left("in_flight"))
    yield Target("threads more than the bare client's", 0, _left("threads"))
    yield Target("import, ms", 60, _import, faces=(WRAPPED,))


def _ratio(what: str, action: str, mode: str, limit: float) -> Target:
    case = f"{action} {mode}"
    return Target(f"{what}, {mode}: cost to the minimum's", limit, lambda found, face: found.worst_ratio(case, face))


def _metrics(action: str) -> Figure:
    return lambda found, face: found.metrics_ratio(action, face)


def _kept(action: str) -> Figure:
    def figure(found: Results, face: str) -> float | None:
        kept = found.kept(f"{action} ratio", face)
        return median(kept) if kept else None

    return figure


def _beats(action: str) -> Figure:
    def figure(found: Results, face: str) -> float | None:
        kept = [found.kept(f"{action} {mode}", face, "minimum") for mode in MODES]
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
