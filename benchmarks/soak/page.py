"""Writes the figures into docs/robustness.md, between its markers, and the plot beside it."""

from collections.abc import Iterable

from benchmarks.page import between
from benchmarks.soak import plot
from benchmarks.soak.figures import CURVES, Figures
from benchmarks.soak.libraries import LIBRARIES
from benchmarks.soak.load import SIDES
from benchmarks.soak.run import ROOT
from benchmarks.soak.scenarios import CALM, OUTAGE

PAGE = ROOT / "docs" / "robustness.md"
PLOT = ROOT / "docs" / "pictures" / "soak.svg"
FACES = ("bare", "wrapped", "instrumented")
COUNTED = {
    "sent": "records sent",
    "acknowledged": "acknowledged",
    "handed over": "returned by consumers",
    "lost": "acknowledged and lost",
    "sent twice by us": "duplicated because of otelkafka",
    "spans": "spans",
    "unended": "spans unended",
    "ended twice": "spans ended twice",
    "failures of telemetry": "failures of telemetry",
}
SOAKED = {
    "sent": "records sent",
    "consumed": "records consumed",
    "missing": "lost",
    "written twice": "duplicated",
    "visits": "clients that came and went, of each kind",
    "spans": "spans, one in ten sampled",
    "unended": "spans unended",
    "ended twice": "spans ended twice",
    "in flight": "in flight at the end",
}


def parts(found: Figures) -> dict[str, str]:
    """Return the generated parts of the page, by the names of their markers."""
    return {
        "outages": _outages(found),
        "not applicable": _not_applicable(),
        "totals": _totals(found),
        "soak": _soak(found),
        "about": _about(found),
    }


def write(found: Figures) -> None:
    """Put the generated parts into the page, and draw the plot."""
    whole = PAGE.read_text()
    for name, part in parts(found).items():
        whole = between(whole, name, part, "benchmarks.soak")
    PAGE.write_text(whole)
    PLOT.write_text(plot.draw(found))


def _outages(found: Figures) -> str:
    head = ["fault", "sent", "acknowledged", "returned", "spans", "errors", "differences from the bare client"]
    tables = []
    for library in LIBRARIES:
        rows = []
        for each in found.found["scenarios"]:
            if each["library"] != library.name:
                continue
            wrapped = each["figures"]["wrapped"]
            errors = ", ".join(f"{count} `{name}`" for name, count in wrapped["errors"].items())
            counts = [f"{wrapped[what]:,}" for what in ("sent", "acknowledged", "handed over", "spans")]
            rows.append([each["title"], *counts, errors, len(each["differences"])])
        tables.append(f"### {library.name}\n\n{_table(head, rows)}")
    return "\n\n".join(tables)


def _not_applicable() -> str:
    rows = [[each.title, library, reason] for each in (*OUTAGE, *CALM) for library, reason in each.not_with.items()]
    return _table(["fault", "not with", "reason"], rows)


def _totals(found: Figures) -> str:
    rows = [[text, *(f"{found.total(face, what):,}" for face in FACES)] for what, text in COUNTED.items()]
    return _table(["all faults together", *FACES], rows)


def _soak(found: Figures) -> str:
    rows = [[text, *(f"{each:,}" for each in found.soaked(what).values())] for what, text in SOAKED.items()]
    for name, text in CURVES.items():
        medians = (found.quarters(side, name) for side in SIDES)
        rows.append(
            [f"{text}: median of each quarter", *(" → ".join(f"{each:.0f}" for each in own) for own in medians)]
        )
    return _table([f"{found.minutes:.0f} minutes", *SIDES], rows)


def _about(found: Figures) -> str:
    about = found.found["about"]
    names = dict.fromkeys([*(each.distribution for each in LIBRARIES), "opentelemetry-sdk"])
    packages = ", ".join(f"{name} {about[name]}" for name in names)
    return f"Run on {about['cores']} cores with Python {about['python']}, {packages} and Apache Kafka {about['kafka']}."


def _table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
