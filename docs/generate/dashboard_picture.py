"""Draws `dashboard.svg` from a run of a real Prometheus: `python -m docs.generate.dashboard_picture`.

It is not a picture of Grafana: each panel is drawn here, from what Prometheus answers to the dashboard's own queries.
"""

from collections.abc import Iterator
from html import escape

from docs.generate.alert_picture import MARGIN, STEP
from docs.generate.trace_pictures import PICTURES, STYLE
from examples.ask.options import Options
from examples.ask.system import System
from examples.prometheus.burst import Life, burst
from examples.prometheus.dashboard import ROWS, SECONDS, SHARE, Panel
from examples.prometheus.server import Prometheus

COLUMNS, WIDTH, HEIGHT, PLOT, GAP, TOP, FOOT = 3, 320, 170, 100, 16, 58, 34
COLOURS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#cf222e", "#9a6700")
CURVE = " .curve { fill: none; stroke-width: 1.8 }"
NOTE = (
    "Drawn by a script of ours from a real Prometheus's answers to the dashboard's queries, in a run sixty times as "
    "fast. Not a picture of Grafana."
)
Curves = list[list[tuple[float, float]]]


class Picture:
    """The panels of the dashboard, in rows of three.

    Args:
        life: when the run happened.
        prometheus: has the figures.
    """

    def __init__(self, life: Life, prometheus: Prometheus) -> None:
        self._prometheus = prometheus
        self._start, self._end = life.began - MARGIN, life.quiet + MARGIN

    def draw(self) -> str:
        """Return it as SVG."""
        panels = [panel for row in ROWS.values() for panel in row]
        width = COLUMNS * (WIDTH + GAP) + GAP
        height = TOP + -(-len(panels) // COLUMNS) * (HEIGHT + GAP) + FOOT
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
            f"<title>The panels of the dashboard</title><style>{STYLE}{CURVE}</style>",
            f'<rect class="page" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8"/>',
            f'<text class="title" x="{GAP}" y="32">The panels of the dashboard, in a run of the demo</text>',
        ]
        for number, panel in enumerate(panels):
            row, column = divmod(number, COLUMNS)
            parts.extend(self._panel(panel, GAP + column * (WIDTH + GAP), TOP + row * (HEIGHT + GAP)))
        parts.append(f'<text class="soft small" x="{GAP}" y="{height - 14}">{escape(NOTE)}</text></svg>')
        return "\n".join(parts) + "\n"

    def _panel(self, panel: Panel, x: float, y: float) -> Iterator[str]:
        curves = [curve for query in panel.queries.values() for curve in self._curves(query)]
        top = max((value for curve in curves for _, value in curve), default=0.0)
        yield f'<text x="{x}" y="{y + 14}">{escape(panel.title)}</text>'
        most = f"{_text(panel, top)} at most" if curves else "no data in this run"
        yield f'<text class="soft small" x="{x}" y="{y + 32}">{most}</text>'
        yield f'<line class="grid" x1="{x}" x2="{x + WIDTH}" y1="{y + 44 + PLOT}" y2="{y + 44 + PLOT}"/>'
        for number, curve in enumerate(curves):
            places = " L".join(
                f"{x + WIDTH * (moment - self._start) / (self._end - self._start):.1f} "
                f"{y + 44 + PLOT * (1 - value / (top or 1)):.1f}"
                for moment, value in curve
            )
            yield f'<path class="curve" stroke="{COLOURS[number % len(COLOURS)]}" d="M{places}"/>'

    def _curves(self, query: str) -> Curves:
        asked = query.replace("$__rate_interval", "5s").replace("$group", ".*").replace("[15m]", "[15s]")
        found = self._prometheus.query_range(asked, self._start, self._end, STEP)
        curves = ([(float(moment), float(value)) for moment, value in series["values"]] for series in found)
        finite = ([(moment, value) for moment, value in curve if value - value == 0] for curve in curves)
        return [curve for curve in finite if curve]


def _text(panel: Panel, value: float) -> str:
    if panel.unit == SHARE:
        return f"{value:.0%}"
    return f"{value:.3g} s" if panel.unit == SECONDS else f"{value:.3g}"


def main() -> None:
    """Run it and draw it."""
    with System(Options(work=0.25, prometheus=True)) as system, Prometheus(system.targets_url) as prometheus:
        life = burst(system, prometheus)
        (PICTURES / "dashboard.svg").write_text(Picture(life, prometheus).draw())


if __name__ == "__main__":
    main()
