"""Spans as a tree of text, to read and to compare."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from opentelemetry.sdk.trace import ReadableSpan

_MILLISECOND = 1_000_000


def span_tree(spans: Sequence[ReadableSpan], *, attributes: Collection[str] = (), links: bool = False) -> str:
    """Return spans as an indented tree, each with when it started in its trace and how long it took.

    With a `FakeClock` and `SpanRecorder(deterministic=True)` it is the same text each time.

    Args:
        spans: the spans of one or more traces.
        attributes: names of attributes to show below each span, also as wildcards: `("messaging.*",)`.
        links: whether to show links, each with its attributes of these names and the span it leads to.

    Returns:
        A line a span; a trace's spans below their parents, in order of their start.
    """
    return "\n".join(_Tree(spans, attributes, links).lines())


class _Tree:
    def __init__(self, spans: Sequence[ReadableSpan], attributes: Collection[str], links: bool) -> None:  # noqa: FBT001
        self._spans = sorted(spans, key=lambda span: span.start_time or 0)
        self._names = {span.context.span_id: span.name for span in self._spans}
        self._attributes = attributes
        self._links = links

    def lines(self) -> Iterator[str]:
        for span in self._spans:
            if span.parent is None or span.parent.span_id not in self._names:
                yield from self._branch(span, span.start_time or 0, 0)

    def _branch(self, span: ReadableSpan, origin: int, depth: int) -> Iterator[str]:
        start, end = span.start_time or 0, span.end_time or 0
        times = f"{(start - origin) / _MILLISECOND:9.1f} ms {(end - start) / _MILLISECOND:9.1f} ms"
        failed = "" if span.status.is_ok else f"  ERROR {span.status.description or ''}"
        yield f"{times}  {'  ' * depth}{span.name}{failed}"
        below = " " * len(times) + "  " * (depth + 3)
        yield from (below + line for line in self._details(span))
        for child in self._spans:
            if child.parent is not None and child.parent.span_id == span.context.span_id:
                yield from self._branch(child, origin, depth + 1)

    def _details(self, span: ReadableSpan) -> Iterator[str]:
        yield from self._chosen(span.attributes)
        for link in span.links if self._links else ():
            yield f"link to {self._names.get(link.context.span_id, f'{link.context.span_id:016x}')}"
            yield from (f"  {line}" for line in self._chosen(link.attributes))

    def _chosen(self, attributes: Mapping[str, object] | None) -> Iterator[str]:
        for name, value in sorted((attributes or {}).items()):
            if any(fnmatchcase(name, wanted) for wanted in self._attributes):
                yield f"{name}: {value}"
