"""The picture of docs/robustness.md: the soak's curves, bare and wrapped, with the outages behind them."""

from collections.abc import Iterator

from benchmarks.plot import STYLE
from benchmarks.soak.figures import CURVES, Figures
from benchmarks.soak.load import SIDES

WIDTH, HEIGHT, LEFT, RIGHT, TOP = 860, 560, 60, 36, 92
PANELS = {"memory": 200, "threads": 70, "files": 70}
GAP = 48
MINUTES_APART = 5
LINES = """
  .gone { fill: #cf222e; opacity: .18 } .line { fill: none; stroke-width: 1.8 }
  .line.bare { stroke: #8c959f } .line.wrapped { stroke: #0969da } rect.bare { fill: #8c959f }
  @media (prefers-color-scheme: dark) {
    .gone { fill: #f85149 } .line.bare { stroke: #9198a1 } .line.wrapped { stroke: #4493f8 } rect.bare { fill: #9198a1 }
  }
"""


def draw(found: Figures) -> str:
    """Return the picture; an empty string without a soak."""
    return "\n".join(_parts(found)) + "\n" if "soak" in found.found else ""


def _parts(found: Figures) -> Iterator[str]:
    title = f"{found.minutes:.0f} minutes at full rate, with Kafka killed and restarted"
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    yield f"<title>{title}</title><style>{STYLE}{LINES}</style>"
    yield f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>'
    yield f'<text class="title" x="20" y="28">{title}</text>'
    yield from _legend()
    top = TOP
    for name, height in PANELS.items():
        yield from Panel(found, name, top, height).draw()
        top += height + GAP
    yield "</svg>"


def _legend() -> Iterator[str]:
    for at, (kind, text) in enumerate({"bare": "bare", "wrapped": "otelkafka", "gone": "Kafka is gone"}.items()):
        x = 20 + 110 * at
        yield f'<rect class="{kind}" x="{x}" y="42" width="12" height="12" rx="2"/>'
        yield f'<text class="soft small" x="{x + 18}" y="52">{text}</text>'


class Panel:
    """The curves of one thing, from 0 up.

    Args:
        found: the figures.
        name: the name of the curve.
        top: where it begins.
        height: how high it is.
    """

    def __init__(self, found: Figures, name: str, top: int, height: int) -> None:
        self._found = found
        self._name = name
        self._top = top
        self._height = height
        self._curves = {side: found.curve(side, name) for side in SIDES}
        self._most = 1.1 * max(value for curve in self._curves.values() for _, value in curve)
        self._minutes = max(at for curve in self._curves.values() for at, _ in curve)

    def draw(self) -> Iterator[str]:
        """Return its parts."""
        bottom, right = self._top + self._height, WIDTH - RIGHT
        yield f'<text class="small" x="{LEFT}" y="{self._top - 8}">{CURVES[self._name]}</text>'
        for start, end in self._found.outages():
            x = self._x(start)
            width = self._x(end) - x
            yield f'<rect class="gone" x="{x:.1f}" y="{self._top}" width="{width:.1f}" height="{self._height}"/>'
        for value in (0.0, max(curve[-1][1] for curve in self._curves.values())):
            y = self._y(value)
            yield f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text class="soft small end" x="{LEFT - 8}" y="{y + 4:.1f}">{value:.0f}</text>'
        for side, curve in self._curves.items():
            points = " ".join(f"{self._x(at):.1f},{self._y(value):.1f}" for at, value in curve)
            yield f'<polyline class="line {side}" points="{points}"/>'
        for minute in range(0, int(self._minutes) + 1, MINUTES_APART):
            yield f'<text class="soft small" x="{self._x(minute) - 8:.1f}" y="{bottom + 16}">{minute} min</text>'

    def _x(self, minute: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * minute / self._minutes

    def _y(self, value: float) -> float:
        return self._top + self._height * (1 - value / self._most)
