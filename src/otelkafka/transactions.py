"""Transactions of a producer: a span for what ends one, and a measure of each call."""

from itertools import count
from typing import Any, NamedTuple

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from otelkafka import semconv
from otelkafka.ambient import is_suppressed
from otelkafka.client import ClientFacts
from otelkafka.commits import what
from otelkafka.operation import Operation
from otelkafka.passage import Args, Call, KwArgs
from otelkafka.telemetry import Telemetry


class _Kind(NamedTuple):
    """An operation of a transaction, its type, and when it has a span: always, inside an ambient one, on an error."""

    name: str
    type: str | None
    spans: str


KINDS = {
    "init_transactions": _Kind("init transactions", None, "error"),
    "begin_transaction": _Kind("begin transaction", None, "error"),
    "send_offsets_to_transaction": _Kind("send offsets", semconv.TYPE_SETTLE, "ambient"),
    "commit_transaction": _Kind("commit transaction", semconv.TYPE_SETTLE, "always"),
    "abort_transaction": _Kind("abort transaction", semconv.TYPE_SETTLE, "always"),
}
"""By the name of the producer's method."""


class Transactions:
    """The transactions of one producer.

    Args:
        telemetry: of the producer.
        facts: of the producer.
    """

    def __init__(self, telemetry: Telemetry, facts: ClientFacts) -> None:
        self._telemetry = telemetry
        self._operations = {
            method: Operation(telemetry, facts, kind.name, kind.type, SpanKind.CLIENT) for method, kind in KINDS.items()
        }
        self._sends = count()

    def note_send(self) -> None:
        """Count a send, which an abort would void."""
        next(self._sends)  # from any thread, without a lock that a child of a fork could find taken

    def call(self, method: str, call: Call, args: Args, kwargs: KwArgs) -> Any:
        """Call a method of the producer's."""
        if is_suppressed():
            return call(*args, **kwargs)
        contained = self._telemetry.guard.call
        start = self._telemetry.now()
        if method == "begin_transaction":
            self._sends = count()
        span = contained("transaction", INVALID_SPAN, self._start, method, start, error=False)
        try:
            result = call(*args, **kwargs)
        except BaseException as error:
            if not span.get_span_context().is_valid:
                span = contained("transaction", INVALID_SPAN, self._start, method, start, error=True)
            contained("transaction", None, self._finish, method, args, kwargs, start, span, error)
            raise
        contained("transaction", None, self._finish, method, args, kwargs, start, span, None)
        return result

    def _start(self, method: str, start: int, *, error: bool) -> Span:
        ambient = context_api.get_current()
        spans = KINDS[method].spans
        inside = trace.get_current_span(ambient).get_span_context().is_valid
        if not (spans == "always" or (spans == "ambient" and inside) or (spans == "error" and error)):
            return INVALID_SPAN
        nowhere = self._telemetry.destinations.of(set())
        return self._operations[method].start(ambient, nowhere, start_time=start) or INVALID_SPAN

    def _finish(
        self,
        method: str,
        args: Args,
        kwargs: KwArgs,
        start: int,
        span: Span,
        error: BaseException | None,
    ) -> None:
        if method == "abort_transaction":
            self._telemetry.tell(span, lambda: {semconv.TRANSACTION_VOIDED: next(self._sends)})
        offsets = args[0] if args else kwargs.get("offsets")
        destination, partition = what(self._telemetry.destinations.of, offsets)
        self._telemetry.tell(span, lambda: destination.attributes)
        self._operations[method].finish(start, destination, partition, span, error)
