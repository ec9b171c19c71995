"""OpenTelemetry tracing and metrics for kafka-python: traces through Kafka that show where the time went."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from otelkafka._clients import errors as _errors  # noqa: F401 (it has the engine know their names)
from otelkafka._consuming.consumer_group import process, process_batch, wrap_handler
from otelkafka._context.propagation import extract, inject
from otelkafka._producing.send import Message
from otelkafka._telemetry.scope import VERSION as __version__  # noqa: N811 (the name that packages use)
from otelkafka.headers import Carrier, HeaderCarrier
from otelkafka.options import ConsumerOptions, Options, ProducerOptions

if TYPE_CHECKING:
    from otelkafka._clients.kafka_python.consumer import TracedConsumer, wrap_consumer
    from otelkafka._clients.kafka_python.producer import TracedProducer, wrap_producer

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

_FACES = {
    "TracedConsumer": "consumer",
    "TracedProducer": "producer",
    "wrap_consumer": "consumer",
    "wrap_producer": "producer",
}


def __getattr__(name: str) -> Any:
    """Return what needs kafka-python, which is imported when it is asked for: zero code must not be the first to."""
    if name not in _FACES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    import_module("kafka")  # before the face: another thread that imports it may be about to patch it, by that face
    found = getattr(import_module(f"{__name__}._clients.kafka_python.{_FACES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
