"""aiokafka, with OpenTelemetry's instrumentation of it."""

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from lines import PATIENCE, VALUE, print_record, run
from opentelemetry.instrumentation.aiokafka import AIOKafkaInstrumentor


async def produce(servers, topic, value=VALUE, headers=None):
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        await producer.send_and_wait(topic, value, headers=headers)


async def consume(servers, topic):
    """Take the first record."""
    async with AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest") as consumer:
        record = await asyncio.wait_for(consumer.getone(), PATIENCE)
    print_record(record.value, record.headers)
    return record


async def forward(servers, source, target):
    record = await consume(servers, source)
    await produce(servers, target, record.value, list(record.headers))


def started(function):
    return lambda *arguments: asyncio.run(function(*arguments))


if __name__ == "__main__":
    AIOKafkaInstrumentor().instrument()
    run(started(produce), started(consume), started(forward))
