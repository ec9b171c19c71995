"""Findings as tables on a terminal, with progress while they are read."""

from collections.abc import Mapping
from typing import Final

from rich import console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from otelkafka._cli.finding import Finding, Share, Summary, printable

MOST_ROWS: Final = 50
"""How many records the table shows, the last ones: the summary is of all."""


class Console:
    """Shows findings to a person: one by one where their number is not known, else in a table at the end.

    Args:
        records: whether it shows the records, too, and not the summary only.
    """

    def __init__(self, *, records: bool = True) -> None:
        self._shows_records = records
        self._console = console.Console()
        self._progress = Progress(console=self._console, transient=True)
        self._rows: list[Finding] = []
        self._follows = False

    def expect(self, count: int | None) -> None:
        """Show progress up to so many records."""
        self._follows = count is None
        if count is not None:
            self._task = self._progress.add_task("reading", total=count)
            self._progress.start()

    def show(self, found: Finding) -> None:
        """Show one more."""
        if self._follows:
            if self._shows_records:
                self._console.print(*_cells(found), sep="  ")
            return
        self._progress.advance(self._task)
        if self._shows_records:
            self._rows = [*self._rows[1 - MOST_ROWS :], found]

    def end(self, summary: Summary) -> None:
        """Show the last records and the summary."""
        self._progress.stop()
        if self._rows:
            self._console.print(_records(self._rows, summary.all.records))
        for title, shares in (("partition", summary.partitions), ("keys begin with", summary.prefixes)):
            self._console.print(_shares(title, {str(name): share for name, share in sorted(shares.items())}))
        self._console.print(_verdict(summary.all), *_problems(summary), sep="\n")


def _records(rows: list[Finding], count: int) -> Table:
    title = f"the last {len(rows)} of {count} records" if count > len(rows) else f"{count} records"
    table = Table(title=title)
    for name in ("at", "age", "ver", "trace id", "parent id", "flags", "notes"):
        table.add_column(name, overflow="fold")  # of an id every letter counts
    for each in rows:
        table.add_row(*_cells(each))
    return table


def _cells(found: Finding) -> list[Text]:
    flags = [name for name, is_set in (("sampled", found.sampled), ("random", found.random)) if is_set]
    notes = [f"tracestate {found.tracestate}"] if found.tracestate else []
    notes += [f"baggage {', '.join(found.baggage)}"] if found.baggage else []
    notes += [f"{name}: {', '.join(values)}" for name, values in found.headers.items()]
    return [
        Text(f"{found.partition}:{found.offset}"),
        Text(age_of(found.age)),
        Text(printable(found.version or "")),
        Text(printable(found.trace_id or ""), "cyan"),
        Text(printable(found.parent_id or ""), "cyan"),
        Text(" ".join(flags), "green" if found.sampled else ""),
        Text(printable("; ".join(notes)))
        + Text("; " if notes and found.problems else "")
        + Text("; ".join(found.problems), "red"),
    ]


def _shares(title: str, shares: Mapping[str, Share]) -> Table:
    table = Table(title, "records", "with context", "of these sampled")
    for name, share in shares.items():
        table.add_row(
            Text(printable(name)), f"{share.records}", _percent(share.with_context, share.records), _sampled(share)
        )
    return table


def _verdict(share: Share) -> str:
    if not share.records:
        return "No record was there to read."
    part = _percent(share.with_context, share.records)
    return f"{share.records} records: {part} carry a context, {_sampled(share)} of these sampled."


def _problems(summary: Summary) -> list[str]:
    return [f"{count} with {problem}" for problem, count in summary.problems.most_common()]


def _sampled(share: Share) -> str:
    return _percent(share.sampled, share.with_context)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.3g} %" if whole else "-"


def age_of(seconds: float | None) -> str:
    """Return an age in the largest unit that fits: `3 s`, `5 min`, `2 h`, `4 d`."""
    if seconds is None:
        return ""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if abs(seconds) >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.3g} s"
