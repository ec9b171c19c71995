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
    """Log a warning, and contain what a logging handler raises.

    If OpenTelemetry's handlers are the only ones, the warning goes to stderr, too, as it would without any handler.

    Args:
        message: a message with placeholders for `args`, as for `logging`.
        args: the values for the placeholders.
        error: its traceback is logged, too; None for none.
    """
    with suppress(Exception):
        _logger.warning(message, *args, exc_info=error)
    with suppress(Exception):
        if logging.lastResort is not None and _logger.isEnabledFor(logging.WARNING) and _is_only_exported():
            traceback = None if error is None else (type(error), error, error.__traceback__)
            record = _logger.makeRecord(_logger.name, logging.WARNING, __file__, 0, message, args, traceback)
            logging.lastResort.handle(record)


def _is_only_exported() -> bool:
    """Return whether all handlers are OpenTelemetry's, so that a log line does not appear where the process runs."""
    handlers: list[logging.Handler] = []
    logger: logging.Logger | None = _logger
    while logger is not None:
        handlers += logger.handlers
        logger = logger.parent if logger.propagate else None
    return bool(handlers) and all(type(each).__module__.startswith("opentelemetry.") for each in handlers)


class Guard:
    """Contains exceptions of telemetry. It logs each kind once, with its traceback, and the Kafka call goes on.

    Args:
        count: called with the name of the call and its error.
        logged: the kinds of failure that were logged before; None for none.
        logs_messages: whether log lines have the message and the traceback of an error. If not, only the name of its
            class.

    Attributes:
        logged: the kinds of failure that were logged.
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
        """Return what `function` returns, or `default` if it raises."""
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            self.contain(name, error)
            return default

    def contain(self, name: str, error: Exception) -> None:
        """Count an error that the call `name` raised, and log it if it is the first of its kind."""
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
