"""The patches of aiokafka's classes, which `AIOKafkaInstrumentor` applies when the application has imported them."""

import aiokafka

from otelkafka._clients.aiokafka.consumer import AIOKafkaConsumerFace
from otelkafka._clients.aiokafka.hooks import AwaitedConsumeHook
from otelkafka._clients.aiokafka.producer import AIOKafkaProducerFace
from otelkafka._clients.patch import EntryPoints, Patch
from otelkafka._clients.producer_face import ProduceHook
from otelkafka.options import ConsumerOptions, ProducerOptions

_ENTRY_POINTS = EntryPoints("aiokafka", "aiokafka", "otelkafka-aiokafka")


def patches(
    producing: ProducerOptions,
    consuming: ConsumerOptions,
    produce_hook: ProduceHook | None,
    consume_hook: AwaitedConsumeHook | None = None,
) -> tuple[Patch, ...]:
    """Return the patches of producer and consumer.

    Args:
        producing: the options of every producer.
        consuming: the options of every consumer.
        produce_hook: called with the span and the arguments of `send()` before it is called, and awaited.
        consume_hook: the hook that `on_process` calls, if it may have to be awaited.
    """
    return (
        Patch(
            aiokafka.AIOKafkaProducer,
            AIOKafkaProducerFace,
            lambda producer: AIOKafkaProducerFace(producer, producing, produce_hook),
            _ENTRY_POINTS,
        ),
        Patch(
            aiokafka.AIOKafkaConsumer,
            AIOKafkaConsumerFace,
            lambda consumer: AIOKafkaConsumerFace(consumer, consuming, consume_hook=consume_hook),
            _ENTRY_POINTS,
        ),
    )
