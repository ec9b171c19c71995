"""A service that SIGTERM ends in order: the work at hand, the consumer, the producer, and then the export."""

import os
import signal
import threading

from kafka import KafkaConsumer, KafkaProducer
from telemetry import set_up

from otelkafka import wrap_consumer, wrap_producer

SERVERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "questions")


def main() -> None:
    """Answer questions until SIGTERM or Ctrl-C."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    provider = set_up("answers")
    producer = wrap_producer(KafkaProducer(bootstrap_servers=SERVERS))
    consumer = wrap_consumer(
        KafkaConsumer(TOPIC, bootstrap_servers=SERVERS, group_id="answers", auto_offset_reset="earliest")
    )
    try:
        while not stopping.is_set():
            for records in consumer.poll(timeout_ms=500).values():  # ends in half a second at most
                for record in records:
                    producer.send(f"{TOPIC}.answers", record.value.upper())
                    print("answered", record.value.decode(), flush=True)
    finally:
        consumer.close()  # ends the last process span, commits, and leaves the group
        producer.close()  # waits for acknowledgements: the send spans end
        provider.shutdown()  # exports what is left


if __name__ == "__main__":
    main()
