"""A replay: old records are handled again, in a trace of today that links to theirs."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING

from kafka import TopicPartition

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from examples.patterns.stage import Stage
    from otelkafka import TracedConsumer

PATIENCE = 120
WEEK = 7 * 24 * 3600
ORDERS = 2


def seek(consumer: TracedConsumer, partition: TopicPartition, since: float) -> None:
    """Go back to the first record that was written at or after a moment, in Unix seconds."""
    found = consumer.offsets_for_times({partition: int(since * 1000)})[partition]
    consumer.seek(partition, found.offset)


def replay(consumer: TracedConsumer, tracer: Tracer, partition: TopicPartition, since: float, count: int) -> None:
    """Handle `count` records again, in a trace of today."""
    seek(consumer, partition, since)
    with tracer.start_as_current_span("replay"):
        for _ in islice(consumer, count):
            with tracer.start_as_current_span("handle"):
                pass


def run(stage: Stage) -> None:
    """Handle again what was ordered a week ago, now that the program is mended."""
    orders = stage.topic("orders", {"retention.ms": "-1"})  # records of a week are due to be deleted otherwise
    then = time.time() - WEEK
    producer = stage.producer()
    for order in range(ORDERS):
        with stage.tracer.start_as_current_span("place order"):
            producer.send(orders, str(order).encode(), timestamp_ms=int(then * 1000) + order).get(PATIENCE)
    replay(stage.consumer(orders, relation="link"), stage.tracer, TopicPartition(orders, 0), then, ORDERS)
