"""What a test of traced code needs: recorders, a clock, a tree as text, and clients without a broker; extra `sdk`."""

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
