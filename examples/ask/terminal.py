"""What the demo prints: the traces as a backend would list them, and one as a waterfall."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from examples.ask.traces import Trace
from examples.ask.waterfall import Row, Waterfall, seconds, shortened

STYLES = {"server": "blue", "producer": "cyan", "consumer": "green", "internal": "magenta", "client": "bright_black"}
SEGMENTS = {"busy": ("▒", "dark_orange"), "kafka": ("█", "yellow"), "before": ("░", "bright_black")}
WIDE, LABELS, NARROW_LABELS, DURATION = 100, 54, 44, 10
SHORTEST = 12


def print_traces(console: Console, traces: list[Trace]) -> None:
    """Print the list of traces, the first one first."""
    table = Table(title="Traces", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column, justify in (
        ("question", "left"),
        ("duration", "right"),
        ("sampled", "left"),
        ("spans per service", "left"),
    ):
        table.add_column(column, justify=justify, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
    for trace in sorted(traces, key=lambda each: each.start):
        services = ", ".join(f"{service} {count}" for service, count in trace.services.items())
        style = "red" if trace.failed else ""
        question = Text(shortened(trace.question or "", 40), style=style)
        sampled = f"no: {trace.reason}" if trace.reason else "yes"
        table.add_row(question, seconds(trace.duration), sampled, services)
    console.print(table)


def print_waterfall(console: Console, waterfall: Waterfall) -> None:
    """Print one trace, a line per span and per part of a wait."""
    trace = waterfall.trace
    title = Text(f"The slowest, {seconds(trace.duration)}: {shortened(trace.question or trace.root.name)}")
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0), show_header=False
    )
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    labels = LABELS if console.width >= WIDE else NARROW_LABELS
    width = max(console.width - labels - DURATION, SHORTEST)
    for row in waterfall.rows:
        for label, bar, duration in _lines(row, waterfall.duration, width):
            label.truncate(labels, overflow="ellipsis")
            table.add_row(label, bar, duration)
    console.print(table)
    for row in waterfall.rows:
        if row.error:
            console.print(Text(f"  {row.label} failed: {row.error}", style="red"))


def _lines(row: Row, whole: float, width: int) -> list[tuple[Text, Text, str]]:
    indent = "  " * row.depth
    if row.span is None:
        head = (Text(f"{indent}{row.label}", "bright_black"), Text(""), seconds(row.duration))
        return [head, *(_segment_line(row, number, whole, width) for number in range(len(row.segments)))]
    style = "red" if row.error else STYLES.get(row.kind, "")
    label = Text(f"{indent}{row.label}", "red" if row.error else "")
    return [(label, _bar("█", style, row.start, row.end, whole, width), seconds(row.duration))]


def _segment_line(row: Row, number: int, whole: float, width: int) -> tuple[Text, Text, str]:
    segment = row.segments[number]
    character, style = SEGMENTS[segment.kind]
    label = Text(f"{'  ' * (row.depth + 1)}{segment.label}", style)
    return label, _bar(character, style, segment.start, segment.end, whole, width), seconds(segment.duration)


def _bar(character: str, style: str, start: float, end: float, whole: float, width: int) -> Text:
    first = min(int(start / whole * width), width - 1) if whole else 0
    last = max(round(end / whole * width), first + 1) if whole else 1
    return Text(" " * first + character * (last - first), style)
