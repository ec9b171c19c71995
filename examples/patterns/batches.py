"""A relay of batches: many records go in, one comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from examples.patterns.stage import Stage
    from otelkafka import TracedConsumer, TracedProducer

PATIENCE = 120
READINGS = 3


def summarise(consumer: TracedConsumer, producer: TracedProducer, sums: str) -> int:
    """Send the sum of what one poll brings, and return how many records that were."""
    polled = consumer.poll(timeout_ms=1000)
    if not polled:
        return 0
    with consumer.process_batch(polled):
        values = [int(record.value) for record in _all(polled)]
        producer.send(sums, str(sum(values)).encode()).get(PATIENCE)
        consumer.commit()
    return len(values)


def _all(polled: dict[Any, list[Any]]) -> Iterator[Any]:
    for records in polled.values():
        yield from records


def run(stage: Stage) -> None:
    """Send readings, each in a trace of its own, and sum them."""
    readings, sums = stage.topic("readings"), stage.topic("sums")
    producer = stage.producer()
    for number in range(READINGS):
        with stage.tracer.start_as_current_span("measure"):
            producer.send(readings, str(number).encode()).get(PATIENCE)
    consumer = stage.consumer(readings, "meters")
    while not summarise(consumer, producer, sums):
        pass
