"""A dead-letter topic: what cannot be handled is put aside, and the others go on."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from examples.patterns.stage import Stage
    from otelkafka import TracedConsumer, TracedProducer

PATIENCE = 120


def handle_or_bury(
    consumer: TracedConsumer,
    producer: TracedProducer,
    handle: Callable[[Any], object],
    dead: str,
    count: int | None = None,
) -> None:
    """Handle `count` records, or all that ever come; those that cannot be go to the topic `dead`."""
    for record in islice(consumer, count):
        with consumer.process(record):  # around all that is done about the record
            try:
                with consumer.process(record):  # the same span, which has what is raised in here
                    handle(record)
            except ValueError as error:  # which no further try would mend
                bury(producer, record, error, dead)
            consumer.commit()


def bury(producer: TracedProducer, record: Any, error: Exception, dead: str) -> None:
    """Send a record as it came, with where it lay and what failed it."""
    place = f"{record.topic}/{record.partition}/{record.offset}"
    why = [("dead-letter.place", place.encode()), ("dead-letter.error", repr(error).encode())]
    producer.send(dead, record.value, key=record.key, headers=[*record.headers, *why]).get(PATIENCE)


def run(stage: Stage) -> None:
    """Place an order that can be handled and one that cannot, and look at the one put aside."""
    orders, dead = stage.topic("orders"), stage.topic("orders.dead")
    producer = stage.producer()
    for order in (b"1", b"one"):
        with stage.tracer.start_as_current_span("place order"):
            producer.send(orders, order).get(PATIENCE)
    handle_or_bury(stage.consumer(orders, "stock"), producer, lambda record: int(record.value), dead, count=2)
    for _ in islice(stage.consumer(dead, "support"), 1):
        with stage.tracer.start_as_current_span("alert"):
            pass
