"""Sentry beside otelkafka: spans of OpenTelemetry become a transaction of Sentry."""

import os

import sentry_sdk
from kafka import KafkaProducer
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from sentry_sdk.integrations.opentelemetry import SentrySpanProcessor

from otelkafka import ProducerOptions, wrap_producer

SERVERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "questions")


def main(**sentry: object) -> None:
    """Send one record in a transaction, and do not wait for its acknowledgement."""
    sentry_sdk.init(traces_sample_rate=1.0, instrumenter="otel", **sentry)
    provider = TracerProvider()
    provider.add_span_processor(SentrySpanProcessor())
    trace.set_tracer_provider(provider)
    # The transaction ends with its root span. A span that ends later, at the acknowledgement, is not in it: with
    # max_in_flight=0 the send span ends when send() returns.
    producer = wrap_producer(KafkaProducer(bootstrap_servers=SERVERS), ProducerOptions(max_in_flight=0))
    with trace.get_tracer("web").start_as_current_span("POST /questions"):
        producer.send(TOPIC, b"Why?")
    producer.close()
    sentry_sdk.flush()


if __name__ == "__main__":
    main(dsn=os.environ.get("SENTRY_DSN"))
