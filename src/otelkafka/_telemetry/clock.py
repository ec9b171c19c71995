"""The clocks, and the units of time."""

import time
from collections.abc import Callable
from typing import Final

NANOSECONDS: Final = 1_000_000_000
"""In a second."""
MILLISECOND: Final = 1_000_000
"""In nanoseconds, the unit of every time and duration in this package that does not name another one."""

now: Callable[[], int] = time.time_ns
"""Return the Unix time in nanoseconds. Everybody calls it as `clock.now()`, so that a test replaces one name.

It may raise where a test library replaced it: `Telemetry.now()` contains that.
"""
monotonic: Callable[[], float] = time.monotonic
"""Return seconds that never go back, for what is renewed now and then."""


def seconds(nanoseconds: int) -> float:
    """Return a duration in the unit of the conventions."""
    return nanoseconds / NANOSECONDS
