"""A pool of threads that works on the records of each poll, and a commit when all of them are done."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

from kafka import KafkaConsumer
from telemetry import set_up

from otelkafka import ConsumerOptions, wrap_consumer

SERVERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "questions")
SETTINGS = {"bootstrap_servers": SERVERS, "enable_auto_commit": False, "auto_offset_reset": "earliest"}


def main() -> None:
    """Work until SIGTERM."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    provider = set_up("pool")
    consumer = wrap_consumer(KafkaConsumer(TOPIC, group_id="pool", **SETTINGS), ConsumerOptions(process="manual"))

    def work(record: object) -> None:
        with consumer.process(record):  # the process span is current in this thread
            print("answered", record.value.decode(), flush=True)

    with ThreadPoolExecutor(max_workers=8) as pool:
        while not stopping.is_set():
            polled = consumer.poll(timeout_ms=500, max_records=100)
            tasks = [pool.submit(work, record) for records in polled.values() for record in records]
            for task in tasks:
                task.result()  # raises what the work raised: then nothing is committed
            if tasks:
                consumer.commit()  # in this thread, which alone uses the consumer
    consumer.close()
    provider.shutdown()


if __name__ == "__main__":
    main()
