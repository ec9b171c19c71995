"""Datadog beside otelkafka: ddtrace's provider for OpenTelemetry makes spans of Datadog."""

import os

from ddtrace.opentelemetry import TracerProvider
from kafka import KafkaConsumer, KafkaProducer
from opentelemetry import trace

from otelkafka import wrap_consumer, wrap_producer

SERVERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "questions")


def main() -> None:
    """Send one record in a span, and process it: one trace. Start it with DD_TRACE_OTEL_ENABLED=true."""
    trace.set_tracer_provider(TracerProvider())
    tracer, bare = trace.get_tracer("web"), KafkaProducer(bootstrap_servers=SERVERS)
    with wrap_producer(bare) as producer, tracer.start_as_current_span("ask"):
        producer.send(TOPIC, b"Why?").get(timeout=10)
    bare = KafkaConsumer(TOPIC, bootstrap_servers=SERVERS, group_id="web", auto_offset_reset="earliest")
    with wrap_consumer(bare) as consumer:
        for record in consumer:
            print("answered", record.value.decode(), trace.get_current_span())
            break


if __name__ == "__main__":
    main()
