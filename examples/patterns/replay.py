"""A replay: old records are handled again, in a trace of today that links to theirs."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING

from kafka import TopicPartition

if TYPE_CHECKING:
    from examples.patterns.stage import Stage
    from otelkafka import TracedConsumer

PATIENCE = 120
WEEK = 7 * 24 * 3600
ORDERS = 2


def seek(consumer: TracedConsumer, partition: TopicPartition, since: float) -> None:
    """Go back to the first record that was written at or after a moment, in Unix seconds."""
    found = consumer.offsets_for_times({partition: int(since * 1000)})[partition]
    consumer.seek(partition, found.offset)


def run(stage: Stage) -> None:
    """Handle again what was ordered a week ago, now that the program is mended."""
    orders = stage.topic("orders", {"retention.ms": "-1"})  # records of a week are due to be deleted otherwise
    then = time.time() - WEEK
    producer = stage.producer()
    for order in range(ORDERS):
        with stage.tracer.start_as_current_span("place order"):
            producer.send(orders, str(order).encode(), timestamp_ms=int(then * 1000) + order).get(PATIENCE)
    consumer = stage.consumer(orders, relation="link")
    seek(consumer, TopicPartition(orders, 0), since=then)
    with stage.tracer.start_as_current_span("replay"):
        for _ in islice(consumer, ORDERS):
            with stage.tracer.start_as_current_span("handle"):
                pass
