"""Takes clients through faults and a soak, and writes docs/robustness.md with its JSON and its plot."""

import argparse
import logging
import os
import sys
import warnings
from importlib.metadata import version
from typing import Any

from benchmarks.soak import page, run
from benchmarks.soak.figures import Figures
from benchmarks.soak.libraries import LIBRARIES
from benchmarks.soak.scenarios import CALM, OUTAGE, applying, play
from testbroker import start_broker

PARTS = ("scenarios", "soak")
SHORTEST = 4
FIGURES = run.ROOT / "docs" / "robustness.json"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="run this part alone; may be repeated")
    parser.add_argument("--minutes", type=float, default=20, help="how long the soak is: 20, or at least 4")
    parser.add_argument("--page", action="store_true", help="write the page from the figures that are there")
    given = parser.parse_args()
    if given.minutes < SHORTEST:
        parser.error(
            f"--minutes {given.minutes:g}: each quarter needs samples between the outages, take {SHORTEST} or more"
        )
    warnings.simplefilter("ignore")
    for library in ("aiokafka", "asyncio", "kafka"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # they log the outages at length
    found = Figures.load(FIGURES)
    for part in () if given.page else given.only or PARTS:
        found.found[part] = scenarios() if part == "scenarios" else run.soak(60 * given.minutes)
        found.found["about"] = about()
        found.save(FIGURES)
    page.write(found)
    sys.stdout.write("\n\n".join(page.parts(found).values()) + "\n")


def scenarios() -> list[dict[str, Any]]:
    """Return what came of each scenario with each library."""
    found = []
    with start_broker("kafka") as broker:
        for library in LIBRARIES:
            for part in (OUTAGE, CALM):
                outcomes = play(broker, library(), part)
                found += [
                    {
                        "library": library.name,
                        "title": each.title,
                        "differences": outcomes[each.name].differences,
                        "figures": outcomes[each.name].figures,
                    }
                    for each in applying(library, part)
                ]
    return found


def about() -> dict[str, Any]:
    """Return what the figures were taken with."""
    packages = {name: version(name) for name in (*(library.distribution for library in LIBRARIES), "opentelemetry-sdk")}
    return {"python": sys.version.split()[0], "cores": os.cpu_count(), "kafka": "4.1.1", **packages}


if __name__ == "__main__":
    main()
