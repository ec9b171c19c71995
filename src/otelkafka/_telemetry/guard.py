"""The guard that keeps failures of telemetry from the application."""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_logger = logging.getLogger("otelkafka")

_MOST_KINDS = 100


def warn(message: str, *args: object, error: Exception | None = None) -> None:
    """Log a warning; a logging handler that raises is contained.

    Where logging is not set up, and OpenTelemetry's handlers alone get it, it is shown as `logging` would without them.

    Args:
        message: with places for `args`, as for `logging`.
        args: what stands there.
        error: whose traceback is logged, too.
    """
    with suppress(Exception):
        _logger.warning(message, *args, exc_info=error)
    with suppress(Exception):
        if logging.lastResort is not None and _logger.isEnabledFor(logging.WARNING) and _is_only_exported():
            traceback = None if error is None else (type(error), error, error.__traceback__)
            record = _logger.makeRecord(_logger.name, logging.WARNING, __file__, 0, message, args, traceback)
            logging.lastResort.handle(record)


def _is_only_exported() -> bool:
    """Return whether what is logged has handlers, all of them OpenTelemetry's: nobody reads it where this runs."""
    handlers: list[logging.Handler] = []
    logger: logging.Logger | None = _logger
    while logger is not None:
        handlers += logger.handlers
        logger = logger.parent if logger.propagate else None
    return bool(handlers) and all(type(each).__module__.startswith("opentelemetry.") for each in handlers)


class Guard:
    """Contains what telemetry raises: each kind is logged once, with its traceback, and the Kafka call goes on.

    Args:
        count: called with the name of the call and its error.
        logged: the kinds that were logged before; None for none.
        logs_messages: whether the log has the message and the traceback of an error, or the name of its class alone.

    Attributes:
        logged: the kinds that were logged.
    """

    def __init__(
        self,
        count: Callable[[str, Exception], None],
        logged: set[tuple[str, str]] | None = None,
        *,
        logs_messages: bool = True,
    ) -> None:
        self._count = count
        self._logs_messages = logs_messages
        self.logged = set() if logged is None else logged

    def call(self, name: str, default: T, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returns, or `default` where it raises."""
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            self.contain(name, error)
            return default

    def contain(self, name: str, error: Exception) -> None:
        """Count `error`, which the call `name` raised, and log it if it is the first of its kind."""
        with suppress(Exception):  # a meter provider may fail, too
            self._count(name, error)
        kind = (name, type(error).__name__)
        if kind in self.logged or len(self.logged) >= _MOST_KINDS:
            return
        self.logged.add(kind)
        warn(
            "%s failed; the Kafka call goes on without it. Further %s there are not logged.",
            *kind,
            error=error if self._logs_messages else None,
        )
