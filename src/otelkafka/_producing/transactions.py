"""Transactions of a producer: a span for what ends one, and a measure of each call."""

from threading import get_ident
from typing import Any, Final, NamedTuple

from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from otelkafka._context.current import is_suppressed, restored
from otelkafka._telemetry import attributes, semconv
from otelkafka._telemetry.destination import committed_by
from otelkafka._telemetry.operation import Operation
from otelkafka._telemetry.telemetry import Telemetry

ALWAYS: Final = "always"
INSIDE: Final = "inside another span"
ON_ERROR: Final = "on an error"


class Kind(NamedTuple):
    """An operation of a transaction, its type, and when it has a span."""

    name: str
    type: str | None
    spans: str


INIT: Final = Kind("init transactions", None, ON_ERROR)
BEGIN: Final = Kind("begin transaction", None, ON_ERROR)
SEND_OFFSETS: Final = Kind("send offsets", semconv.TYPE_SETTLE, INSIDE)
COMMIT: Final = Kind("commit transaction", semconv.TYPE_SETTLE, ALWAYS)
ABORT: Final = Kind("abort transaction", semconv.TYPE_SETTLE, ALWAYS)


class TransactionCall:
    """One call of a transaction, from before the client's call.

    Args:
        transactions: the transactions of the producer.
        kind: the operation.
        start: when the client was called, Unix time in nanoseconds.
        span: the span of the call, or one that records nothing.
        offsets: that it commits, if it does.
    """

    __slots__ = ("_transactions", "kind", "offsets", "span", "start")

    def __init__(self, transactions: "Transactions", kind: Kind, start: int, span: Span, offsets: Any) -> None:
        self._transactions = transactions
        self.kind = kind
        self.start = start
        self.span = span
        self.offsets = offsets

    def acknowledged(self, _: object = None) -> None:
        """End the call of the transaction, after the client's call returned."""
        self._transactions.end(self, None)

    def failed(self, error: BaseException) -> None:
        """End the call of the transaction with an error, after the client's call raised."""
        self._transactions.end(self, error)


class Transactions:
    """The transactions of one producer.

    Args:
        telemetry: the telemetry of the producer.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._operations = {
            kind: Operation(telemetry, kind.name, kind.type, SpanKind.CLIENT)
            for kind in (INIT, BEGIN, SEND_OFFSETS, COMMIT, ABORT)
        }
        # By thread, each of which changes its own: without a lock, that a child of a fork could find taken.
        self._sends: dict[int, int] = {}

    def note_sends(self, count: int = 1) -> None:
        """Add the records of a send to those that an abort voids."""
        thread = get_ident()
        self._sends[thread] = self._sends.get(thread, 0) + count

    def forget_sends(self, count: int = 1) -> None:
        """Subtract the records of a send of this thread, which the client has refused."""
        thread = get_ident()
        self._sends[thread] = max(0, self._sends.get(thread, 0) - count)

    def begin(self, kind: Kind, offsets: Any = None) -> TransactionCall | None:
        """Start a call of a transaction. Return None if telemetry is suppressed.

        Args:
            kind: the kind of operation.
            offsets: that it commits, if it does.
        """
        if is_suppressed():
            return None
        start = self._telemetry.now()
        if kind is BEGIN:
            self._sends = {}
        span = self._telemetry.guard.call("transaction", INVALID_SPAN, self._start, kind, start, failed=False)
        return TransactionCall(self, kind, start, span, offsets)

    def end(self, call: TransactionCall, error: BaseException | None) -> None:
        """End a call of a transaction."""
        contained = self._telemetry.guard.call
        if error is not None and not call.span.get_span_context().is_valid:
            call.span = contained("transaction", INVALID_SPAN, self._start, call.kind, call.start, failed=True)
        contained("transaction", None, self._finish, call, error)

    def _start(self, kind: Kind, start: int, *, failed: bool) -> Span:
        ambient = restored()
        is_inside = trace.get_current_span(ambient).get_span_context().is_valid
        if not (kind.spans == ALWAYS or (kind.spans == INSIDE and is_inside) or (kind.spans == ON_ERROR and failed)):
            return INVALID_SPAN
        nowhere = self._telemetry.destinations.of(set())
        return self._operations[kind].start(ambient, nowhere, start_time=start) or INVALID_SPAN

    def _finish(self, call: TransactionCall, error: BaseException | None) -> None:
        if call.kind is ABORT:
            voided = sum(list(self._sends.values()))
            self._telemetry.set_attributes(call.span, lambda: {semconv.TRANSACTION_VOIDED: voided})
        destination, partition, offset = committed_by(call.offsets, self._telemetry.destinations.of)
        known = {**destination.attributes, **attributes.of_partition(partition), **attributes.of_offset(offset)}
        self._telemetry.set_attributes(call.span, lambda: known)
        self._operations[call.kind].finish(call.start, destination, partition, call.span, error)
