"""Fan-out: one record goes to several groups, and one becomes many."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from examples.patterns.stage import Stage
    from otelkafka import TracedConsumer, TracedProducer

PATIENCE = 120


def split(consumer: TracedConsumer, producer: TracedProducer, picks: str, count: int | None = None) -> None:
    """Send a record for each item of an order; `count` orders, or all that ever come."""
    for order in islice(consumer, count):
        for item in order.value.split(b","):
            producer.send(picks, item, key=order.key, headers=order.headers)
        producer.flush(PATIENCE)
        consumer.commit()


def run(stage: Stage) -> None:
    """Place an order that two groups take up; one of them splits it for a third."""
    orders, picks = stage.topic("orders"), stage.topic("picks")
    producer = stage.producer()
    with stage.tracer.start_as_current_span("place order"):
        producer.send(orders, b"tea,cup").get(PATIENCE)
    for _ in islice(stage.consumer(orders, "mail"), 1):
        with stage.tracer.start_as_current_span("write mail"):
            pass
    split(stage.consumer(orders, "stock"), producer, picks, count=1)
    for _ in islice(stage.consumer(picks, "robots", relation="link"), 2):
        with stage.tracer.start_as_current_span("pick"):
            pass
