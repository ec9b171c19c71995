"""Exports spans to Zipkin with what its own exporter leaves out: the other end of a call, and links."""

from typing import Any

from opentelemetry.exporter.zipkin.json import ZipkinExporter
from opentelemetry.exporter.zipkin.json.v2 import JsonV2Encoder
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Link, SpanKind

BROKER_KINDS = SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER


def zipkin_exporter() -> Any:
    """Return an exporter to the Zipkin that the environment names."""
    exporter = ZipkinExporter()
    exporter.encoder = Encoder(exporter.encoder.max_tag_value_length)
    return exporter


class Encoder(JsonV2Encoder):  # type: ignore[misc]
    """Adds two things to each span.

    The remote endpoint of a span of Kafka, from `messaging.system` and `server.address`, from which Zipkin draws its
    graph of dependencies. And a tag for each link, because Zipkin has no links.
    """

    def _encode_span(self, span: Any, encoded_local_endpoint: dict[str, Any]) -> dict[str, Any]:
        encoded: dict[str, Any] = super()._encode_span(span, encoded_local_endpoint)
        if remote := remote_endpoint(span):
            encoded["remoteEndpoint"] = remote
        if span.links:
            encoded["tags"] = {**encoded.get("tags", {}), **link_tags(span)}
        return encoded


def remote_endpoint(span: ReadableSpan) -> dict[str, Any] | None:
    """Return Kafka as the other end of a span, None for a span that has none."""
    attributes = span.attributes or {}
    if span.kind not in BROKER_KINDS or "messaging.system" not in attributes:
        return None
    endpoint = {"serviceName": attributes["messaging.system"]}
    if "server.port" in attributes:
        endpoint["port"] = attributes["server.port"]
    if str(attributes.get("server.address", "")).count(".") == 3:  # noqa: PLR2004 (an address of IPv4)
        endpoint["ipv4"] = attributes["server.address"]
    return endpoint


def link_tags(span: ReadableSpan) -> dict[str, str]:
    """Return a tag for each link: which record it leads to, how long that took, and its trace."""
    return {f"link.{number}": _text_of(link) for number, link in enumerate(span.links, start=1)}


def _text_of(link: Link) -> str:
    attributes: dict[str, Any] = dict(link.attributes or {})
    words = [attributes.get("otelkafka.link.type", "link")]
    if "messaging.kafka.offset" in attributes:
        topic, partition = (attributes.get(f"messaging.destination.{name}", "?") for name in ("name", "partition.id"))
        words.append(f"{topic}-{partition}@{attributes['messaging.kafka.offset']}")
    if "otelkafka.process.duration" in attributes:
        words.append(f"{attributes['otelkafka.process.duration']:.3f} s")
    return f"{', '.join(words)}, trace {link.context.trace_id:032x}"
