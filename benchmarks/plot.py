"""The picture of docs/performance.md: what each face adds to a record, and the most that otelkafka is to add."""

from collections.abc import Iterator
from html import escape
from statistics import StatisticsError, median

from benchmarks.modes import MODES
from benchmarks.results import Results
from benchmarks.tables import NAMES
from benchmarks.targets import RECORD, SEND

WIDTH, TOP, ROW, BAR, GROUP = 860, 84, 17, 12, 30
LEFT, PANEL = (150, 520), 280
FACES = {
    "minimum": "hand-written minimum",
    "wrapped": "otelkafka",
    "contrib": "opentelemetry-instrumentation-kafka-python",
}
OWN = "wrapped"
PANELS = (("send", "a send", SEND), ("iterate", "a record iterated", RECORD))
STYLE = """
  .page { fill: #ffffff; stroke: #d0d7de } text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .soft { fill: #59636e } .small { font-size: 11.5px } .title { font-weight: 600; font-size: 14px }
  .grid { stroke: #d0d7de; stroke-dasharray: 2 4 } .minimum { fill: #8c959f } .wrapped { fill: #0969da }
  .contrib { fill: #bf8700 } .limit { stroke: #cf222e; stroke-width: 2.5 } .end { text-anchor: end }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; stroke: #3d444d } text { fill: #f0f6fc } .soft { fill: #9198a1 } .grid { stroke: #3d444d }
    .minimum { fill: #656c76 } .wrapped { fill: #4493f8 } .contrib { fill: #d29922 } .limit { stroke: #f85149 }
  }
"""


def draw(found: Results) -> str:
    """Return the picture, of the first release of kafka-python; an empty string without figures."""
    try:
        return Bars(found).draw()
    except (LookupError, StatisticsError):
        return ""


class Bars:
    """A group of bars for each mode, sends and records side by side, all of one scale.

    Args:
        found: the figures.
    """

    def __init__(self, found: Results) -> None:
        release = found.releases()[0]
        self._costs = {
            (action, mode, face): median(found.cost(release, f"{action} {mode}", face))
            for action, _, _ in PANELS
            for mode in MODES
            for face in FACES
        }
        self._scale = PANEL / max(self._costs.values())

    def draw(self) -> str:
        """Return the picture."""
        height = TOP + len(MODES) * (len(FACES) * ROW + GROUP) + 4
        title = "What tracing adds to a record, in microseconds of CPU time"
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{title}</title><style>{STYLE}</style>",
            f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
            f'<text class="title" x="20" y="28">{title}</text>',
            *_legend(),
        ]
        for left, panel in zip(LEFT, PANELS, strict=True):
            parts += self._panel(left, *panel)
        return "\n".join([*parts, "</svg>"]) + "\n"

    def _panel(self, left: int, action: str, name: str, limits: dict[str, float]) -> Iterator[str]:
        yield f'<text class="title" x="{left}" y="{TOP}">{name}</text>'
        y = TOP + 18
        for mode in MODES:
            if left == LEFT[0]:
                yield f'<text class="end" x="{left - 14}" y="{y + ROW + 10}">{NAMES[mode]}</text>'
            yield from self._group(left, y, action, mode, limits[mode] * self._costs[action, mode, "minimum"])
            y += len(FACES) * ROW + GROUP

    def _group(self, left: int, y: int, action: str, mode: str, limit: float) -> Iterator[str]:
        for at, face in enumerate(FACES):
            cost = self._costs[action, mode, face]
            width = max(1.5, self._scale * cost)
            met = " \u2713" if face == OWN and cost <= limit else ""
            end = max(cost, limit) if face == OWN else cost
            top = y + at * ROW
            yield f'<rect class="{face}" x="{left}" y="{top}" width="{width:.1f}" height="{BAR}" rx="2"/>'
            x = left + self._scale * end + 8
            yield f'<text class="soft small" x="{x:.1f}" y="{top + 10}">{cost:.1f}{met}</text>'
        x = left + self._scale * limit
        yield f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{y + ROW - 4}" y2="{y + ROW + BAR + 4}"/>'


def _legend() -> Iterator[str]:
    x = 20
    for face, name in FACES.items():
        yield f'<rect class="{face}" x="{x}" y="42" width="12" height="12" rx="2"/>'
        yield f'<text class="soft small" x="{x + 18}" y="52">{escape(name)}</text>'
        x += 44 + int(6.1 * len(name))
    yield f'<line class="limit" x1="{x + 6}" x2="{x + 6}" y1="40" y2="56"/>'
    yield f'<text class="soft small" x="{x + 14}" y="52">the most that otelkafka is to add (\u2713 met)</text>'
