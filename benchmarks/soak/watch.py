"""Watches that every span ends exactly once, and that nothing of telemetry fails."""

import logging
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

ENDED_TWICE = "Calling end() on an ended span."
LOGGERS = ("otelkafka", "opentelemetry")


class Nowhere(SpanExporter):
    """Exports nothing."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take them."""
        return SpanExportResult.SUCCESS


class Watch(SpanProcessor, logging.Handler):
    """Counts the recording spans that start and end, and what is logged about telemetry.

    Attributes:
        logged: how often each message was logged.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.logged: Counter[str] = Counter()
        self._started: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()
        self._counting = threading.RLock()  # a signal handler may send in the middle of a send
        for name in LOGGERS:
            logging.getLogger(name).addHandler(self)

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Count a span that starts."""
        with self._counting:
            self._started[span.name] += 1

    def on_end(self, span: ReadableSpan) -> None:
        """Count a span that ends."""
        with self._counting:
            self._ended[span.name] += 1

    def emit(self, record: logging.LogRecord) -> None:
        """Count what was logged."""
        self.logged[record.getMessage()] += 1

    def counted(self) -> dict[str, Any]:
        """Return what was counted so far."""
        with self._counting:
            return {
                "spans": self._started.total(),
                "unended": (self._started - self._ended).total(),
                "ended twice": self.logged[ENDED_TWICE],
                "failures of telemetry": self.logged.total() - self.logged[ENDED_TWICE],
            }

    def detach(self) -> None:
        """Take no more logs."""
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(self)
