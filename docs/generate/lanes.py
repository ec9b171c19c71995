"""Makes the table of `compatibility.md` from tox.ini: `python -m docs.generate.lanes` writes it again."""

import re
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "compatibility.md"
TABLE = re.compile(r"\| lane \|.*?(?=\n\n)", re.DOTALL)
NEWEST = "newest"
COLUMNS = {
    "kafka-python": "kafka-python",
    "aiokafka": "aiokafka",
    "opentelemetry-sdk": "OpenTelemetry",
    "wrapt": "wrapt",
}
RUNS = {
    "tests": "everything but Kafka's releases",
    "instrumented": "all that depends on versions, Kafka's releases, faults, bounds, over patched classes",
    "awaited": "all that depends on versions, faults, bounds, over the face of aiokafka",
    "librdkafka": "all that depends on versions, faults, bounds, over the face of confluent-kafka",
    "client": "all that depends on versions, Kafka's releases",
    "telemetry": "all that depends on versions, faults, bounds",
    "": "all that depends on versions",
}


class Lanes:
    """The lanes of a tox.ini that test the library, and what each has installed.

    Args:
        file: the tox.ini.

    Attributes:
        default: the environments that `tox run` runs.
        labels: the environments of each label.
        names: the lanes.
    """

    def __init__(self, file: Path = ROOT / "tox.ini") -> None:
        self._tox = ConfigParser(interpolation=None)
        self._tox.read(file)
        self.default = _names(self._tox["tox"]["env_list"])
        rows = self._tox["tox"]["labels"].replace("\\\n", "").strip().splitlines()
        self.labels = {label.strip(): _names(names) for label, _, names in (row.partition("=") for row in rows)}
        self.names = ["tests", *self.labels["versions"], *self.labels["github"]]

    def table(self) -> str:
        """Return the table of the page."""
        head = ["lane", "Python", *COLUMNS.values(), "runs"]
        rows = [head, ["---"] * len(head), *map(self._row, self.names)]
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def _row(self, lane: str) -> list[str]:
        pins = self.pins(lane)
        runs = next(text for factor, text in RUNS.items() if factor in lane.split("-") or not factor)
        return [f"`{lane}`", self.python(lane) or "tox's own", *(pins.get(name, NEWEST) for name in COLUMNS), runs]

    def python(self, lane: str) -> str | None:
        """Return the version of Python that a lane names, None where it takes the one that tox runs on."""
        found = re.match(r"py3(\d+)-", lane)
        return f"3.{found[1]}" if found else None

    def pins(self, lane: str) -> dict[str, str]:
        """Return the exact versions that a lane pins, by package."""
        return dict(found for found in map(_pin, self._requirements(lane)) if found)

    def _requirements(self, lane: str) -> Iterator[str]:
        for line in self._tox["testenv"]["deps"].strip().splitlines():
            factors, _, requirement = line.partition(": ")
            if {*factors.split(",")} & {*lane.split("-")}:
                yield requirement


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _pin(requirement: str) -> tuple[str, str] | None:
    name, exactly, version = requirement.partition(";")[0].partition("==")
    return (name, version) if exactly and name in COLUMNS else None


def main() -> None:
    """Put the table of today's lanes into the page."""
    PAGE.write_text(TABLE.sub(lambda _: Lanes().table(), PAGE.read_text(), count=1))


if __name__ == "__main__":
    main()
