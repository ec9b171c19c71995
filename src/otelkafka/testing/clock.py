"""A clock that stands still until the test advances it, so that the test sets each duration."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from opentelemetry.sdk import trace

from otelkafka._telemetry import clock

_START: Final = 1_767_225_600_000_000_000  # the first moment of 2026, UTC
_SECOND: Final = 1_000_000_000

now: Callable[[], int] = time.time_ns
"""Return the Unix time in nanoseconds; the fakes call it as `clock.now()`."""


class FakeClock:
    """The clock of otelkafka, its fakes and the SDK's spans, inside `with FakeClock() as clock:`.

    It does not change `time.time()` and `time.sleep()`.

    Args:
        now: the time at the start, in nanoseconds since 1970.

    Attributes:
        now: the time, in nanoseconds since 1970.
    """

    def __init__(self, now: int = _START) -> None:
        self.now = now
        self._replaced: list[tuple[Any, str, Callable[[], int]]] = []

    def advance(self, seconds: float) -> None:
        """Move the time forward. It can replace `time.sleep` in a test."""
        self.now += round(seconds * _SECOND)

    def read(self) -> int:
        """Return the time, as `time.time_ns()` does."""
        return self.now

    def __enter__(self) -> "FakeClock":
        """Take the place of the clock."""
        for module, name in ((clock, "now"), (sys.modules[__name__], "now"), (trace, "time_ns")):
            self._replaced.append((module, name, getattr(module, name)))
            setattr(module, name, self.read)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put the clock back."""
        while self._replaced:
            setattr(*self._replaced.pop())
