"""What is traced of a producer, behind the wrapper and behind a patched class: a span for each send, until its ack."""

from collections.abc import Callable
from time import perf_counter_ns, time_ns
from typing import Any, ClassVar, NamedTuple

from kafka.errors import MessageSizeTooLargeError
from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from otelkafka import attributes, semconv
from otelkafka.attributes import Attributes
from otelkafka.client import ClientFacts
from otelkafka.headers import Headers, are_sendable
from otelkafka.in_flight import InFlight, Pending
from otelkafka.links import links_between
from otelkafka.message import Message, message_of, with_headers
from otelkafka.operation import Operation
from otelkafka.options import ProducerOptions
from otelkafka.propagation import merge, put, take
from otelkafka.shortcuts import context_with
from otelkafka.telemetry import Destination, Telemetry, is_suppressed
from otelkafka.transactions import KINDS, Transactions


def _transacting(name: str) -> Callable[..., Any]:
    """Return what traces a call of a transaction."""

    def transact(self: "Sending", _: object, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
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
        self._produce_hook = produce_hook
        self._is_plain = produce_hook is None and options.on_send is None and self._facts.takes_headers
        self._is_transactional = self._facts.is_transactional
        self._is_watched = False

    def close(self, _: object, close: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
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

    def send(self, _: object, send: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `send` inside a span, with headers that carry it.

        What `send` returns and raises passes through unchanged. A record that only our header made too large is sent
        once more as the caller gave it, so that its serializers run again.
        """
        contained = self._telemetry.guard.call
        sending = None if is_suppressed() else contained("send", None, self._start, args, kwargs)
        if sending is None:
            return send(*args, **kwargs)
        if self._is_transactional:
            self._transactions.note_send()
        started = perf_counter_ns()
        token = contained("attach", None, context_api.attach, sending.context)
        try:
            future = self._deliver(send, sending)
        except BaseException as error:
            contained("send", None, self._end, sending, perf_counter_ns() - started, error)
            raise
        finally:
            if token is not None:
                context_api.detach(token)
        if self._is_heard(sending):
            contained("send", None, self._follow, sending, perf_counter_ns() - started, future)
        return future

    def _is_heard(self, sending: "_Sent") -> bool:
        """Tell whether anybody hears how the send ends."""
        heard = sending.span.is_recording() or self._options.on_ack is not None
        return heard or self._telemetry.instruments is not None

    def _start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> "_Sent | None":
        message = message_of(args, kwargs)
        if message is None:
            return None
        start, ambient = time_ns(), context_api.get_current()
        destination = self._telemetry.destination(message.topic)
        tracer = None
        if self._is_plain and destination.traced and not ambient and not message.headers:
            rules = self._telemetry.rules
            started = rules.start_trace() if rules is not None else None
            if rules is not None and started is not None:
                if started.span is not None and started.header is not None:
                    context = context_with(started.span)
                    return _Sent(message, args, kwargs, [started.header], context, destination, started.span, start)
                tracer = rules.tracer_for(started.trace_id)
        return self._start_generally(message, args, kwargs, destination, ambient, start, tracer)

    def _start_generally(
        self,
        message: Message,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        destination: Destination,
        ambient: Context,
        start: int,
        tracer: trace.Tracer | None,
    ) -> "_Sent":
        sendable = self._facts.takes_headers and are_sendable(message.headers)
        given = message.headers if sendable and message.headers else []
        taken = take(self._telemetry, given)
        incoming, rest = taken or (Context(), given)
        context = merge(ambient, under=incoming)
        span: Span | None = INVALID_SPAN
        if destination.traced:
            links = links_between(ambient, incoming)
            span = self._operation.start(
                context, destination, message.partition, links=links, start_time=start, tracer=tracer
            )
            if span is not None:
                self._tell(span, message, args, kwargs)
                context = trace.set_span_in_context(span, context)
        headers = None
        if sendable and taken is not None and span is not None:
            headers = put(self._telemetry, rest, context)
        headers = None if headers == given else headers
        return _Sent(message, args, kwargs, headers, context, destination, span or INVALID_SPAN, start)

    def _tell(self, span: Span, message: Message, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._telemetry.tell(span, lambda: self._message_attributes(message))
        self._telemetry.call_hook("on_send", self._options.on_send, span, message)
        if self._produce_hook is not None:
            self._telemetry.guard.call("produce_hook", None, self._produce_hook, span, args, kwargs)

    def _message_attributes(self, message: Message) -> Attributes:
        return {
            **self._telemetry.key_attributes(message.key),
            **attributes.of_tombstone(tombstone=message.value is None),
            **self._telemetry.header_attributes(message.headers),
        }

    def _deliver(self, send: Callable[..., Any], sending: "_Sent") -> Any:
        if sending.headers is None:
            return send(*sending.args, **sending.kwargs)
        args, kwargs = with_headers(sending.args, sending.kwargs, sending.headers)
        try:
            future = send(*args, **kwargs)
        except MessageSizeTooLargeError:
            pass
        else:
            if not _is_too_large(future):
                return future
        future = send(*sending.args, **sending.kwargs)
        if not _is_too_large(future):
            self._telemetry.tell(sending.span, lambda: {semconv.SEND_WITHOUT_CONTEXT: True})
        return future

    def _end(self, sending: "_Sent", blocked: int, error: BaseException | None) -> None:
        self._tell_blocked(sending.span, blocked)
        self._finish(sending, sending.message.partition, error)

    def _follow(self, sending: "_Sent", blocked: int, future: Any) -> None:
        """See to it that the span ends when the future does."""
        span = sending.span
        instruments = self._telemetry.instruments
        if instruments is not None and not self._is_watched:
            self._is_watched = True
            instruments.watch(self._in_flight)
        pending = Pending(self._in_flight, span, sending.destination, sending.start, self._acknowledge)
        if not self._in_flight.add(pending, self._options.max_in_flight):
            self._telemetry.drop(semconv.DROPPED_IN_FLIGHT)
            self._end(sending, blocked, None)
            return
        self._tell_blocked(span, blocked)
        try:
            future.add_callback(pending.acknowledged)
            future.add_errback(pending.failed)
        except Exception:
            pending.failed(None)
            raise

    def _tell_blocked(self, span: Span, blocked: int) -> None:
        self._telemetry.tell(span, lambda: {semconv.SEND_BLOCKED_DURATION: attributes.seconds(blocked)})

    def _acknowledge(self, pending: Pending, metadata: Any, error: BaseException | None) -> None:
        """End the span of a record that the broker has acknowledged, or that failed."""
        if metadata is not None:
            self._telemetry.tell(
                pending.span,
                lambda: {
                    **attributes.of_partition(metadata.partition),
                    **attributes.of_offset(metadata.offset),
                    **attributes.of_server(self._facts.server(pending.destination.topic, metadata.partition)),
                    **attributes.of_client(self._facts),
                    **self._operation.old_names(pending.destination.topic, metadata.partition),
                },
            )
            self._telemetry.call_hook("on_ack", self._options.on_ack, pending.span, metadata)
        self._telemetry.guard.call("send", None, self._finish, pending, getattr(metadata, "partition", None), error)

    def _finish(self, sent: "Pending | _Sent", partition: int | None, error: BaseException | None) -> None:
        series = self._operation.finish(sent.start, sent.destination, partition, sent.span, error)
        if series is not None and (instruments := self._telemetry.instruments) is not None:
            series.total(instruments.sent).add()

    METHODS: ClassVar[dict[str, Callable[..., Any]]] = {
        "send": send,
        "close": close,
        **{name: _transacting(name) for name in KINDS},
    }
    """By the producer's method, the one here that traces it."""


class _Sent(NamedTuple):
    """One call of `send()`: its `headers` are those to send in place of the caller's, None to leave them."""

    message: Message
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    headers: Headers | None
    context: Context
    destination: Destination
    span: Span
    start: int


def _is_too_large(future: Any) -> bool:
    """Tell whether the client itself refused the record for its size, which releases before 3.0 say by the future."""
    return getattr(future, "is_done", False) is True and isinstance(future.exception, MessageSizeTooLargeError)
