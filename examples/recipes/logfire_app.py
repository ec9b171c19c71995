"""logfire beside otelkafka: `configure()` sets the global providers, which the wrapped clients use."""

import os

import logfire
from kafka import KafkaConsumer, KafkaProducer

from otelkafka import wrap_consumer, wrap_producer

SERVERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "questions")


def main(**options: object) -> None:
    """Send one record in a span of logfire, and process it: one trace."""
    logfire.configure(service_name="web", **options)
    with wrap_producer(KafkaProducer(bootstrap_servers=SERVERS)) as producer, logfire.span("ask"):
        producer.send(TOPIC, b"Why?").get(timeout=10)
    bare = KafkaConsumer(TOPIC, bootstrap_servers=SERVERS, group_id="web", auto_offset_reset="earliest")
    with wrap_consumer(bare) as consumer:
        for record in consumer:
            logfire.info("answered {question}", question=record.value.decode())
            break
    logfire.shutdown()


if __name__ == "__main__":
    main(send_to_logfire="if-token-present")
