"""Waits of a program that uses a broker: for what happens in another thread, or at the broker."""

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 60.0


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return when a condition holds.

    Raises:
        TimeoutError: it does not in time; the message says what has not come about.
    """
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            msg = f"{what} within {PATIENCE:.0f} s: look at the logs"
            raise TimeoutError(msg)
        time.sleep(0.01)


def wait_until_known(topic: str, consumer: Any) -> None:
    """Return when a consumer knows a topic, as it must before it subscribes to it.

    A leader of kafka-python's that joins its group before that assigns nothing, now and then for good.

    Raises:
        TimeoutError: the broker does not know the topic either.
    """
    wait_until(lambda: consumer.partitions_for_topic(topic), f"the topic {topic} was not known")
