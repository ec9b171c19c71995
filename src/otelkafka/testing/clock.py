"""A clock that stands still until it is told to go on, so that durations in a test are what the test says."""

import sys
from collections.abc import Iterator
from time import time_ns
from types import ModuleType, TracebackType
from typing import Final

_START: Final = 1_767_225_600_000_000_000  # the first moment of 2026, UTC
_SECOND: Final = 1_000_000_000


class FakeClock:
    """Tells otelkafka, its fakes and the SDK's spans the time, inside of `with FakeClock() as clock:`.

    Nothing else is told it: `time.time()` and `time.sleep()` are what they were.

    Args:
        now: the time at the start, in nanoseconds since 1970.

    Attributes:
        now: the time, in nanoseconds since 1970.
    """

    def __init__(self, now: int = _START) -> None:
        self.now = now
        self._replaced: list[ModuleType] = []

    def advance(self, seconds: float) -> None:
        """Let time pass; give it in the place of `time.sleep`, say."""
        self.now += round(seconds * _SECOND)

    def read(self) -> int:
        """Return the time, as `time.time_ns()` does."""
        return self.now

    def __enter__(self) -> "FakeClock":
        """Take the place of the clock."""
        self._replaced = list(_readers())
        for module in self._replaced:
            vars(module)["time_ns"] = self.read
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put the clock back."""
        while self._replaced:
            vars(self._replaced.pop())["time_ns"] = time_ns


def _readers() -> Iterator[ModuleType]:
    """Yield the modules that read the clock: each knows it by a name of its own."""
    for name, module in list(sys.modules.items()):
        is_reader = name.startswith("otelkafka.") or name == "opentelemetry.sdk.trace"
        if is_reader and name != __name__ and vars(module).get("time_ns") is time_ns:
            yield module
