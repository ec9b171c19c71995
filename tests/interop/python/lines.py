"""What the peers in Python share: spans and records as lines of JSON, and the arguments.

A peer produces, consumes or forwards one record. Every span that ends and every record that comes is printed.
"""

import json
import sys

from opentelemetry import context, propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

VALUE = b"from Python"
PATIENCE = 240.0  # less than that of who waits for this program


class Lines(SpanExporter):
    """Prints the spans that are exported to it."""

    def export(self, spans):
        for span in spans:
            parent = f"{span.parent.span_id:016x}" if span.parent else ""
            state = span.context.trace_state.to_header()
            links = [_ids(link.context) for link in span.links]
            recorded = {
                "name": span.name,
                "kind": span.kind.name,
                "parent_id": parent,
                "tracestate": state,
                "links": links,
            }
            _print("span", {**recorded, **_ids(span.context)})
        return SpanExportResult.SUCCESS


def run(produce, consume, forward):
    """Do what the arguments say, with the context of NAME=VALUE arguments current."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Lines()))
    trace.set_tracer_provider(provider)
    command, *arguments = sys.argv[1:]
    if command == "produce":
        servers, topic, *headers = arguments
        context.attach(propagate.extract(dict(header.split("=", 1) for header in headers)))
        produce(servers, topic)
    elif command == "consume":
        consume(*arguments)
    elif command == "forward":
        forward(*arguments)
    else:
        sys.exit(f"no command {command!r}")


def print_record(value, headers):
    """Print a record that came."""
    shown = [(key, recorded.decode(errors="replace")) for key, recorded in headers or ()]
    _print("record", {"value": value.decode(), "headers": shown})


def _ids(of):
    return {"trace_id": f"{of.trace_id:032x}", "span_id": f"{of.span_id:016x}"}


def _print(kind, recorded):
    print(json.dumps({kind: recorded}), flush=True)  # noqa: T201 (it is read by the tests)
