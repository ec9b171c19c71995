"""How many bytes the spans of a record take in OTLP: those of a send and of a record consumed.

Run as a program it prints bytes a span, in exports of 512 as protobuf, as JSON.
"""

import json
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from benchmarks.own_cost import Case
from otelkafka.testing import SpanRecorder

EXPORT = 512


def spans_of(recorder: SpanRecorder, action: str) -> list[Any]:
    """Return the spans that one action makes."""
    recorder.clear()
    Case(action, "always").work("wrapped", {})()
    return recorder.spans


def main() -> None:
    """Make spans, and encode them as an exporter does."""
    recorder = SpanRecorder()
    trace.set_tracer_provider(recorder.tracer_provider)
    found = {}
    for action in ("send", "iterate"):
        spans = (spans_of(recorder, action) * 2)[:EXPORT]
        found[action] = round(encode_spans(spans).ByteSize() / len(spans))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
