"""Draws `alert.svg` from a run of a real Prometheus: `python -m docs.generate.alert_picture`."""

from collections.abc import Iterator, Sequence
from html import escape

from docs.generate.trace_pictures import PICTURES, STYLE, WIDTH
from examples.ask.options import Options
from examples.ask.system import System
from examples.prometheus.burst import ALERT, BUSY, WAIT, Life, burst
from examples.prometheus.server import Prometheus

LEFT, RIGHT, TOP, HEIGHT, GAP, BAND, FOOT = 190, 24, 70, 84, 30, 20, 90
STEP, MARGIN = 0.25, 1.0
FASTER = "Sixty times as fast as the rules in service: each second here is a minute there."
AIM = "otelkafka:queue_duration_seconds:aim"
COLOURS = """
  .line { fill: none; stroke: #bc4c00; stroke-width: 2 } .share { fill: none; stroke: #1a7f37; stroke-width: 2 }
  .aim { stroke: #cf222e; stroke-dasharray: 5 4 } .pending { fill: #bf8700 } .firing { fill: #cf222e }
  @media (prefers-color-scheme: dark) {
    .line { stroke: #db6d28 } .share { stroke: #3fb950 } .aim { stroke: #f85149 } .pending { fill: #d29922 }
    .firing { fill: #f85149 }
  }
"""
Points = Sequence[tuple[float, float]]


class Picture:
    """What happened, one chart below the other.

    Args:
        life: when it did.
        prometheus: knows the figures.
    """

    def __init__(self, life: Life, prometheus: Prometheus) -> None:
        self._life = life
        self._prometheus = prometheus
        self._start, self._end = life.began - MARGIN, life.quiet + MARGIN

    def draw(self) -> str:
        """Return it as SVG."""
        height = TOP + 2 * (HEIGHT + GAP) + BAND + FOOT
        title = f"The life of {ALERT}: a burst of questions, and a consumer that is too slow for it"
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{escape(title)}</title><style>{STYLE}{COLOURS}</style>",
            f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
            f'<text class="title" x="20" y="30">{escape(title)}</text>',
            *self._moments(height - FOOT + 22),
            *self._wait(TOP),
            *self._busy(TOP + HEIGHT + GAP),
            *self._states(TOP + 2 * (HEIGHT + GAP)),
            f'<text class="soft small" x="20" y="{height - 18}">{FASTER}</text>',
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    def _moments(self, bottom: float) -> Iterator[str]:
        life = self._life
        for moment, words, anchor in (
            (life.began, "first question", "start"),
            (life.fired, "fires", "middle"),
            (life.ceased, "last question", "middle"),
            (life.cleared, "clears", "start"),
        ):
            x = self._x(moment)
            yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 12}" y2="{bottom}"/>'
            yield f'<text class="soft small" text-anchor="{anchor}" x="{x:.1f}" y="{TOP - 18}">{words}</text>'
            text = f"{moment - life.began:.1f} s"
            yield f'<text class="soft small" text-anchor="middle" x="{x:.1f}" y="{bottom + 12}">{text}</text>'

    def _wait(self, y: float) -> Iterator[str]:
        waits = self._values(WAIT)
        ((_, aim), *_) = self._values(AIM)
        top = max(value for _, value in waits)
        at = y + HEIGHT * (1 - aim / top)
        yield from self._name(y, "Queue time, p95", f"{top:.1f} s at most")
        yield from self._ground(y)
        yield f'<line class="aim" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text class="soft small" text-anchor="end" x="{LEFT - 8}" y="{at + 4:.1f}">the aim, {aim:g} s</text>'
        yield self._curve("line", y, waits, top)

    def _busy(self, y: float) -> Iterator[str]:
        shares = self._values(BUSY)
        yield from self._name(y, "Busy share", f"{max(value for _, value in shares):.0%} at most")
        yield from self._ground(y)
        yield self._curve("share", y, shares, 1.0)

    def _states(self, y: float) -> Iterator[str]:
        yield from self._name(y, ALERT)
        for state in ("pending", "firing"):
            times = [moment for moment, _ in self._values(f'ALERTS{{alertname="{ALERT}",alertstate="{state}"}}')]
            x, width = self._x(min(times)), self._x(max(times) + STEP) - self._x(min(times))
            yield f'<rect class="{state}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAND}" rx="2"/>'
            yield f'<text class="soft small" x="{x:.1f}" y="{y + BAND + 14}">{state}</text>'

    def _name(self, y: float, name: str, more: str = "") -> Iterator[str]:
        yield f'<text x="20" y="{y + 13}">{name}</text>'
        yield f'<text class="soft small" x="20" y="{y + 30}">{more}</text>'

    def _ground(self, y: float) -> Iterator[str]:
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y + HEIGHT}" y2="{y + HEIGHT}"/>'

    def _curve(self, kind: str, y: float, values: Points, top: float) -> str:
        places = " L".join(f"{self._x(moment):.1f} {y + HEIGHT * (1 - value / top):.1f}" for moment, value in values)
        return f'<path class="{kind}" d="M{places}"/>'

    def _x(self, moment: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (moment - self._start) / (self._end - self._start)

    def _values(self, expression: str) -> Points:
        found = self._prometheus.query_range(expression, self._start, self._end, STEP)
        pairs = sorted((float(moment), float(value)) for series in found for moment, value in series["values"])
        return [(moment, value) for moment, value in pairs if value == value]  # noqa: PLR0124 - NaN is not


def main() -> None:
    """Run it and draw it."""
    with System(Options(work=0.25, prometheus=True)) as system, Prometheus(system.targets_url) as prometheus:
        life = burst(system, prometheus)
        (PICTURES / "alert.svg").write_text(Picture(life, prometheus).draw())


if __name__ == "__main__":
    main()
