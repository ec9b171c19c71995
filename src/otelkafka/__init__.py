"""Makes Kafka visible to OpenTelemetry: traces through kafka-python's producers and consumers, in one line each."""

from otelkafka.consumer import TracedConsumer, wrap_consumer
from otelkafka.consumer_group import process, process_batch, wrap_handler
from otelkafka.headers import Carrier, HeaderCarrier
from otelkafka.message import Message
from otelkafka.options import ConsumerOptions, Options, ProducerOptions
from otelkafka.producer import TracedProducer, wrap_producer
from otelkafka.propagation import extract, inject
from otelkafka.telemetry import VERSION as __version__  # noqa: N811 (the name that packages use)

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
