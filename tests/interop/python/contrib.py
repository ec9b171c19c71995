"""kafka-python, with opentelemetry-instrumentation-kafka-python."""

import uuid

from kafka import KafkaConsumer, KafkaProducer
from lines import PATIENCE, VALUE, print_record, run
from opentelemetry.instrumentation.kafka import KafkaInstrumentor


def produce(servers, topic, value=VALUE, headers=None):
    producer = KafkaProducer(bootstrap_servers=servers)
    producer.send(topic, value, headers=headers).get(PATIENCE)
    producer.close()


def consume(servers, topic):
    """Take the first record, whose span is over by then."""
    settings = {"bootstrap_servers": servers, "group_id": uuid.uuid4().hex, "auto_offset_reset": "earliest"}
    consumer = KafkaConsumer(topic, **settings, consumer_timeout_ms=PATIENCE * 1000)
    record = next(consumer)
    print_record(record.value, record.headers)
    consumer.close()
    return record


def forward(servers, source, target):
    record = consume(servers, source)
    produce(servers, target, record.value, record.headers)


if __name__ == "__main__":
    KafkaInstrumentor().instrument()
    run(produce, consume, forward)
