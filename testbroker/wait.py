"""Waits of a program that uses a broker: for what happens in another thread, or at the broker."""

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 300.0  # a busy machine may need some of it


def wait_until(condition: Callable[[], object], what: str, seen: Callable[[], object] | None = None) -> None:
    """Return when a condition holds.

    Args:
        condition: called again and again until what it returns is true.
        what: what is waited for, which the message says.
        seen: returns what there is instead, for the message; None for what the condition returned last.

    Raises:
        TimeoutError: it does not in time; the message says what was waited for, and what was seen.
    """
    until = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > until:
            last = found if seen is None else seen()
            msg = f"waited {PATIENCE:.0f} s for {what}; seen: {last!r}: look at the logs"
            raise TimeoutError(msg)
        time.sleep(0.01)


def wait_until_known(topic: str, consumer: Any) -> None:
    """Return when a consumer knows a topic, as it must before it subscribes to it.

    A leader of kafka-python's that joins its group before that assigns nothing, now and then for good.

    Raises:
        TimeoutError: the broker does not know the topic either.
    """
    wait_until(lambda: consumer.partitions_for_topic(topic), f"the topic {topic} in the metadata of a consumer")
