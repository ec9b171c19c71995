"""Each relation: one record is consumed as a part of its trace, in traces that link to it, and as both."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from examples.patterns.stage import Stage
    from otelkafka import TracedConsumer

PATIENCE = 120


def take(consumer: TracedConsumer, tracer: Tracer) -> None:
    """Handle one record."""
    for _ in islice(consumer, 1):
        with tracer.start_as_current_span("handle"):
            pass


def run(stage: Stage) -> None:
    """Place an order and let it be taken in each relation, alone and in a span of the consumer's own."""
    orders = stage.topic("orders")
    with stage.tracer.start_as_current_span("place order"):
        stage.producer().send(orders, b"1").get(PATIENCE)
    take(stage.consumer(orders, "stock"), stage.tracer)
    take(stage.consumer(orders, "report", relation="link"), stage.tracer)
    take(stage.consumer(orders, "audit", relation="both"), stage.tracer)
    with stage.tracer.start_as_current_span("nightly"):
        take(stage.consumer(orders, "stock.nightly"), stage.tracer)
        take(stage.consumer(orders, "report.nightly", relation="link"), stage.tracer)
        take(stage.consumer(orders, "audit.nightly", relation="both"), stage.tracer)
