"""OpenTelemetry tracing and metrics for Kafka's Python clients: traces that show where the time went."""

from typing import TYPE_CHECKING, Any

from otelkafka._clients import errors as _errors  # noqa: F401 (it has the engine know their names)
from otelkafka._clients.faces import traced_class
from otelkafka._consuming.consumer_group import process, process_batch, wrap_handler
from otelkafka._context.propagation import extract, inject
from otelkafka._producing.send import Message
from otelkafka._telemetry.scope import VERSION as __version__  # noqa: N811 (the name that packages use)
from otelkafka.headers import Carrier, HeaderCarrier
from otelkafka.options import ConsumerOptions, Options, ProducerOptions

if TYPE_CHECKING:
    from otelkafka._clients.aiokafka.consumer import TracedAIOKafkaConsumer
    from otelkafka._clients.aiokafka.producer import TracedAIOKafkaProducer
    from otelkafka._clients.confluent_kafka.consumer import TracedConfluentConsumer
    from otelkafka._clients.confluent_kafka.producer import TracedConfluentProducer
    from otelkafka._clients.kafka_python.consumer import TracedConsumer
    from otelkafka._clients.kafka_python.producer import TracedProducer
    from otelkafka._clients.signatures import wrap_consumer, wrap_producer
else:
    from otelkafka._clients.faces import wrap_consumer, wrap_producer

__all__ = [
    "Carrier",
    "ConsumerOptions",
    "HeaderCarrier",
    "Message",
    "Options",
    "ProducerOptions",
    "TracedAIOKafkaConsumer",
    "TracedAIOKafkaProducer",
    "TracedConfluentConsumer",
    "TracedConfluentProducer",
    "TracedConsumer",
    "TracedProducer",
    "__version__",
    "extract",
    "inject",
    "process",
    "process_batch",
    "wrap_consumer",
    "wrap_handler",
    "wrap_producer",
]


def __getattr__(name: str) -> Any:
    """Import a name that needs a client library when it is first used: zero code must not import the library first.

    Where that library is not installed there is no such name.
    """
    try:
        found = traced_class(name)
    except (KeyError, ImportError) as error:
        msg = f"module {__name__!r} has no attribute {name!r}"
        if isinstance(error, ImportError):
            msg += f": {error}"
        raise AttributeError(msg) from error
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
