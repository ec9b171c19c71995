"""Waits for what happens in another thread, or at the broker."""

import time
from collections.abc import Callable

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
