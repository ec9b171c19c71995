"""Draws `trace.svg` and `why.svg` from the spans of real runs: `python -m docs.generate.trace_pictures`."""

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from examples import quickstart
from examples.patterns.__main__ import play
from otelkafka.testing import SpanRecorder
from testbroker import Broker, start_broker

PICTURES = Path(__file__).parents[1] / "pictures"
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
        spans: the spans of the trace, in the order of their start.
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
        heading = f'<text class="title" x="20" y="30">{escape(self.title)}</text>'
        return _picture(self.title, height, [heading, *self._axis(height), *self._rows()])

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
            yield from self._row(span, y, depth)
            y, depth = y + ROW, depth + 1

    def _row(self, span: ReadableSpan, y: int, depth: int) -> Iterator[str]:
        kind = span.kind.name if span.kind.name in ("PRODUCER", "CONSUMER") else "own"
        start, end = span.start_time or 0, span.end_time or 0
        yield from self._bar(span.name, depth, y, start, end, kind)
        yield self._label(y, self.at(end) + 8, f"{(end - start) / 1e6:.1f} ms")

    def _wait(self, span: ReadableSpan, y: int, depth: int) -> Iterator[str]:
        attributes: dict[str, Any] = dict(span.attributes or {})
        start = span.start_time or 0
        busy = attributes["otelkafka.queue.busy_duration"] * 1e9
        fetch = attributes["otelkafka.queue.fetch_duration"] * 1e9
        links = [link.attributes or {} for link in span.links]
        busy_links = [each for each in links if each["otelkafka.link.type"] == "busy"]
        yield from self._bar("its wait", depth, y, start - busy - fetch, start - busy, "fetch", soft=True)
        yield from self._bar("", depth, y, start - busy, start, "busy")
        yield self._label(
            y,
            self.at(start) + 8,
            f"fetch {fetch / 1e6:.1f} ms, busy {busy / 1e6:.1f} ms",
        )
        yield (
            f'<text class="small" x="{self.at(start - busy) + 10:.1f}" y="{y - 5}">'
            f"busy with {' and '.join(map(self._named, busy_links))}</text>"
        )

    def _named(self, link: Mapping[str, Any]) -> str:
        return f"offset {link['messaging.kafka.offset']} ({link['otelkafka.process.duration'] * 1e3:.0f} ms)"

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


class Traces(Waterfall):
    """Spans of several traces, each trace with a heading, all on one axis.

    Args:
        spans: the spans of the traces, in the order of their start.
        title: what they are.
        top: where they begin, in pixels.
    """

    def __init__(self, spans: list[ReadableSpan], title: str, top: int) -> None:
        super().__init__(spans)
        self._title, self.bottom = title, top

    @property
    def title(self) -> str:
        """What the traces are."""
        return self._title

    def rows(self) -> Iterator[str]:
        """Yield a heading and, below it, the traces."""
        yield f'<text class="title" x="20" y="{self.bottom + 14}">{escape(self.title)}</text>'
        self.bottom += ROW
        for number, trace in enumerate(dict.fromkeys(span.context.trace_id for span in self.spans), start=1):
            yield f'<text class="soft small" x="20" y="{self.bottom + 12}">trace {number}</text>'
            self.bottom += ROW - 12
            depth = 1
            for span in self.spans:
                if span.context.trace_id == trace:
                    yield from self._row(span, self.bottom, depth)
                    self.bottom, depth = self.bottom + ROW - 8, depth + 1


def _picture(title: str, height: int, parts: list[str]) -> str:
    frame = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        HATCH,
        f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
    ]
    return "\n".join([*frame, *parts, "</svg>"]) + "\n"


def _trace(broker: Broker) -> str:
    """Run the quickstart and draw the trace of its last question."""
    recorder = SpanRecorder()
    for _ in range(2):  # the first of them meets a group and a topic that are new
        recorder.clear()
        quickstart.run(recorder, **broker.client_options)
    last = recorder.named("ask")[-1].context.trace_id
    return Waterfall(_in_order(span for span in recorder.spans if span.context.trace_id == last)).draw()


def _why(broker: Broker) -> str:
    """Ask and answer with bare clients and with wrapped ones, and draw both."""
    spans = _in_order(play("why", broker))
    parts, bottom = [], 22
    for title, some in (("bare clients: two traces", spans[:2]), ("wrapped clients: one trace", spans[2:])):
        traces = Traces(some, title, bottom)
        parts += traces.rows()
        bottom = traces.bottom + 12
    return _picture("the same service with bare clients and with wrapped ones", bottom, parts)


def _in_order(spans: Iterable[ReadableSpan]) -> list[ReadableSpan]:
    return sorted(spans, key=lambda span: span.start_time or 0)


def main() -> None:
    """Draw both."""
    with start_broker("kafka") as broker:
        for name, draw in (("trace", _trace), ("why", _why)):
            (PICTURES / f"{name}.svg").write_text(draw(broker))


if __name__ == "__main__":
    main()
