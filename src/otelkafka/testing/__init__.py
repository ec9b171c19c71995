"""Recorders, a clock, a tree of spans as text, and clients without a broker, for tests of traced code. Extra `sdk`."""

try:
    import opentelemetry.sdk  # noqa: F401 (what it needs of it is imported below; this is for the message)
except ImportError as error:
    msg = 'otelkafka.testing needs the OpenTelemetry SDK: pip install "otelkafka[sdk]"'
    raise ImportError(msg) from error

from otelkafka.testing.clock import FakeClock
from otelkafka.testing.cluster import FakeCluster, fake_record
from otelkafka.testing.consumer import FakeConsumer
from otelkafka.testing.future import FakeFuture
from otelkafka.testing.producer import FakeProducer
from otelkafka.testing.recorders import CountingIdGenerator, MetricRecorder, SpanRecorder
from otelkafka.testing.tree import span_tree

__all__ = [
    "CountingIdGenerator",
    "FakeClock",
    "FakeCluster",
    "FakeConsumer",
    "FakeFuture",
    "FakeProducer",
    "MetricRecorder",
    "SpanRecorder",
    "fake_record",
    "span_tree",
]
