"""Writes the figures into docs/performance.md, between its markers, and the plot beside it."""

import re

from benchmarks import plot, tables
from benchmarks.results import Results
from benchmarks.run import ROOT

PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "pictures" / "performance.svg"
BEFORE = ROOT / "benchmarks" / "before.json"


def parts(found: Results) -> dict[str, str]:
    """Return the generated parts of the page, by the names of their markers."""
    return {
        "targets": tables.targets_met(found, Results.load(BEFORE)),
        "own": tables.own_cost(found),
        "alike": tables.alike(found),
        "metrics": tables.metrics(found),
        "kafka": tables.throughput(found),
        "aiokafka": tables.awaited(found),
        "sampling": tables.sampling(found),
        "about": tables.about(found),
    }


def text(found: Results) -> str:
    """Return all generated parts, to print."""
    return "\n\n".join(part for part in parts(found).values() if part) + "\n"


def write(found: Results) -> None:
    """Put the generated parts into the page, and draw the plot."""
    whole = PAGE.read_text()
    for name, part in parts(found).items():
        whole = between(whole, name, part)
    PAGE.write_text(whole)
    PLOT.write_text(plot.draw(found))


def between(whole: str, name: str, part: str, program: str = "benchmarks") -> str:
    """Return the page with another part between the markers of that name.

    Raises:
        ValueError: the page has no such markers.
    """
    begin, end = f"<!-- {name}: python -m {program} -->", f"<!-- end of {name} -->"
    replaced, count = re.subn(f"(?s){re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{part}\n{end}", whole)
    if count != 1:
        msg = f"the page has {count} parts between {begin!r} and {end!r}: give it one"
        raise ValueError(msg)
    return replaced
