"""The sends of a producer: a span for each, from before the client's call until the broker's answer."""

import copy
from typing import Any, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Tracer

from otelkafka._context.current import UNPARSED, Attached, get_current, restored
from otelkafka._context.fastpath import SampledRoot
from otelkafka._context.origin import begin, header_of, keep_earliest, origin_in, with_baggage
from otelkafka._context.propagation import Contexts, merge
from otelkafka._context.sdk import SUPPRESSED, SUPPRESSED_ELSE
from otelkafka._context.traceparent import SPAN_KEY, TRACEPARENT, header
from otelkafka._producing.transactions import Transactions
from otelkafka._protocols import Acknowledgement
from otelkafka._telemetry import attributes, clock, lifetime, semconv
from otelkafka._telemetry.api import METER_PROVIDER, METRICS
from otelkafka._telemetry.attributes import Attributes
from otelkafka._telemetry.destination import Destination
from otelkafka._telemetry.in_flight import in_flight_of
from otelkafka._telemetry.links import links_between
from otelkafka._telemetry.metrics import Instruments
from otelkafka._telemetry.operation import Operation
from otelkafka._telemetry.sampling import Sampling, is_unsampled, sampled, why_failed
from otelkafka.headers import Headers, are_sendable
from otelkafka.options import ProducerOptions

_WITHOUT_SPAN = Context({SPAN_KEY: INVALID_SPAN})


class Message(NamedTuple):
    """The arguments of `send()` as the caller gave them; handed to the hook `on_send`."""

    topic: str
    value: Any = None
    key: Any = None
    headers: Headers | None = None
    partition: int | None = None
    timestamp_ms: int | None = None


class ForFailure(NamedTuple):
    """What a span that is made after a failure needs: the span that it continues, and the attributes of the record."""

    parent: Span
    attributes: Attributes


class Send:
    """One call of `send()`, without the record, so that waiting for its end holds no memory of the caller's.

    Args:
        sends: of the producer.
        destination: of the record.
        span: its span, or one that records nothing.
        start: when it was called, Unix time in nanoseconds.
        context: to attach for the call.
        outside: to attach when the call has returned or raised.
        headers: to send in place of the caller's; None to leave them.
        is_followed: whether anything is recorded at its end.
        partition: the one that the caller gave.

    Attributes:
        for_failure: what a span that is made after a failure needs; None where none will be made.
        blocked: how long the call took to return, in nanoseconds.
    """

    __slots__ = (
        "_sends",
        "blocked",
        "context",
        "destination",
        "for_failure",
        "headers",
        "is_followed",
        "outside",
        "partition",
        "span",
        "start",
    )

    def __init__(
        self,
        sends: "Sends",
        destination: Destination,
        span: Span,
        start: int,
        context: Context,
        outside: Context,
        headers: Headers | None,
        is_followed: bool,  # noqa: FBT001 (once a record: positional arguments cost less)
        partition: int | None,
    ) -> None:
        self._sends = sends
        self.destination = destination
        self.span = span
        self.start = start
        self.context: Context | None = context
        self.outside: Context | None = outside
        self.headers = headers
        self.is_followed = is_followed
        self.partition = partition
        self.for_failure: ForFailure | None = None
        self.blocked = 0

    def sent_without_context(self) -> None:
        """Note that the record was sent as the caller gave it: our header alone had made it too large."""
        without: Attributes = {semconv.SEND_WITHOUT_CONTEXT: True}
        if self.for_failure is not None:
            self.for_failure.attributes.update(without)
        self._sends.telemetry.set_attributes(self.span, lambda: without)

    def returned(self) -> bool:
        """Note that the client's call returned, and return whether the broker's answer is waited for.

        Where it is not, since too many wait already, the send ends here.
        """
        self.blocked = self._sends.telemetry.now() - self.start
        self.headers = self.context = self.outside = None
        return self._sends.wait_for(self)

    def acknowledged(self, metadata: Acknowledgement) -> None:
        """End the span, if nothing has yet, with the broker's answer."""
        self._sends.end(self, metadata, None, waited=self.context is None)

    def refused(self, error: BaseException) -> None:
        """End the span with an error of the client's call: the client has not taken the record."""
        self._sends.refuse(self, error)

    def failed(self, error: BaseException | None) -> None:
        """End the span, if nothing has yet, with an error of the record's delivery.

        Args:
            error: None where the send can be followed no further.
        """
        self._sends.end(self, None, error, waited=self.context is None)


