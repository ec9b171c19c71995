"""Recorders, a clock, a tree of spans as text, and clients without a broker, for tests of traced code. Extra `sdk`."""

try:
    import opentelemetry.sdk  # noqa: F401 (what it needs of it is imported below; this is for the message)
except ImportError as error:
    msg = 'otelkafka.testing needs the OpenTelemetry SDK: pip install "otelkafka[sdk]"'
    raise ImportError(msg) from error

from importlib import import_module
from typing import TYPE_CHECKING, Any

from otelkafka.testing.clock import FakeClock
from otelkafka.testing.recorders import CountingIdGenerator, MetricRecorder, SpanRecorder
from otelkafka.testing.tree import span_tree

if TYPE_CHECKING:
    from otelkafka.testing.aiokafka_consumer import FakeAIOKafkaConsumer
    from otelkafka.testing.aiokafka_producer import FakeAIOKafkaProducer
    from otelkafka.testing.cluster import FakeCluster, fake_record
    from otelkafka.testing.confluent_consumer import FakeConfluentConsumer
    from otelkafka.testing.confluent_message import FakeMessage
    from otelkafka.testing.confluent_producer import FakeConfluentProducer
    from otelkafka.testing.consumer import FakeConsumer
    from otelkafka.testing.future import FakeFuture
    from otelkafka.testing.producer import FakeProducer

__all__ = [
    "CountingIdGenerator",
    "FakeAIOKafkaConsumer",
    "FakeAIOKafkaProducer",
    "FakeClock",
    "FakeCluster",
    "FakeConfluentConsumer",
    "FakeConfluentProducer",
    "FakeConsumer",
    "FakeFuture",
    "FakeMessage",
    "FakeProducer",
    "MetricRecorder",
    "SpanRecorder",
    "fake_record",
    "span_tree",
]

_OF_CLIENTS = {
    "FakeAIOKafkaConsumer": "aiokafka_consumer",
    "FakeAIOKafkaProducer": "aiokafka_producer",
    "FakeCluster": "cluster",
    "FakeConfluentConsumer": "confluent_consumer",
    "FakeConfluentProducer": "confluent_producer",
    "FakeConsumer": "consumer",
    "FakeFuture": "future",
    "FakeMessage": "confluent_message",
    "FakeProducer": "producer",
    "fake_record": "cluster",
}
"""What needs a client library, which is imported when it is asked for, by the modules that have it."""


def __getattr__(name: str) -> Any:
    """Return a fake; where its client library is not installed there is none."""
    if name not in _OF_CLIENTS:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    try:
        found = getattr(import_module(f"{__name__}.{_OF_CLIENTS[name]}"), name)
    except ImportError as error:
        msg = f"module {__name__!r} has no attribute {name!r}: {error}"
        raise AttributeError(msg) from error
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
