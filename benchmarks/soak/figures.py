"""The figures of a run, and what the soak's curves come to."""

from collections.abc import Iterator
from statistics import median
from typing import Any

from benchmarks import results
from benchmarks.soak.load import SIDES

CURVES = {"memory": "resident memory, MiB", "threads": "threads", "files": "file descriptors"}
MEBIBYTE = 2**20


class Figures(results.Figures):
    """Those of a run, by part: "scenarios", "soak", "about"."""

    @property
    def minutes(self) -> float:
        """How long the soak was."""
        return float(self.found["soak"]["seconds"]) / 60

    def outages(self) -> Iterator[tuple[float, float]]:
        """Yield from when to when Kafka was gone, in minutes."""
        return ((start / 60, end / 60) for start, end in self.found["soak"]["gone"])

    def curve(self, side: str, name: str) -> list[tuple[float, float]]:
        """Return a curve of the soak: minutes, and MiB or a number."""
        unit = MEBIBYTE if name == "memory" else 1
        return [(each["seconds"] / 60, each[name] / unit) for each in self.found["soak"][side]["samples"]]

    def quarters(self, side: str, name: str) -> list[float]:
        """Return the median of a curve in each quarter of the soak."""
        curve, length = self.curve(side, name), self.minutes / 4
        return [median(value for at, value in curve if at // length == quarter) for quarter in range(4)]

    def grown(self, side: str, name: str) -> float:
        """Return by how much the last quarter's median lies above that of the third.

        By then what is bounded is full: the first outages have filled it.
        """
        *_, third, last = self.quarters(side, name)
        return last - third

    def soaked(self, what: str) -> dict[str, Any]:
        """Return what was counted of this in the soak, by side."""
        return {side: self.found["soak"][side]["counted"][what] for side in SIDES}

    def total(self, face: str, what: str) -> int:
        """Return the sum of what was counted of this for a face, over all scenarios."""
        return sum(each["figures"][face][what] for each in self.found["scenarios"])
