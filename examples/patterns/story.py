"""The shape of traces as text: what is whose child, what failed, and what is linked, without times and ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

# Whether a record's consumer was busy before it depends on the moment, and so does that link.
SHOWN = ("creation", "ambient")


def story(spans: Sequence[ReadableSpan]) -> str:
    """Return the traces one below the other, each a tree in the order in which its spans started."""
    return Story(spans).text()


class Story:
    """Spans, and how to show them."""

    def __init__(self, spans: Sequence[ReadableSpan]) -> None:
        self._spans = sorted(spans, key=lambda span: span.start_time or 0)
        self._names = {span.context.span_id: span.name for span in spans}
        traces = list(dict.fromkeys(span.context.trace_id for span in self._spans))
        self._numbers = {trace: number for number, trace in enumerate(traces, start=1)}

    def text(self) -> str:
        """Return all of it."""
        return "\n\n".join("\n".join(self._trace(trace)) for trace in self._numbers)

    def _trace(self, trace: int) -> Iterator[str]:
        yield f"trace {self._numbers[trace]}"
        roots = [span for span in self._spans if span.context.trace_id == trace and self._is_root(span)]
        yield from self._branches(roots, "")

    def _is_root(self, span: ReadableSpan) -> bool:
        return span.parent is None or span.parent.span_id not in self._names

    def _branches(self, spans: Sequence[ReadableSpan], margin: str) -> Iterator[str]:
        for left, span in zip(reversed(range(len(spans))), spans, strict=True):
            yield margin + ("├── " if left else "└── ") + self._line(span)
            children = [child for child in self._spans if child.parent and child.parent.span_id == span.context.span_id]
            yield from self._branches(children, margin + ("│   " if left else "    "))

    def _line(self, span: ReadableSpan) -> str:
        return "  ".join([span.name, *self._described(span), *self._links(span)])

    def _described(self, span: ReadableSpan) -> Iterator[str]:
        attributes: dict[str, Any] = dict(span.attributes or {})
        if span.kind is SpanKind.CONSUMER and "messaging.consumer.group.name" in attributes:
            yield f"[{attributes['messaging.consumer.group.name']}]"
        if not span.status.is_ok:
            yield f"ERROR {attributes['error.type']}"

    def _links(self, span: ReadableSpan) -> Iterator[str]:
        for link in span.links:
            if (link.attributes or {}).get("otelkafka.link.type") in SHOWN:
                number, name = self._numbers[link.context.trace_id], self._names[link.context.span_id]
                yield f"--> {name} of trace {number}"
