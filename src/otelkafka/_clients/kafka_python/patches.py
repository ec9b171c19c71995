"""The patches of kafka-python's classes, which `KafkaInstrumentor` applies when the application has imported them."""

import kafka

from otelkafka._clients.kafka_python.consumer import ConsumerFace
from otelkafka._clients.kafka_python.producer import ProducerFace
from otelkafka._clients.patch import Patch
from otelkafka._clients.producer_face import ProduceHook
from otelkafka.options import ConsumerOptions, ProducerOptions


def patches(
    producing: ProducerOptions,
    consuming: ConsumerOptions,
    produce_hook: ProduceHook | None,
    consume_hook: object = None,  # noqa: ARG001 (`on_process` calls it)
) -> tuple[Patch, ...]:
    """Return the patches of producer and consumer.

    Args:
        producing: the options of every producer.
        consuming: the options of every consumer.
        produce_hook: called with the span and the arguments of `send()` before it is called.
        consume_hook: not used: `on_process` calls the hook.
    """
    return (
        Patch(
            kafka.KafkaProducer,
            ProducerFace,
            lambda producer: ProducerFace(producer, producing, produce_hook=produce_hook),
        ),
        Patch(kafka.KafkaConsumer, ConsumerFace, lambda consumer: ConsumerFace(consumer, consuming)),
    )
