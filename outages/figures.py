"""The figures of a run, and what the soak's curves come to."""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from outages.soak import SIDES

CURVES = {"memory": "resident memory, MiB", "threads": "threads", "files": "file descriptors"}
MEBIBYTE = 2**20


class Figures:
    """The figures of a run, as its JSON has them.

    Args:
        found: by part: "scenarios", "soak", "about".
    """

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found

    @classmethod
    def load(cls, path: Path) -> "Figures":
        """Read a file; without one there are no figures."""
        return cls(json.loads(path.read_text()) if path.exists() else {})

    def save(self, path: Path) -> None:
        """Write a file."""
        path.write_text(json.dumps(self.found, indent=1) + "\n")

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
