"""A member of a group: what it is assigned and gives up, with a listener, and a commit for each record."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from kafka import ConsumerRebalanceListener

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from examples.patterns.stage import Stage
    from otelkafka import TracedConsumer

PATIENCE = 120


class Stock(ConsumerRebalanceListener):  # type: ignore[misc]
    """Has what it knows of its partitions loaded when they come, and saved when they go."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def on_partitions_assigned(self, assigned: Any) -> None:
        """Load it: the span is a child of `assign`."""
        if assigned:
            with self._tracer.start_as_current_span("load"):
                pass

    def on_partitions_revoked(self, revoked: Any) -> None:
        """Save it: the span is a child of `revoke`. Before its first assignment a member gets an empty list."""
        if revoked:
            with self._tracer.start_as_current_span("save"):
                pass


def handle(consumer: TracedConsumer, tracer: Tracer, count: int | None = None) -> None:
    """Handle and commit one order after the other; `count` of them, or all that ever come."""
    for _ in islice(consumer, count):
        with tracer.start_as_current_span("pick"):
            pass
        consumer.commit()


def run(stage: Stage) -> None:
    """Place an order, and let a member of the group handle it and leave."""
    orders = stage.topic("orders")
    with stage.tracer.start_as_current_span("place order"):
        stage.producer().send(orders, b"1").get(PATIENCE)
    consumer = stage.consumer(orders, "stock", rebalance_spans=True)
    consumer.subscribe([orders], listener=Stock(stage.tracer))
    handle(consumer, stage.tracer, count=1)
