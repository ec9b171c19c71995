"""Makes Kafka visible to OpenTelemetry: traces through kafka-python's producers and consumers, in one line each."""

from otelkafka._clients.kafka_python.consumer import TracedConsumer, wrap_consumer
from otelkafka._clients.kafka_python.producer import TracedProducer, wrap_producer
from otelkafka._consuming.consumer_group import process, process_batch, wrap_handler
from otelkafka._context.propagation import extract, inject
from otelkafka._producing.send import Message
from otelkafka._telemetry.scope import VERSION as __version__  # noqa: N811 (the name that packages use)
from otelkafka.headers import Carrier, HeaderCarrier
from otelkafka.options import ConsumerOptions, Options, ProducerOptions

__all__ = [
    "Carrier",
    "ConsumerOptions",
    "HeaderCarrier",
    "Message",
    "Options",
    "ProducerOptions",
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
