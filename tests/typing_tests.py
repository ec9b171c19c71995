"""What a type checker knows of the public names; checked by mypy and pyright, never run."""

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import Consumer, Producer
from kafka import KafkaConsumer, KafkaProducer
from opentelemetry.context import Context
from opentelemetry.trace import Span
from typing_extensions import assert_type

from otelkafka import (
    ConsumerOptions,
    HeaderCarrier,
    ProducerOptions,
    TracedConsumer,
    TracedProducer,
    extract,
    inject,
    process,
    process_batch,
    wrap_consumer,
    wrap_handler,
    wrap_producer,
)
from otelkafka.testing import FakeClock, FakeConsumer, FakeFuture, FakeProducer, SpanRecorder, span_tree

producer = wrap_producer(KafkaProducer(), ProducerOptions(on_send=lambda span, message: span.end()))
assert_type(producer, TracedProducer)
consumer = wrap_consumer(KafkaConsumer(), ConsumerOptions(relation="link"))
assert_type(consumer, TracedConsumer)
with consumer as entered:
    assert_type(entered, TracedConsumer)


async def await_clients(awaited_producer: AIOKafkaProducer, awaited_consumer: AIOKafkaConsumer) -> None:
    """Wrap the clients of aiokafka, whose methods are awaited; mypy knows no types of theirs."""
    async with wrap_producer(awaited_producer, ProducerOptions()) as sending:
        await sending.send_and_wait("t", b"v")
        await sending.flush()
    receiving = wrap_consumer(awaited_consumer)
    async for each in receiving:
        with receiving.process(each) as around:
            assert_type(around, Span)
    await await_clients(sending, receiving)


def process_messages(confluent_producer: Producer, confluent_consumer: Consumer) -> None:
    """Wrap the clients of confluent-kafka; mypy knows no types of theirs."""
    sending, receiving = wrap_producer(confluent_producer), wrap_consumer(confluent_consumer)
    sending.produce("t", b"v")
    sending.flush()
    for message in receiving.consume(500):
        with receiving.process(message) as around, process(message):
            assert_type(around, Span)
    process_messages(sending, receiving)


def send(with_producer: KafkaProducer, received_from: KafkaConsumer) -> None:
    """Take clients as the application's own functions do."""


send(producer, consumer)
clients: tuple[KafkaProducer, KafkaConsumer] = (producer, consumer)
producer.flush()
consumer.seek_to_beginning()

for record in consumer:
    with consumer.process(record) as span:
        assert_type(span, Span)
    with process(record) as span, process_batch([record]) as batch:
        assert_type(batch, Span)

assert_type(inject([("key", b"value")]), list[tuple[str, bytes]])
assert_type(extract([("key", b"value")]), Context)
assert_type(HeaderCarrier().get("key"), str | None)


@wrap_handler
def handle(value: int) -> str:
    """Keep its type through the decorator."""
    return str(value)


@wrap_handler(options=ConsumerOptions())
async def handle_async(value: int) -> str:
    """Keep its type through the decorator with options."""
    return str(value)


assert_type(handle(1), str)

assert_type(FakeProducer().send("questions", b"Why?"), FakeFuture)
assert_type(wrap_consumer(FakeConsumer("questions")), TracedConsumer)
assert_type(span_tree(SpanRecorder(deterministic=True).spans, attributes=("otelkafka.*",)), str)
with FakeClock() as clock:
    assert_type(clock, FakeClock)
    assert_type(clock.now, int)

ConsumerOptions(relation="both")
ConsumerOptions(relation="child")  # type: ignore[arg-type]
ProducerOptions(on_ack=5)  # type: ignore[arg-type]
