"""One trace as rows, for the page and for the terminal: where its time went, and who took it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from examples.ask.traces import Link, Span, Trace

WORTH_DRAWING = 0.001
SLACK = 0.02
MOST_TICKS, LAST_TICK = 6, 0.95
LONGEST_NAME = 60


@dataclass(frozen=True)
class Segment:
    """A part of a wait.

    Attributes:
        kind: "busy", "kafka" or "before".
        label: as "consumer busy with «Why?»".
        start, end: in seconds since the trace began.
        trace_id: the trace id of what kept the consumer busy, where its trace is known.
    """

    kind: str
    label: str
    start: float
    end: float
    trace_id: str | None = None

    @property
    def duration(self) -> float:
        """How long it took, in seconds."""
        return self.end - self.start

    @property
    def words(self) -> str:
        """What it was spent on, within a sentence."""
        return "in Kafka" if self.kind == "kafka" else self.label


@dataclass(frozen=True)
class Row:
    """A span, or the wait before one.

    Attributes:
        kind: the span's kind, or "wait".
        start, end: in seconds since the trace began.
        span: None for a wait.
    """

    label: str
    kind: str
    service: str
    depth: int
    start: float
    end: float
    span: Span | None = None
    segments: list[Segment] = field(default_factory=list)

    @property
    def duration(self) -> float:
        """How long it took, in seconds."""
        return self.end - self.start

    @property
    def why(self) -> str:
        """Describe the parts of a wait in a sentence."""
        parts = [f"{seconds(part.duration)} {part.words}" for part in self.segments]
        return f"Waited {seconds(self.duration)}: {', '.join(parts)}."

    @property
    def error(self) -> str | None:
        """What went wrong."""
        return self.span.error if self.span else None


class Waterfall:
    """The rows of a trace, each below the one that caused it.

    Args:
        trace: what to draw.
        find: finds another trace by its id, so that what kept the consumer busy can be named by its question.
    """

    def __init__(self, trace: Trace, find: Callable[[str], Trace | None]) -> None:
        self.trace = trace
        self._find = find
        self.rows = list(self._rows())

    @property
    def duration(self) -> float:
        """How long it took, in seconds."""
        return self.trace.duration

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Some round moments to write along the axis, in seconds since the trace began, and in words."""
        step = next((step for step in _steps() if self.duration / step < MOST_TICKS), self.duration)
        moments = [number * step for number in range(MOST_TICKS) if number * step < LAST_TICK * self.duration]
        return [(moment, f"{moment:g} s" if self.duration > 1 else f"{moment * 1000:g} ms") for moment in moments]

    def _rows(self) -> Iterator[Row]:
        known = {span.span_id for span in self.trace.spans}
        spans = sorted(self.trace.spans, key=lambda span: (span.start, -span.end))
        for span in spans:
            if span.parent_id not in known:
                yield from self._below(span, spans, 0)

    def _below(self, span: Span, spans: list[Span], depth: int) -> Iterator[Row]:
        if span.waited > WORTH_DRAWING:
            yield self._wait_row(span, depth)
        yield Row(span.name, span.kind, span.service, depth, self._since(span.start), self._since(span.end), span)
        for child in spans:
            if child.parent_id == span.span_id:
                yield from self._below(child, spans, depth + 1)

    def _wait_row(self, span: Span, depth: int) -> Row:
        end = self._since(span.start)
        topic = str(span.attributes.get("messaging.destination.name", "Kafka"))
        segments = list(self._segments(span, end - span.waited, end))
        return Row(f"waits in {topic}", "wait", "", depth, end - span.waited, end, None, segments)

    def _segments(self, span: Span, start: float, end: float) -> Iterator[Segment]:
        busy, fetch = _seconds(span, "busy_duration"), _seconds(span, "fetch_duration")
        busy_from = end - busy if busy + fetch else end
        kafka_from = busy_from - fetch
        if kafka_from - start > WORTH_DRAWING:
            yield Segment("before", "before there was a consumer for it", start, kafka_from)
        if fetch > 0:
            yield Segment("kafka", "Kafka", max(start, kafka_from), busy_from)
        yield from self._busy(span, busy_from, end)

    def _busy(self, span: Span, start: float, end: float) -> Iterator[Segment]:
        """Divide the busy time among the records that the span's own links lead to, and what is left.

        The links come with the longest overlap first and say how long each record took: what began before the wait is
        shortened. They do not say when, so that the records stand in the order of their offsets.
        """
        busy = left = end - start
        drawn: list[tuple[Link, float]] = []
        for link in span.links:
            took = min(left, float(link.attributes.get("otelkafka.process.duration", 0)))
            if link.attributes.get("otelkafka.link.type") == "busy" and took > WORTH_DRAWING:
                drawn.append((link, took))
                left -= took
        begin = start
        for link, took in sorted(drawn, key=lambda each: each[0].attributes.get("messaging.kafka.offset", 0)):
            trace = self._find(link.trace_id)
            label = f"consumer busy with {name_of(link, trace)}"
            yield Segment("busy", label, begin, begin + took, trace.trace_id if trace else None)
            begin += took
        more = int(span.attributes.get("otelkafka.queue.busy_count", 0)) - sum(_records(link) for link, _ in drawn)
        slack = 0.0 if more > 0 else SLACK * busy  # between two records there is a little else
        if left > max(WORTH_DRAWING, slack):
            yield Segment("busy", _busy_with(more, is_rest=bool(drawn)), begin, end)

    def _since(self, moment: int) -> float:
        return (moment - self.trace.start) / 1e9


def _steps() -> Iterator[float]:
    return (factor * 10.0**power for power in range(-6, 6) for factor in (1, 2, 5))


def name_of(link: Link, trace: Trace | None) -> str:
    """Name what a link leads to: by its question, else by its place in the topic, a batch by its count."""
    if trace and trace.question:
        return f"«{shortened(trace.question)}»"
    place = link.attributes
    topic = place.get("messaging.destination.name", "record")
    if "messaging.batch.message_count" in place:
        return f"a batch of {_records(link)} from {topic}"
    return f"{topic}-{place.get('messaging.destination.partition.id')}@{place.get('messaging.kafka.offset')}"


def shortened(text: str, longest: int = LONGEST_NAME) -> str:
    """Return a text that fits."""
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def seconds(duration: float) -> str:
    """Write a duration down as a person would."""
    if duration < 0.001:  # noqa: PLR2004 - the unit's border
        return f"{duration * 1e6:.0f} µs"
    if duration < 1:
        return f"{duration * 1e3:.{1 if duration < 0.01 else 0}f} ms"  # noqa: PLR2004 - where digits add nothing
    return f"{duration:.2f} s" if duration < 100 else f"{duration:.0f} s"  # noqa: PLR2004 - the same


def _records(link: Link) -> int:
    return int(link.attributes.get("messaging.batch.message_count", 1))


def _busy_with(count: int, *, is_rest: bool) -> str:
    if count <= 0:
        return "consumer busy"
    if is_rest:
        return f"consumer busy with {count} more"
    return f"consumer busy with {count} record{'' if count == 1 else 's'}"


def _seconds(span: Span, part: str) -> float:
    return float(span.attributes.get(f"otelkafka.queue.{part}", 0))
