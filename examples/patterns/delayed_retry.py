"""A delayed retry: what fails for now is tried again later, on a topic of its own, and put aside at last."""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from examples.patterns.dead_letter import bury

if TYPE_CHECKING:
    from collections.abc import Callable

    from examples.patterns.stage import Stage
    from otelkafka import TracedConsumer, TracedProducer

PATIENCE = 120
DELAY = 0.5
ATTEMPTS = 3
ATTEMPT = "retry.attempt"


def handle_or_retry(
    consumer: TracedConsumer,
    handle: Callable[[Any], object],
    failed: Callable[[Any, Exception], object],
    delay: float = 0.0,
    count: int | None = None,
) -> None:
    """Handle `count` records, or all that ever come, not before they are `delay` seconds old.

    The consumer has process="manual", so that the time until a record is due is not in its span.
    """
    for record in islice(consumer, count):
        time.sleep(max(0.0, record.timestamp / 1000 + delay - time.time()))
        with suppress(OSError), consumer.process(record):
            try:
                handle(record)
            except OSError as error:  # which may pass
                failed(record, error)  # inside of the span: the trace goes on from what failed
                raise
        consumer.commit()


class Retries:
    """Sends what failed to be tried again, or puts it aside.

    Args:
        producer: which sends it.
        later: the topic of what is tried again.
        dead: the topic of what has failed for good.
    """

    def __init__(self, producer: TracedProducer, later: str, dead: str) -> None:
        self._producer, self._later, self._dead = producer, later, dead

    def __call__(self, record: Any, error: Exception) -> None:
        """Send a record on."""
        attempt = int(dict(record.headers).get(ATTEMPT, b"1"))
        if attempt == ATTEMPTS:
            bury(self._producer, record, error, self._dead)
            return
        kept = [(key, value) for key, value in record.headers if key != ATTEMPT]
        headers = [*kept, (ATTEMPT, str(attempt + 1).encode())]
        self._producer.send(self._later, record.value, key=record.key, headers=headers).get(PATIENCE)


def run(stage: Stage) -> None:
    """Place an order while what it needs is out of order, for good."""

    def handle(record: Any) -> None:
        msg = f"no answer about {record.value!r}"
        raise ConnectionError(msg)

    orders, later, dead = stage.topic("orders"), stage.topic("orders.retry"), stage.topic("orders.dead")
    producer = stage.producer()
    failed = Retries(producer, later, dead)
    with stage.tracer.start_as_current_span("place order"):
        producer.send(orders, b"1").get(PATIENCE)
    handle_or_retry(stage.consumer(orders, "stock", process="manual"), handle, failed, count=1)
    handle_or_retry(stage.consumer(later, "stock.retry", process="manual"), handle, failed, DELAY, count=2)
