"""What a record costs: the wrapped client beside a hand-written minimum, in processes that take turns.

`python benchmarks/own_cost.py` prints a table of microseconds a record and of ratios; `--json FILE` keeps the figures.
"""

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from itertools import product
from pathlib import Path
from statistics import median

from cases import ACTIONS, MODES

CASES = Path(__file__).with_name("cases.py")


def time_all(turns: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the nanoseconds of every face of every case, one figure a process."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _, action, mode, metrics in product(range(turns), ACTIONS, MODES, (False, True)):
        command = [sys.executable, str(CASES), action, mode, f"--rounds={rounds}", *(["--metrics"] if metrics else [])]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for face, taken in json.loads(output).items():
            found[f"{action} {mode}{' metrics' if metrics else ''}"][face].append(taken)
    return found


def table(found: dict[str, dict[str, list[float]]]) -> str:
    """Return the medians, their spread over the processes, and the ratio to the minimum."""
    lines = [
        "| case | bare, us | minimum, us | otelkafka, us | spread | ratio to the minimum | histograms alone, us |",
        "|---|---|---|---|---|---|---|",
    ]
    for case, faces in found.items():
        bare, least, own = (median(faces[name]) for name in ("bare", "minimum", "otelkafka"))
        ratio = median((mine - idle) / (theirs - idle) for mine, theirs, idle in _rows(faces))
        spread = (max(faces["otelkafka"]) - min(faces["otelkafka"])) / 1000
        alone = f"{median(faces['histograms']) / 1000:.2f}" if "histograms" in faces else ""
        times = " | ".join(f"{each / 1000:.2f}" for each in (bare, least, own))
        lines.append(f"| {case} | {times} | {spread:.2f} | {ratio:.2f} | {alone} |")
    return "\n".join(lines)


def _rows(faces: dict[str, list[float]]) -> list[tuple[float, float, float]]:
    return list(zip(faces["otelkafka"], faces["minimum"], faces["bare"], strict=True))


def main() -> None:
    """Time everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3, help="processes for each case")
    parser.add_argument("--rounds", type=int, default=40, help="batches for each face in a process")
    parser.add_argument("--json", type=Path, help="where to keep the figures, in nanoseconds")
    given = parser.parse_args()
    found = time_all(given.turns, given.rounds)
    print(table(found))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
