"""Processes records one by one, and sends those that cannot be processed to a dead-letter topic (DLQ)."""

import os
import signal
import threading

from kafka import KafkaConsumer, KafkaProducer
from telemetry import set_up

from otelkafka import wrap_consumer, wrap_producer

SERVERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "orders")
DEAD = f"{TOPIC}.dead"
SETTINGS = {"bootstrap_servers": SERVERS, "enable_auto_commit": False, "auto_offset_reset": "earliest"}


def handle(record) -> None:
    """Raise ValueError for an order that is not a number: another attempt would fail, too."""
    print("ordered", int(record.value), flush=True)


def bury(producer, record, error: ValueError) -> None:
    """Send the record and the reason to the dead-letter topic, and wait for the acknowledgement."""
    reason = [("dead-letter.error", repr(error).encode())]
    headers = [header for header in record.headers if header[1] is not None]  # which kafka-python refuses to send
    producer.send(DEAD, record.value, key=record.key, headers=[*headers, *reason]).get(timeout=10)


def main() -> None:
    """Work until SIGTERM."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    provider = set_up("stock")
    producer = wrap_producer(KafkaProducer(bootstrap_servers=SERVERS))
    # after 500 ms without a record the loop ends, so that SIGTERM is seen
    consumer = wrap_consumer(KafkaConsumer(TOPIC, group_id="stock", consumer_timeout_ms=500, **SETTINGS))
    try:
        while not stopping.is_set():
            for record in consumer:
                with consumer.process(record):  # around all that belongs to the record
                    try:
                        with consumer.process(record):  # the same span: it records the exception, and stays open
                            handle(record)
                    except ValueError as error:
                        bury(producer, record, error)
                    consumer.commit()
                if stopping.is_set():
                    break
    finally:
        consumer.close()
        producer.close()
        provider.shutdown()


if __name__ == "__main__":
    main()
