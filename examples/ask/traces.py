"""The traces that came by OTLP, in memory."""

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

Attributes = dict[str, Any]
QUESTION = "ask.question"
WAITED, REASON = "otelkafka.queue.duration", "otelkafka.sampled.reason"
REASONS = {"wait": "waited too long", "error": "failed"}
KEPT = 500


@dataclass(frozen=True)
class Link:
    """From a span to another, perhaps of another trace."""

    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(frozen=True)
class Span:
    """One operation of a service; times are in nanoseconds since 1970."""

    service: str
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start: int
    end: int
    attributes: Attributes
    links: tuple[Link, ...] = ()
    error: str | None = None

    @property
    def duration(self) -> float:
        """How long it took, in seconds."""
        return (self.end - self.start) / 1e9

    @property
    def waited(self) -> float:
        """How long its record waited before it, in seconds."""
        return float(self.attributes.get(WAITED, 0))


@dataclass
class Trace:
    """The spans of one trace that have come so far."""

    trace_id: str
    spans: list[Span] = field(default_factory=list)

    @property
    def root(self) -> Span:
        """The span that began it, of those that have come."""
        return min(self.spans, key=lambda span: (bool(span.parent_id), span.start))

    @property
    def start(self) -> int:
        """When it began: with the wait of its record, where nothing before that was recorded."""
        return min(span.start - int(span.waited * 1e9) for span in self.spans)

    @property
    def duration(self) -> float:
        """How long it took, in seconds."""
        return (max(span.end for span in self.spans) - self.start) / 1e9

    @property
    def services(self) -> Counter[str]:
        """How many spans each service has in it."""
        return Counter(span.service for span in sorted(self.spans, key=lambda span: span.start))

    @property
    def question(self) -> str | None:
        """What was asked."""
        return next((str(span.attributes[QUESTION]) for span in self.spans if QUESTION in span.attributes), None)

    @property
    def reason(self) -> str | None:
        """Why it was recorded although it was not sampled: what it did, in words; None where it was sampled."""
        reason = next((span.attributes[REASON] for span in self.spans if REASON in span.attributes), None)
        return None if reason is None else REASONS.get(str(reason), str(reason))

    @property
    def failed(self) -> bool:
        """Whether something in it went wrong."""
        return any(span.error is not None for span in self.spans)

    @property
    def processed(self) -> bool:
        """Whether its record has been processed."""
        return any(span.name.startswith("process") for span in self.spans)

    def span(self, span_id: str) -> Span | None:
        """Return one of its spans."""
        return next((span for span in self.spans if span.span_id == span_id), None)


class Traces:
    """The last traces, by the time of their first span's arrival."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._traces: dict[str, Trace] = {}

    def receive(self, body: bytes) -> None:
        """Take an OTLP request to export traces, as protobuf.

        Raises:
            google.protobuf.message.DecodeError: it is none.
        """
        spans = list(_spans(ExportTraceServiceRequest.FromString(body)))
        with self._lock:
            for span in spans:
                self._traces.setdefault(span.trace_id, Trace(span.trace_id)).spans.append(span)
            while len(self._traces) > KEPT:
                del self._traces[next(iter(self._traces))]

    def all(self) -> list[Trace]:
        """Return the traces, the newest first."""
        with self._lock:
            copies = [_copy(trace) for trace in self._traces.values()]
        return sorted(copies, key=lambda trace: trace.start, reverse=True)

    def get(self, trace_id: str) -> Trace | None:
        """Return one trace, or None."""
        with self._lock:
            found = self._traces.get(trace_id)
            return found and _copy(found)


def _copy(trace: Trace) -> Trace:
    return Trace(trace.trace_id, list(trace.spans))


def _spans(request: ExportTraceServiceRequest) -> Iterable[Span]:
    for resource_spans in request.resource_spans:
        service = str(attributes_of(resource_spans.resource.attributes).get("service.name", "unknown"))
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield _span(service, span)


def _span(service: str, span: trace_pb2.Span) -> Span:
    failed = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    return Span(
        service=service,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=attributes_of(span.attributes),
        links=tuple(
            Link(each.trace_id.hex(), each.span_id.hex(), attributes_of(each.attributes)) for each in span.links
        ),
        error=(span.status.message or "failed") if failed else None,
    )


def attributes_of(pairs: Iterable[KeyValue]) -> Attributes:
    """Return OTLP attributes as a dict."""
    return {each.key: _value(each.value) for each in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None
