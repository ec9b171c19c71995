"""The traced producer: a span for each send, which ends when the broker has acknowledged the record."""

from collections.abc import Callable
from time import perf_counter_ns, time_ns
from typing import Any, NamedTuple

from kafka.errors import MessageSizeTooLargeError
from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind

from otelkafka import attributes, semconv
from otelkafka.attributes import Attributes
from otelkafka.client import ClientFacts
from otelkafka.headers import Headers, are_sendable
from otelkafka.in_flight import InFlight, Pending
from otelkafka.message import Message, message_of, with_headers
from otelkafka.operation import Operation
from otelkafka.options import Options, ProducerOptions, for_producer
from otelkafka.propagation import merge, put, take
from otelkafka.proxy import TracedClient
from otelkafka.telemetry import Destination, Telemetry, is_suppressed
from otelkafka.transactions import KINDS, Transactions


def wrap_producer(producer: Any, options: Options | None = None) -> "TracedProducer":
    """Trace what a producer sends.

    Args:
        producer: a `KafkaProducer`, or anything with its `send()`; one that is wrapped already is not wrapped twice.
        options: `ProducerOptions`, or `Options`; None for the defaults.

    Returns:
        A proxy that is used as the producer itself, and passes `isinstance` as one.

    Raises:
        TypeError: `producer` is no producer, or `options` are not those of one.
    """
    checked = for_producer(options)
    if isinstance(producer, TracedProducer):
        return TracedProducer(producer.__wrapped__, checked, producer._self_in_flight)
    if isinstance(producer, type) or not callable(getattr(producer, "send", None)):
        msg = f"wrap_producer({producer!r}): give a KafkaProducer, or an object with its send()"
        raise TypeError(msg)
    return TracedProducer(producer, checked, InFlight())


class TracedProducer(TracedClient):
    """A `KafkaProducer` whose sends are traced; made by `wrap_producer`."""

    def __init__(self, producer: Any, options: ProducerOptions, in_flight: InFlight) -> None:
        super().__init__(producer, options, wrap_producer)
        self._self_in_flight = in_flight
        self._self_sender = Sender(producer, options, in_flight)

    def __getattr__(self, name: str) -> Any:
        """Return what the producer has by this name, a call of a transaction traced (old releases lack them)."""
        found = getattr(self.__wrapped__, name)
        return self._self_sender.transactions.trace(name, found) if name in KINDS else found

    def send(self, *args: Any, **kwargs: Any) -> Any:
        """Send a record inside a span, as `KafkaProducer.send` does, and return its future."""
        return self._self_sender.send(self.__wrapped__.send, args, kwargs)

    def _self_end_spans(self) -> None:
        self._self_in_flight.end_all()


class Sender:
    """The one traced `send()`, behind the wrapper and behind a patched class.

    Args:
        producer: whose configuration is asked; it is not kept.
        options: its options.
        in_flight: the spans that wait for their acknowledgement.
    """

    def __init__(self, producer: object, options: ProducerOptions, in_flight: InFlight) -> None:
        self._options = options
        self._facts = ClientFacts(producer)
        self._telemetry = Telemetry(options)
        self.transactions = Transactions(self._telemetry, self._facts)
        self._operation = Operation(self._telemetry, self._facts, "send", semconv.TYPE_SEND, SpanKind.PRODUCER)
        self._in_flight = in_flight
        self._is_watched = False

    def send(self, send: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call `send` inside a span, with headers that carry it.

        What `send` returns and raises passes through unchanged. A record that only our header made too large is sent
        once more as the caller gave it, so that its serializers run again.
        """
        contained = self._telemetry.guard.call
        sending = None if is_suppressed() else contained("send", None, self._start, args, kwargs)
        if sending is None:
            return send(*args, **kwargs)
        self.transactions.note_send()
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
        contained("send", None, self._follow, sending, perf_counter_ns() - started, future)
        return future

    def _start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> "_Sending | None":
        message = message_of(args, kwargs)
        if message is None:
            return None
        start = time_ns()
        sendable = self._facts.takes_headers and are_sendable(message.headers)
        given = message.headers if sendable and message.headers else []
        taken = take(self._telemetry, given)
        incoming, rest = taken or (Context(), given)
        ambient = context_api.get_current()
        context = merge(ambient, under=incoming)
        destination = self._telemetry.destination(message.topic)
        span: Span | None = INVALID_SPAN
        if destination.traced:
            span = self._start_span(message, destination, context, _links_between(ambient, incoming), start)
            context = context if span is None else trace.set_span_in_context(span, context)
        headers = None
        if sendable and taken is not None and span is not None:
            headers = put(self._telemetry, rest, context)
        headers = None if headers == given else headers
        return _Sending(message, args, kwargs, headers, context, destination, span or INVALID_SPAN, start)

    def _start_span(
        self, message: Message, destination: Destination, context: Context, links: list[Link], start: int
    ) -> Span | None:
        span = self._operation.start(context, destination, message.partition, links=links, start_time=start)
        if span is not None:
            self._telemetry.tell(span, lambda: self._message_attributes(message))
            self._telemetry.call_hook("on_send", self._options.on_send, span, message)
        return span

    def _message_attributes(self, message: Message) -> Attributes:
        return {
            **self._telemetry.key_attributes(message.key),
            **attributes.of_tombstone(tombstone=message.value is None),
            **attributes.of_headers(message.headers, self._options.capture_headers),
        }

    def _deliver(self, send: Callable[..., Any], sending: "_Sending") -> Any:
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
        self._telemetry.tell(sending.span, lambda: {semconv.SEND_WITHOUT_CONTEXT: True})
        return send(*sending.args, **sending.kwargs)

    def _end(self, sending: "_Sending", blocked: int, error: BaseException | None) -> None:
        self._tell_blocked(sending.span, blocked)
        self._finish(sending, sending.message.partition, error)

    def _follow(self, sending: "_Sending", blocked: int, future: Any) -> None:
        """See to it that the span ends when the future does."""
        span = sending.span
        instruments = self._telemetry.instruments
        if instruments is not None and not self._is_watched:
            self._is_watched = True
            instruments.watch(self._in_flight)
        pending = Pending(self._in_flight, span, sending.destination, sending.start, self._acknowledge)
        if not (span.is_recording() or instruments is not None or self._options.on_ack is not None):
            self._end(sending, blocked, None)
            return
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

    def _finish(self, sent: "Pending | _Sending", partition: int | None, error: BaseException | None) -> None:
        series = self._operation.finish(sent.start, sent.destination, partition, sent.span, error)
        if series is not None and (instruments := self._telemetry.instruments) is not None:
            series.total(instruments.sent).add()


class _Sending(NamedTuple):
    """One call of `send()`: its `headers` are those to send in place of the caller's, None to leave them."""

    message: Message
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    headers: Headers | None
    context: Context
    destination: Destination
    span: Span
    start: int


def _links_between(ambient: Context, incoming: Context) -> list[Link]:
    """Return a link to the context that came in the headers, where it is of another trace than the ambient span."""
    here = trace.get_current_span(ambient).get_span_context()
    there = trace.get_current_span(incoming).get_span_context()
    if here.is_valid and there.is_valid and here.trace_id != there.trace_id:
        return [Link(there, attributes.of_link(semconv.LINK_CREATION))]
    return []


def _is_too_large(future: Any) -> bool:
    """Tell whether the client itself refused the record for its size, which releases before 3.0 say by the future."""
    return getattr(future, "is_done", False) is True and isinstance(future.exception, MessageSizeTooLargeError)
