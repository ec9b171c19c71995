"""confluent-kafka, with OpenTelemetry's instrumentation of it."""

import uuid

import confluent_kafka
from lines import PATIENCE, VALUE, print_record, run
from opentelemetry.instrumentation.confluent_kafka import ConfluentKafkaInstrumentor


def produce(servers, topic, value=VALUE, headers=None):
    producer = confluent_kafka.Producer({"bootstrap.servers": servers})
    producer.produce(topic, value, headers=headers)
    assert producer.flush(PATIENCE) == 0


def consume(servers, topic, handle=lambda _message: None):
    """Take the first record, inside its span, which lasts until the consumer is closed."""
    settings = {"bootstrap.servers": servers, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"}
    consumer = confluent_kafka.Consumer(settings)
    consumer.subscribe([topic])
    message = consumer.poll(PATIENCE)
    assert message and not message.error(), message and message.error()
    print_record(message.value(), message.headers())
    handle(message)
    consumer.close()


def forward(servers, source, target):
    consume(servers, source, lambda message: produce(servers, target, message.value(), message.headers()))


if __name__ == "__main__":
    ConfluentKafkaInstrumentor().instrument()
    run(produce, consume, forward)