class Sends:
    """The sends of one producer.

    For each call of the client's: `begin()`, the call inside the send's `context`, then its `outside` again. Then
    `refused()`, where the client has not taken the record; else, where the send `is_followed`, `returned()`, and then
    `acknowledged()` or `failed()`.

    Args:
        contexts: of the producer.
        options: of the producer.
        transactions: of the producer.
        producer: which waits for acknowledgements of the broker.
    """

    def __init__(
        self, contexts: Contexts, options: ProducerOptions, transactions: Transactions, producer: object
    ) -> None:
        self.telemetry = contexts.telemetry
        self._contexts = contexts
        self._options = options
        self._client = contexts.telemetry.client
        self._transactions = transactions if self._client.is_transactional else None
        self._operation = Operation(self.telemetry, "send", semconv.TYPE_SEND, SpanKind.PRODUCER)
        self._in_flight = in_flight_of(producer, "the producer was closed before the broker acknowledged the record")
        self._sampling = Sampling(self.telemetry)
        self._is_plain = options.on_send is None and self._client.takes_headers
        self._samples_errors = options.sample_errors
        self._is_always_followed = options.on_ack is not None or options.sample_errors
        self.telemetry.on_instruments(self._watch)

    def _watch(self, instruments: Instruments) -> None:
        instruments.spans_in_flight.watch(self._in_flight.read)

    def begin(  # noqa: C901, PLR0912 (the fast path reads top to bottom)
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        headers: Headers | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Send | None:
        """Start a send; None where nothing is recorded of it.

        It raises no TypeError but for arguments that it does not have.

        Args:
            topic: as the caller gave it, like the others.
            value: of the record.
            key: of the record.
            headers: of the record.
            partition: of the record.
            timestamp_ms: of the record, Unix time in milliseconds.
        """
        if lifetime.waiting:
            lifetime.finish_waiting()
        ambient = get_current()
        if type(ambient) is Attached and ambient.opened.ended:
            ambient = restored()
        if (ambient and (ambient.get(SUPPRESSED) or ambient.get(SUPPRESSED_ELSE))) or not isinstance(topic, str):
            return None
        try:
            telemetry, tracer = self.telemetry, None
            start = clock.now()
            if (
                not telemetry.refreshed <= start < telemetry.refresh_at
                or METRICS.get(METER_PROVIDER) is not telemetry.global_meter_provider
            ):
                telemetry.refresh(start)
            destination, fast_path = telemetry.destinations[topic], self._contexts.fast_path
            if (
                fast_path is not None
                and headers is None
                and self._is_plain
                and destination.traced
                and (timestamp_ms is None or not self._options.pipeline_time)
            ):
                span: Any = fast_path.start_send(ambient, start)
                if type(span) is SampledRoot:
                    tracer = span.tracer()
                elif span is not None:
                    context, carried = _WITHOUT_SPAN, None
                    if type(span) in UNPARSED:
                        context = Context({**ambient, SPAN_KEY: span} if ambient else {SPAN_KEY: span})
                        trace_id, span_id = span.trace_id, span.span_id
                        if type(trace_id) is int and type(span_id) is int and trace_id:  # as header() does
                            carried = [(TRACEPARENT, b"00-%032x-%016x-%02x" % (trace_id, span_id, span.flags))]
                        elif type(trace_id) is bytes and type(span_id) is int:
                            carried = [(TRACEPARENT, b"00-%b-%016x-%02x" % (trace_id, span_id, span.flags))]
                        else:
                            carried = [header(trace_id, span_id or 0, span.flags)] if trace_id else []
                        if span.origin is not None:
                            context = with_baggage(context, span.origin)
                            carried.append(header_of(span.origin))
                    is_followed = self._is_always_followed or telemetry.instruments is not None
                    send = Send(self, destination, span, start, context, ambient, carried, is_followed, partition)
                    if self._samples_errors and is_unsampled(span.get_span_context()):
                        message = Message(topic, value, key, headers, partition, timestamp_ms)
                        send.for_failure = ForFailure(
                            trace.get_current_span(ambient), self._message_attributes(message)
                        )
                    if self._transactions is not None:
                        self._transactions.note_send()
                    return send
            message = Message(topic, value, key, headers, partition, timestamp_ms)
            return self._begin_generally(start, ambient, message, destination, tracer=tracer)
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            self.telemetry.guard.contain("send", error)
            return None

    def _begin_generally(
        self,
        start: int,
        ambient: Context,
        message: Message,
        destination: Destination,
        tracer: Tracer | None = None,
    ) -> Send:
        telemetry = self.telemetry
        sendable = self._client.takes_headers and (
            are_sendable(message.headers) or self._client.can_send(message.headers)
        )
        given = message.headers if sendable and message.headers else []
        taken = self._contexts.take(given)
        incoming, rest = taken or (Context(), given)
        around = context = self._keep_origin(merge(ambient, under=incoming), ambient, incoming, start, message)
        span: Span | None = INVALID_SPAN
        known: Attributes | None = None
        if destination.traced:
            links = links_between(ambient, incoming) if incoming else ()
            known = self._message_attributes(message)
            span = self._operation.start(
                context, destination, message.partition, links=links, start_time=start, more=known, tracer=tracer
            )
        headers = None
        try:
            if span is not None and destination.traced:
                telemetry.call_hook("on_send", self._options.on_send, span, message)
                context = trace.set_span_in_context(span, context)
            if sendable and taken is not None and span is not None:
                headers = self._contexts.put(rest, context)
        except BaseException as error:  # an interrupt in the user's code, which passes: nobody else has the span
            telemetry.end_span(span or INVALID_SPAN, error)
            raise
        span = span or INVALID_SPAN
        is_followed = self._is_always_followed or telemetry.instruments is not None or span.is_recording()
        if headers == given:
            headers = None
        elif headers is not None and message.headers is not None and type(message.headers) is not list:
            headers = telemetry.guard.call("inject", None, _in_class_of, message.headers, headers)
        send = Send(self, destination, span, start, context, ambient, headers, is_followed, message.partition)
        if self._samples_errors and is_unsampled(span.get_span_context()):
            known = self._message_attributes(message) if known is None else known
            send.for_failure = ForFailure(trace.get_current_span(around), known)
        if self._transactions is not None:
            self._transactions.note_send()
        return send

    def _keep_origin(
        self, context: Context, ambient: Context, incoming: Context, start: int, message: Message
    ) -> Context:
        """Return the context of a send with the origin of its pipeline, where that is wanted."""
        if not self._options.pipeline_time:
            return context
        drop = self.telemetry.drop
        if self.telemetry.destinations[message.topic].traced:
            return begin(context, ambient, incoming, start, drop, message.timestamp_ms)
        return keep_earliest(context, origin_in(ambient, start, drop), origin_in(incoming, start, drop))

    def _message_attributes(self, message: Message) -> Attributes:
        known = self.telemetry.key_attributes(message.key)
        if message.value is None:
            known.update(attributes.of_tombstone(tombstone=True))
        if self._options.capture_headers:
            known.update(self.telemetry.header_attributes(message.headers))
        return known

    def wait_for(self, send: Send) -> bool:
        """Wait for the end of a send; where too many wait already it ends here, and the result is False."""
        if self._in_flight.add(send, self._options.max_in_flight):
            return True
        self.telemetry.drop(semconv.DROPPED_IN_FLIGHT)
        self.end(send, None, None, waited=False)
        return False

    def end_all(self) -> None:
        """End every send that still waits: the producer is closed."""
        self._in_flight.end_all()

    def refuse(self, send: Send, error: BaseException) -> None:
        """End a send whose record the client has not taken: it was never attempted, and no abort can void it."""
        if self._transactions is not None:
            self._transactions.forget_send()
        self.end(send, None, error, waited=False, is_refused=True)

    def end(
        self,
        send: Send,
        metadata: Acknowledgement | None,
        error: BaseException | None,
        *,
        waited: bool,
        is_refused: bool = False,
    ) -> None:
        """End a send, unless another thread was first.

        Args:
            send: the send.
            metadata: the broker's acknowledgement; None for none.
            error: how it failed, if it did.
            waited: whether it is in flight; otherwise the client's call has just returned or raised.
            is_refused: whether the client has not taken the record.
        """
        if not send.is_followed or (waited and not self._in_flight.remove(send)):
            return
        if not waited:
            send.blocked = self.telemetry.now() - send.start
        partition = send.partition if metadata is None else getattr(metadata, "partition", None)
        try:
            self.telemetry.set_attributes(send.span, lambda: self._end_attributes(send, metadata))
            if metadata is not None:
                self.telemetry.call_hook("on_ack", self._options.on_ack, send.span, metadata)
        finally:
            self.telemetry.guard.call("send", None, self._finish, send, partition, error, is_refused)

    def _end_attributes(self, send: Send, metadata: Acknowledgement | None) -> Attributes:
        known = attributes.of_blocked(send.blocked)
        if metadata is not None:
            known.update(self._operation.learned(send.destination, metadata.partition))
            known.update(attributes.of_offset(metadata.offset))
        return known

    def _finish(
        self,
        send: Send,
        partition: int | None,
        error: BaseException | None,
        is_refused: bool,  # noqa: FBT001 (passed on)
    ) -> None:
        original = send.span
        recorded = error is not None and self.telemetry.guard.call("send", False, self._record_failure, send, partition)
        if recorded:
            self.telemetry.end_span(original, error)
        series = self._operation.finish(send.start, send.destination, partition, send.span, error)
        if series is not None and (instruments := self.telemetry.instruments) is not None:
            if not is_refused:  # semantic conventions: what was created but not sent is not counted
                series.total(instruments.sent).count()
            if recorded:
                known = self._operation.series(send.destination, partition)
                self._sampling.count(known.attributes, semconv.REASON_ERROR)

    def _record_failure(self, send: Send, partition: int | None) -> bool:
        """Start a span for what has failed, if it was not sampled, and return whether there is one now.

        It continues what the first one did; if that is not known, then the first one.
        """
        if not self._sampling.acquire_for_failure(send.span):
            return False
        needed = send.for_failure or ForFailure(INVALID_SPAN, {})
        own, before = send.span.get_span_context(), needed.parent.get_span_context()
        parent = sampled(before if before.is_valid and before.trace_id == own.trace_id else own)
        known = {**why_failed(send.span), **needed.attributes, **attributes.of_blocked(send.blocked)}
        span = self._operation.start(parent, send.destination, partition, start_time=send.start, more=known)
        if span is None or not self._sampling.keep(span):
            return False
        send.span = span
        return True


def _in_class_of(given: Headers, headers: Headers) -> Headers:
    """Return headers in a list of the caller's own class: a serializer may use what else such a list can do."""
    made = copy.copy(given)
    if made is given or type(made) is not type(given):
        msg = "headers that are no plain list must be copied by copy.copy() to carry a context"
        raise TypeError(msg)
    made[:] = headers
    return made
