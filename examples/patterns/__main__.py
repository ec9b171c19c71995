"""Plays patterns on a Kafka of its own: `python -m examples.patterns relay replay`, all of them without a name.

It prints their traces; with `--write` it puts them into the pages of the documentation.
"""

from __future__ import annotations

import argparse
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from examples.patterns.stage import Stage
from examples.patterns.story import story
from otelkafka.testing import span_tree
from testbroker import start_broker

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from testbroker import Broker

DOCS = Path(__file__).parents[2] / "docs"
PAGES = DOCS / "patterns"
ELSEWHERE = {
    "why": "why.md",
    "threads": "handlers-and-threads.md",
    "groups": "groups.md",
    "relations": "link-or-parent.md",
}
NAMES = ("relay", "batches", "fan_out", "dead_letter", "delayed_retry", "replay", *ELSEWHERE)
TRACE = re.compile(r"(?<=```text\n).*?(?=```)", re.DOTALL)


def play(name: str, broker: Broker) -> list[ReadableSpan]:
    """Run one pattern and return its spans."""
    with Stage(broker) as stage:
        import_module(f"examples.patterns.{name}").run(stage)
    return stage.recorder.spans


def page(name: str) -> Path:
    """Return where the documentation describes a pattern; its first block of text is the trace."""
    return DOCS / ELSEWHERE[name] if name in ELSEWHERE else PAGES / f"{name.replace('_', '-')}.md"


def main() -> None:
    """Play what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="pattern", help=", ".join(NAMES))
    parser.add_argument("--write", action="store_true", help="put the traces into the pages of the documentation")
    given = parser.parse_args()
    if unknown := sorted({*given.names} - {*NAMES}):
        parser.error(f"there is no pattern {', '.join(unknown)}: choose from {', '.join(NAMES)}")
    with start_broker("kafka") as broker:
        for name in given.names or NAMES:
            spans = play(name, broker)
            print(f"{name}\n\n{story(spans)}\n\n{span_tree(spans)}\n")
            if given.write:
                _write(page(name), story(spans))


def _write(file: Path, trace: str) -> None:
    file.write_text(TRACE.sub(lambda _: f"{trace}\n", file.read_text(), count=1))


if __name__ == "__main__":
    main()
