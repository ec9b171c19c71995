"""The figures of a run, and what follows from them."""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from benchmarks.modes import MODES
from benchmarks.own_cost import WITH_METRICS

F = TypeVar("F", bound="Figures")


class Figures:
    """The figures of a run, as its JSON has them.

    Args:
        found: by part of the run.
    """

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found

    @classmethod
    def load(cls: type[F], path: Path) -> F:
        """Read a file; without one there are no figures."""
        return cls(json.loads(path.read_text()) if path.exists() else {})

    def save(self, path: Path) -> None:
        """Write a file."""
        path.write_text(json.dumps(self.found, indent=1) + "\n")


class Results(Figures):
    """Those of a run of the benchmarks, by part: "own", "end-to-end", "memory", "import", "span-bytes"."""

    def releases(self) -> list[str]:
        """Return the releases of kafka-python whose own cost was measured."""
        return list(self.found.get("own", {}))

    def cost(self, release: str, case: str, face: str) -> list[float]:
        """Return the microseconds a record that a face adds to the bare client, one figure a turn."""
        faces = self.found["own"][release][case]
        return [(taken - bare) / 1000 for taken, bare in zip(faces.get(face, ()), faces["bare"], strict=False)]

    def ratio(self, release: str, case: str, face: str) -> list[float]:
        """Return the cost in terms of the minimum's, one figure a turn."""
        least = self.cost(release, case, "minimum")
        return [own / other for own, other in zip(self.cost(release, case, face), least, strict=False)]

    def worst_ratio(self, case: str, face: str) -> float | None:
        """Return the median ratio of the release of kafka-python that fares worst; None without figures."""
        return max((median(self.ratio(each, case, face)) for each in self._with(case)), default=None)

    def metrics_ratio(self, action: str, face: str) -> float | None:
        """Return what metrics add, in terms of their histograms and one counter alone, where that is worst."""
        ratios = [
            (median(self.cost(release, case, face + WITH_METRICS)) - median(self.cost(release, case, face)))
            / (median(self.cost(release, case, f"{face} histograms")) + median(self.cost(release, case, "counter")))
            for case in (f"{action} {mode}" for mode in MODES)
            for release in self._with(case)
        ]
        return max(ratios, default=None)

    def counter(self) -> float | None:
        """Return the microseconds of counting once: the median over all cases."""
        cases = [case for release in self.releases() for case in self.found["own"][release].values()]
        taken = [each for case in cases for each in case["counter"]]
        return median(taken) / 1000 if taken else None

    def kept(self, case: str, face: str, of: str = "bare") -> list[float]:
        """Return the throughput that a face keeps of another's, one figure a turn."""
        faces = self.found.get("end-to-end", {}).get(case, {})
        return [rate / whole for rate, whole in zip(faces.get(face, ()), faces.get(of, ()), strict=False)]

    def grown(self, face: str) -> float | None:
        """Return the MiB of resident memory that a face grew by more than the bare client."""
        found = self.found.get("memory")
        return (found[face]["grown"] - found["bare"]["grown"]) / 2**20 if found else None

    def _with(self, case: str) -> Iterator[str]:
        return (each for each in self.releases() if case in self.found["own"][each])
