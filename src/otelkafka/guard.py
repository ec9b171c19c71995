"""The guard that keeps failures of telemetry from the application."""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_logger = logging.getLogger("otelkafka")

_MOST_KINDS = 100


class Guard:
    """Contains what telemetry raises: each kind is logged once, with its traceback, and the Kafka call goes on.

    Args:
        count: called with the name of the call and its error.
        tells: whether the log may say what an error says, beyond its class.

    Attributes:
        failures: how many it has contained.
    """

    def __init__(self, count: Callable[[str, Exception], None], *, tells: bool = True) -> None:
        self._count = count
        self._tells = tells
        self._seen: set[tuple[str, str]] = set()
        self.failures = 0

    def call(self, name: str, default: T, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returns, or `default` where it raises."""
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            self.contain(name, error)
            return default

    def contain(self, name: str, error: Exception) -> None:
        """Count `error`, which came out of the call `name`, and log it if it is the first of its kind."""
        self.failures += 1
        with suppress(Exception):  # a meter provider may fail, too
            self._count(name, error)
        kind = (name, type(error).__name__)
        if kind in self._seen or len(self._seen) >= _MOST_KINDS:
            return
        self._seen.add(kind)
        _logger.warning(
            "%s failed; the Kafka call goes on without it. Further %s there are not logged.",
            *kind,
            exc_info=error if self._tells else None,
        )
