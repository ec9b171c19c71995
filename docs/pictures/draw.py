"""Draws `trace.svg` from the spans of a real run: `PYTHONPATH=. python docs/pictures/draw.py`."""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from examples import quickstart
from otelkafka.testing import SpanRecorder

WIDTH, LEFT, TOP, ROW, BAR = 860, 190, 64, 34, 18
STYLE = """
  .page { fill: #ffffff; stroke: #d0d7de } text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .soft { fill: #59636e } .small { font-size: 11.5px } .title { font-weight: 600; font-size: 14px }
  .grid { stroke: #d0d7de; stroke-dasharray: 2 4 } .own { fill: #8250df } .PRODUCER { fill: #0969da }
  .CONSUMER { fill: #1a7f37 } .busy { fill: url(#hatch) } .fetch { fill: #bf8700 } .hatch { stroke: #bc4c00 }
  .ground { fill: #fff1e5 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; stroke: #3d444d } text { fill: #f0f6fc } .soft { fill: #9198a1 } .grid { stroke: #3d444d }
    .own { fill: #ab7df8 } .PRODUCER { fill: #4493f8 } .CONSUMER { fill: #3fb950 } .fetch { fill: #d29922 }
    .hatch { stroke: #db6d28 } .ground { fill: #3d1300 }
  }
"""
HATCH = """<defs>
<pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect class="ground" width="7" height="7"/><line class="hatch" y2="7" stroke-width="3"/>
</pattern>
</defs>"""


class Waterfall:
    """The spans of one trace, one below the other.

    Args:
        spans: of the trace, in the order of their start.
    """

    def __init__(self, spans: list[ReadableSpan]) -> None:
        self.spans = spans
        self.origin = min(span.start_time or 0 for span in spans)
        self.end = max(span.end_time or 0 for span in spans)

    def at(self, moment: float) -> float:
        """Return where a moment lies, in pixels."""
        return LEFT + (WIDTH - LEFT - 90) * (moment - self.origin) / (self.end - self.origin)

    def draw(self) -> str:
        """Return the picture."""
        height = TOP + ROW * (len(self.spans) + 1) + 46
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{escape(self.title)}</title><style>{STYLE}</style>",
            HATCH,
            f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
            f'<text class="title" x="20" y="30">{escape(self.title)}</text>',
            *self._axis(height),
            *self._rows(),
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    @property
    def title(self) -> str:
        """What the trace is."""
        return f"one trace, {(self.end - self.origin) / 1e6:.0f} ms: the third question asked at once with two others"

    def _axis(self, height: int) -> Iterator[str]:
        for milliseconds in range(0, int((self.end - self.origin) / 1e6) + 1, 50):
            x = self.at(self.origin + milliseconds * 1e6)
            yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{height - 34}"/>'
            yield f'<text class="soft small" x="{x:.1f}" y="{height - 16}" dx="-14">{milliseconds} ms</text>'

    def _rows(self) -> Iterator[str]:
        y, depth = TOP, 0
        for span in self.spans:
            if span.name.startswith("process"):
                yield from self._wait(span, y, depth)
                y += ROW
            kind = span.kind.name if span.kind.name in ("PRODUCER", "CONSUMER") else "own"
            yield from self._bar(span.name, depth, y, span.start_time or 0, span.end_time or 0, kind)
            took = ((span.end_time or 0) - (span.start_time or 0)) / 1e6
            yield self._label(y, self.at(span.end_time or 0) + 8, f"{took:.1f} ms")
            y, depth = y + ROW, depth + 1

    def _wait(self, span: ReadableSpan, y: int, depth: int) -> Iterator[str]:
        told: dict[str, Any] = dict(span.attributes or {})
        start = span.start_time or 0
        busy = told["otelkafka.queue.busy_duration"] * 1e9
        fetch = told["otelkafka.queue.fetch_duration"] * 1e9
        links = [link.attributes or {} for link in span.links]
        (culprit,) = (each for each in links if each["otelkafka.link.type"] == "predecessor")
        yield from self._bar("its wait", depth, y, start - busy - fetch, start - busy, "fetch", soft=True)
        yield from self._bar("", depth, y, start - busy, start, "busy")
        yield self._label(
            y,
            self.at(start) + 8,
            f"fetch {fetch / 1e6:.1f} ms, busy {busy / 1e6:.1f} ms",
        )
        yield (
            f'<text class="small" x="{self.at(start - busy) + 10:.1f}" y="{y - 5}">'
            f"busy: the record before, offset {culprit['messaging.kafka.offset']}, took "
            f"{culprit['otelkafka.process.duration'] * 1e3:.0f} ms of it</text>"
        )

    def _bar(
        self, name: str, depth: int, y: int, start: float, end: float, kind: str, *, soft: bool = False
    ) -> Iterator[str]:
        x = self.at(start)
        yield (
            f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{max(2.5, self.at(end) - x):.1f}" height="{BAR}" rx="2"/>'
        )
        if name:
            yield f'<text class="{"soft" if soft else ""}" x="{20 + 14 * depth}" y="{y + 13}">{escape(name)}</text>'

    def _label(self, y: int, x: float, text: str) -> str:
        return f'<text class="soft small" x="{x:.1f}" y="{y + 13}">{escape(text)}</text>'


def main() -> None:
    """Run the quickstart and draw the trace of its last question."""
    recorder = SpanRecorder()
    quickstart.run(recorder)
    last = recorder.named("ask")[-1].context.trace_id
    spans = sorted((span for span in recorder.spans if span.context.trace_id == last), key=lambda span: span.start_time)
    Path(__file__).with_name("trace.svg").write_text(Waterfall(spans).draw())


if __name__ == "__main__":
    main()
