"""A batch consumer, from poll to commit: one span a batch, bad records to a dead-letter topic, the rest to a store."""

import itertools
import json
import os
import signal
import threading

from kafka import KafkaConsumer, KafkaProducer
from opentelemetry import trace
from telemetry import set_up

from otelkafka import ConsumerOptions, wrap_consumer, wrap_producer

SERVERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "orders")
DEAD = f"{TOPIC}.dead"
SETTINGS = {"bootstrap_servers": SERVERS, "enable_auto_commit": False, "auto_offset_reset": "earliest"}


def write(rows: list[dict]) -> None:
    """Write the rows to a store. What it raises fails the batch, which is not committed then."""
    print("wrote", json.dumps(rows), flush=True)


def bury(producer, record, error: Exception) -> None:
    """Send a record that cannot be read to the dead-letter topic, and wait for the acknowledgement.

    The send span is a child of the batch's span, and links to the trace of the record.
    """
    reason = [("dead-letter.error", repr(error).encode())]
    headers = [header for header in record.headers if header[1] is not None]  # which kafka-python refuses to send
    producer.send(DEAD, record.value, key=record.key, headers=[*headers, *reason]).get(timeout=10)


def main() -> None:
    """Work until SIGTERM."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    provider = set_up("store")
    producer = wrap_producer(KafkaProducer(bootstrap_servers=SERVERS))
    # "manual": the batch makes the span, not the iteration
    consumer = wrap_consumer(KafkaConsumer(TOPIC, group_id="store", **SETTINGS), ConsumerOptions(process="manual"))
    try:
        while not stopping.is_set():
            polled = consumer.poll(timeout_ms=500, max_records=100)
            with consumer.process_batch(polled):  # an empty batch makes no span
                rows = []
                for record in itertools.chain.from_iterable(polled.values()):
                    try:
                        rows.append(json.loads(record.value))
                    except ValueError as error:
                        trace.get_current_span().record_exception(error)
                        bury(producer, record, error)
                if rows:
                    write(rows)
                if polled:
                    consumer.commit()  # everything before is written or buried
    finally:
        consumer.close()
        producer.close()
        provider.shutdown()


if __name__ == "__main__":
    main()
