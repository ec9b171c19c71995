"""Writes the figures into docs/performance.md and docs/targets.md, between their markers, and the plot beside them."""

import re
from pathlib import Path

from benchmarks import plot, tables
from benchmarks.results import Results
from benchmarks.run import ROOT

PAGE = ROOT / "docs" / "performance.md"
TARGETS = ROOT / "docs" / "targets.md"
PLOT = ROOT / "docs" / "pictures" / "performance.svg"
BEFORE = ROOT / "benchmarks" / "before.json"


def parts(found: Results) -> dict[str, str]:
    """Return the generated parts of the pages, by the names of their markers."""
    return {
        "short": tables.in_short(found),
        "contrib": tables.beside_contrib(found),
        "targets": tables.targets_met(found, Results.load(BEFORE)),
        "own": tables.own_cost(found),
        "alike": tables.alike(found),
        "metrics": tables.metrics(found),
        "kafka": tables.throughput(found),
        "aiokafka": tables.awaited(found),
        "sampling": tables.sampling(found),
        "about": tables.about(found),
    }


def page_of(name: str) -> Path:
    """Return the page that has a generated part."""
    return TARGETS if name == "targets" else PAGE


def text(found: Results) -> str:
    """Return all generated parts, to print."""
    return "\n\n".join(part for part in parts(found).values() if part) + "\n"


def write(found: Results) -> None:
    """Put the generated parts into the pages, and draw the plot."""
    for name, part in parts(found).items():
        page = page_of(name)
        page.write_text(between(page.read_text(), name, part))
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
