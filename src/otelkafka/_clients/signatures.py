"""The types of `wrap_producer()` and `wrap_consumer()`, for type checkers. It is never imported."""

from typing import Any, Protocol, overload

from otelkafka._clients.aiokafka.consumer import TracedAIOKafkaConsumer
from otelkafka._clients.aiokafka.producer import TracedAIOKafkaProducer
from otelkafka._clients.confluent_kafka.consumer import TracedConfluentConsumer
from otelkafka._clients.confluent_kafka.producer import TracedConfluentProducer
from otelkafka._clients.kafka_python.consumer import TracedConsumer
from otelkafka._clients.kafka_python.producer import TracedProducer
from otelkafka.options import Options

MYPY = False
"""True to mypy, which knows the types of no library: each client matches all overloads, and it chooses none."""


class AwaitedProducer(Protocol):
    """A producer whose sends are awaited."""

    async def send_and_wait(self, topic: Any) -> Any:
        """Send a record, and wait for its acknowledgement."""


class AwaitedConsumer(Protocol):
    """A consumer whose records are awaited."""

    async def getone(self) -> Any:
        """Return the next record."""


class ConfluentAsyncProducer(Protocol):
    """An async producer of confluent-kafka."""

    async def produce(self, topic: str) -> Any:
        """Send a record."""


class ConfluentAsyncConsumer(Protocol):
    """An async consumer of confluent-kafka."""

    async def consume(self) -> Any:
        """Return messages."""


class ConfluentProducer(Protocol):
    """A producer of confluent-kafka."""

    @property
    def produce(self) -> Any:
        """Send a record."""


class ConfluentConsumer(Protocol):
    """A consumer of confluent-kafka."""

    @property
    def consume(self) -> Any:
        """Return messages."""


if MYPY:

    def wrap_producer(producer: Any, options: Options | None = None) -> TracedProducer:
        """Trace what a producer sends."""
        raise NotImplementedError

    def wrap_consumer(consumer: Any, options: Options | None = None) -> TracedConsumer:
        """Trace the processing of the records that a consumer returns."""
        raise NotImplementedError

else:

    @overload
    def wrap_producer(producer: AwaitedProducer, options: Options | None = None) -> TracedAIOKafkaProducer: ...

    @overload
    def wrap_producer(producer: ConfluentAsyncProducer, options: Options | None = None) -> Any: ...

    @overload
    def wrap_producer(producer: ConfluentProducer, options: Options | None = None) -> TracedConfluentProducer: ...

    @overload
    def wrap_producer(producer: Any, options: Options | None = None) -> TracedProducer: ...

    def wrap_producer(producer: Any, options: Options | None = None) -> Any:
        """Trace what a producer sends."""

    @overload
    def wrap_consumer(consumer: AwaitedConsumer, options: Options | None = None) -> TracedAIOKafkaConsumer: ...

    @overload
    def wrap_consumer(consumer: ConfluentAsyncConsumer, options: Options | None = None) -> Any: ...

    @overload
    def wrap_consumer(consumer: ConfluentConsumer, options: Options | None = None) -> TracedConfluentConsumer: ...

    @overload
    def wrap_consumer(consumer: Any, options: Options | None = None) -> TracedConsumer: ...

    def wrap_consumer(consumer: Any, options: Options | None = None) -> Any:
        """Trace the processing of the records that a consumer returns."""
