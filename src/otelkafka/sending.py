"""What is traced of a producer, behind the wrapper and behind a patched class: a span for each send, until its ack."""

from collections.abc import Callable
from time import time_ns
from typing import Any, ClassVar

from kafka.errors import MessageSizeTooLargeError
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind

from otelkafka import attributes, semconv
from otelkafka.ambient import attach, get_current, is_suppressed
from otelkafka.attributes import Attributes
from otelkafka.client import ClientFacts, batch_index
from otelkafka.in_flight import InFlight, Pending, Sent
from otelkafka.message import HEADERS
from otelkafka.metrics import Instruments
from otelkafka.operation import Operation
from otelkafka.options import ProducerOptions
from otelkafka.outgoing import Outgoing
from otelkafka.passage import Args, Call, KwArgs
from otelkafka.telemetry import Telemetry
from otelkafka.transactions import KINDS, Transactions

_NOTHING = Context()


def _transacting(name: str) -> Callable[..., Any]:
    """Return what traces a call of a transaction."""

    def transact(self: "Sending", _: object, call: Call, args: Args, kwargs: KwArgs) -> Any:
        return self._transactions.call(name, call, args, kwargs)

    return transact


class Sending:
    """The traced calls of one producer.

    Each takes the producer, its own method, and the arguments; none of them is kept.

    Args:
        producer: whose configuration is asked.
        options: its options.
        before: what traced it until now, whose spans may still be in flight.
        produce_hook: called with the span and the arguments of `send()` before it is called.
    """

    def __init__(
        self,
        producer: object,
        options: ProducerOptions,
        before: "Sending | None" = None,
        produce_hook: Callable[[Span, Any, Any], None] | None = None,
    ) -> None:
        self._options = options
        self._facts = ClientFacts(producer)
        self._telemetry = Telemetry(options)
        self._transactions = Transactions(self._telemetry, self._facts)
        self._operation = Operation(self._telemetry, self._facts, "send", semconv.TYPE_SEND, SpanKind.PRODUCER)
        self._in_flight: InFlight = before._in_flight if before else InFlight()
        self._outgoing = Outgoing(self._telemetry, self._facts, self._operation, options, produce_hook)
        self._is_transactional = self._facts.is_transactional
        self._telemetry.when_heard(self._watch)

    def _watch(self, instruments: Instruments) -> None:
        instruments.watch(self._in_flight)

    def close(self, _: object, close: Call, args: Args, kwargs: KwArgs) -> Any:
        """Close the producer, then end the spans that are still open, also where closing raises."""
        try:
            return close(*args, **kwargs)
        finally:
            self.end()

    def end(self) -> None:
        """End every span that is open."""
        self._in_flight.end_all()

    def stop(self) -> None:
        """Trace no more; what is in flight ends when its future does."""

    def send(self, _: object, send: Call, args: Args, kwargs: KwArgs) -> Any:
        """Call `send` inside a span, with headers that carry it.

        What `send` returns and raises passes through unchanged. A record that only our header made too large is sent
        once more as the caller gave it, so that its serializers run again.
        """
        ambient = get_current()
        if ambient and is_suppressed():
            return send(*args, **kwargs)
        try:
            sending = self._outgoing.start(ambient, args, kwargs)
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            self._telemetry.guard.contain("send", error)
            sending = None
        if sending is None:
            return send(*args, **kwargs)
        if self._is_transactional:
            self._transactions.note_send()
        try:
            attach(sending.context)
            future = self._deliver(send, sending, args, kwargs)
        except BaseException as error:
            if sending.is_heard:
                self._telemetry.guard.call("send", None, self._end, sending, error)
            raise
        finally:
            attach(ambient)
        if sending.is_heard:
            self._telemetry.guard.call("send", None, self._follow, sending, future)
        return future

    def _deliver(self, send: Call, sending: Sent, args: Args, kwargs: KwArgs) -> Any:
        if sending.headers is None:
            return send(*args, **kwargs)
        try:
            if len(args) > HEADERS:
                future = send(*args[:HEADERS], sending.headers, *args[HEADERS + 1 :], **kwargs)
            elif "headers" in kwargs:
                future = send(*args, **{**kwargs, "headers": sending.headers})
            else:
                future = send(*args, headers=sending.headers, **kwargs)
        except MessageSizeTooLargeError:
            pass
        else:
            if not _is_too_large(future):
                return future
        future = send(*args, **kwargs)
        if not _is_too_large(future):
            told: Attributes = {semconv.SEND_WITHOUT_CONTEXT: True}
            sending.told = {**sending.told, **told}
            self._telemetry.tell(sending.span, lambda: told)
        return future

    def _end(self, sending: Sent, error: BaseException | None) -> None:
        sending.blocked = self._telemetry.now() - sending.start
        self._telemetry.tell(sending.span, lambda: attributes.of_blocked(sending.blocked))
        self._finish(sending, sending.partition, error)

    def _follow(self, sending: Sent, future: Any) -> None:
        """See to it that the span ends when the future does."""
        pending = Pending(self._in_flight, sending, self._acknowledge)
        if not self._in_flight.add(pending, self._options.max_in_flight):
            self._telemetry.drop(semconv.DROPPED_IN_FLIGHT)
            self._end(sending, None)
            return
        sending.blocked = time_ns() - sending.start
        sending.context, sending.headers = _NOTHING, None
        try:
            future.add_callback(pending.acknowledged)
            future.add_errback(pending.failed)
        except Exception:
            pending.failed(None)
            raise

    def _acknowledge(self, sending: Sent, metadata: Any, error: BaseException | None) -> None:
        """End the span of a record that the broker has acknowledged, or that failed."""
        self._telemetry.tell(sending.span, lambda: self._delivery_attributes(sending, metadata))
        if metadata is not None:
            self._telemetry.call_hook("on_ack", self._options.on_ack, sending.span, metadata)
        partition = sending.partition if metadata is None else getattr(metadata, "partition", None)
        self._telemetry.guard.call("send", None, self._finish, sending, partition, error)

    def _delivery_attributes(self, sending: Sent, metadata: Any) -> Attributes:
        told = attributes.of_blocked(sending.blocked)
        if metadata is not None:
            told.update(self._operation.learned(sending.destination, metadata.partition))
            told.update(attributes.of_offset(metadata.offset))
        return told

    def _finish(self, sending: Sent, partition: int | None, error: BaseException | None) -> None:
        original, guard = sending.span, self._telemetry.guard
        recorded = error is not None and guard.call(
            "send", False, self._outgoing.start_after_failure, sending, partition
        )
        if recorded:
            self._telemetry.end_span(original, error)
        series = self._operation.finish(sending.start, sending.destination, partition, sending.span, error)
        if series is not None and (instruments := self._telemetry.instruments) is not None:
            series.total(instruments.sent).add()
            if recorded:
                known = self._operation.series(sending.destination, partition)
                self._outgoing.sampling.count(known.attributes, semconv.REASON_ERROR)

    METHODS: ClassVar[dict[str, Callable[..., Any]]] = {
        "send": send,
        "close": close,
        **{name: _transacting(name) for name in KINDS},
    }
    """By the producer's method, the one here that traces it."""


def _is_too_large(future: Any) -> bool:
    """Tell whether the client itself refused the record for its size, which releases before 3.0 say by the future.

    What a broker has refused, however soon, lay in a batch.
    """
    if getattr(future, "is_done", False) is not True or not isinstance(future.exception, MessageSizeTooLargeError):
        return False
    index = batch_index(future)
    return index is None or index < 0
