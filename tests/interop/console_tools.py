"""Kafka's own console tools, with OpenTelemetry's Java agent in them, which prints its spans as OTLP."""

import json

from tests.interop.running import Seen, output_of

VALUE = "from a console"
SEPARATOR = "~"  # a comma is in baggage
PRINTED = "otel.traces.exporter=experimental-otlp/stdout", "otel.metrics.exporter=none", "otel.logs.exporter=none"
PRODUCER = "org.apache.kafka.tools.ConsoleProducer"
CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"
KINDS = {4: "PRODUCER", 5: "CONSUMER"}


class ConsoleTools:
    """Drives the tools, whose headers are given and printed as `name:value~name:value`, a tab and the value.

    Attributes:
        versions: of Kafka and the agent.
    """

    def __init__(self, versions: str, *java: str) -> None:
        self.versions = versions
        self._java = *java, *(f"-D{setting}" for setting in PRINTED)

    def produce(self, servers, topic, headers):
        return self._send(servers, topic, headers.items())

    def consume(self, servers, topic, *settings):
        """Take the first record of a topic, with more of the agent's settings."""
        options = *_properties("print.headers=true"), "--from-beginning", "--max-messages", "1"
        output = output_of(*self._java, *settings, CONSUMER, "--bootstrap-server", servers, "--topic", topic, *options)
        (line,) = [line for line in output.splitlines() if "\t" in line]
        return Seen(_spans(output), [tuple(header.split(":", 1)) for header in line.split("\t")[0].split(SEPARATOR)])

    def forward(self, servers, source, target):
        taken = self.consume(servers, source)
        sent = self._send(servers, target, taken.headers)
        return Seen(taken.spans + sent.spans, taken.headers)

    def _send(self, servers, topic, headers):
        line = SEPARATOR.join(f"{name}:{value}" for name, value in headers) + f"\t{VALUE}\n"
        # Without --sync the tool sends at its shutdown, at which the agent has ended its exporter.
        options = *_properties("parse.headers=true"), "--sync"
        server = "--bootstrap-server", servers
        return Seen(_spans(output_of(*self._java, PRODUCER, *server, "--topic", topic, *options, stdin=line)), [])


def _properties(headers: str) -> tuple[str, ...]:
    return "--property", headers, "--property", f"headers.separator={SEPARATOR}"


def _spans(output: str) -> list[dict]:
    exported = [json.loads(line) for line in output.splitlines() if line.startswith('{"resourceSpans"')]
    return [
        _span(span)
        for line in exported
        for resource in line["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def _span(shown: dict) -> dict:
    return {
        **_ids(shown),
        "name": shown["name"],
        "kind": KINDS[shown["kind"]],
        "parent_id": shown.get("parentSpanId", ""),
        "tracestate": shown.get("traceState", ""),
        "links": [_ids(link) for link in shown["links"]],
    }


def _ids(shown: dict) -> dict:
    return {"trace_id": shown["traceId"], "span_id": shown["spanId"]}
