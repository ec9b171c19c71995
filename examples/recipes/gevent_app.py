"""gevent: patch first, import Kafka's client after that, and name in each greenlet what it processes."""

from gevent import monkey

monkey.patch_all()

import os

import gevent
from kafka import KafkaConsumer
from telemetry import set_up

from otelkafka import ConsumerOptions, wrap_consumer

SERVERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "questions")


def main() -> None:
    """Process three records, each in a greenlet."""
    provider = set_up("greenlets")
    bare = KafkaConsumer(TOPIC, bootstrap_servers=SERVERS, group_id="greenlets", auto_offset_reset="earliest")
    consumer = wrap_consumer(bare, ConsumerOptions(process="manual"))

    def work(record: object) -> None:
        with consumer.process(record):
            gevent.sleep(0.01)
            print("answered", record.value.decode())

    done = 0
    while done < 3:
        greenlets = [gevent.spawn(work, record) for records in consumer.poll(500).values() for record in records]
        gevent.joinall(greenlets, raise_error=True)
        done += len(greenlets)
    consumer.close()
    provider.shutdown()


if __name__ == "__main__":
    main()
