"""Measures what tracing costs, and writes the figures into docs/performance.md with its JSON and its plot beside it."""

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks import page, run
from benchmarks.results import Results

PARTS = ("own", "end-to-end", "aiokafka", "memory", "import")
ROUNDS = 4  # on Kafka for each turn
RESULTS = run.ROOT / "docs" / "performance.json"


def measure(part: str, given: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of one part of the run."""
    turns, quick = given.turns, given.quick
    if part == "own":
        found = run.own(turns, 3 if quick else 20, [None] if quick else [None, *given.other_kafka])
        return {"own": found, "span-bytes": run.program("span_bytes")}
    if part == "end-to-end":
        return {part: run.throughput(ROUNDS * turns, 6 if quick else 1)}
    if part == "aiokafka":
        on_kafka = run.awaited_throughput(2 * turns, 6 if quick else 1)
        return {part: run.awaited(turns, 3 if quick else 20), f"{part} on Kafka": on_kafka}
    if part == "memory":
        return {part: run.memory(20_000 if quick else 1_000_000)}
    return {part: run.imports(3 if quick else 15)}


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part alone; may be repeated")
    parser.add_argument("--turns", type=int, help="processes for each case: 3, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="a rough look, of which only --results is written")
    parser.add_argument("--results", type=Path, help="where to keep the figures; without it docs/performance.json")
    parser.add_argument("--other-kafka", type=Path, action="append", default=[], help="directory of another release")
    parser.add_argument("--page", action="store_true", help="write the page from the figures that are there")
    given = parser.parse_args()
    given.turns = given.turns or (1 if given.quick else 3)
    results = given.results or (None if given.quick else RESULTS)
    kept = Results.load(results) if results else Results({})
    for part in () if given.page else given.only or PARTS:
        kept.found.update(measure(part, given), about=run.about())
        if results:
            kept.save(results)
    sys.stdout.write(page.text(kept))
    if results == RESULTS:
        page.write(kept)


if __name__ == "__main__":
    main()
