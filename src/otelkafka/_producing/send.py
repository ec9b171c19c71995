"""The sends of a producer: a span for each, from before the client's call until the broker's answer."""

import copy
from typing import Any, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Tracer

from otelkafka._context.current import UNPARSED, Attached, UnparsedSpan, get_current, restored
from otelkafka._context.fastpath import SampledRoot
from otelkafka._context.origin import begin, header_of, keep_earliest, origin_in, with_baggage
from otelkafka._context.propagation import Contexts, merge
from otelkafka._context.sdk import SUPPRESSED, SUPPRESSED_ELSE, set_attributes
from otelkafka._context.traceparent import BAGGAGE_KEY, SPAN_KEY, TRACEPARENT, header
from otelkafka._producing.transactions import Transactions
from otelkafka._protocols import Acknowledgement, given_of
from otelkafka._telemetry import attributes, clock, lifetime, semconv
from otelkafka._telemetry.api import METER_PROVIDER, METRICS
from otelkafka._telemetry.attributes import Attributes
from otelkafka._telemetry.clock import NANOSECONDS
from otelkafka._telemetry.destination import Destination
from otelkafka._telemetry.in_flight import in_flight_of
from otelkafka._telemetry.links import links_between
from otelkafka._telemetry.metrics import Instruments
from otelkafka._telemetry.operation import Operation, Series
from otelkafka._telemetry.sampling import Sampling, is_unsampled, sampled, why_failed
from otelkafka.headers import Headers, are_sendable
from otelkafka.options import ProducerOptions

_PRODUCER = SpanKind.PRODUCER
_NO_SPAN: Span = INVALID_SPAN
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
    """What a span that is made after a failure needs: its parent, and the attributes of the record."""

    parent: Span
    attributes: Attributes


class Send:
    """One call of `send()`. It does not hold the record: a send that waits holds no memory of the caller.

    Attributes:
        sends: the sends of the producer.
        destination: the destination of the record.
        span: its span, or one that records nothing.
        start: when it was called, Unix time in nanoseconds.
        context: to attach for the call.
        outside: to attach when the call has returned or raised.
        headers: to send instead of the caller's; None to send the caller's.
        is_followed: whether its end is recorded or measured.
        partition: the one that the caller gave.
        count: how many records are sent; more than one only for a batch.
        for_failure: what a span that is made after a failure needs; None if none will be made.
        blocked: how long the call took to return, in nanoseconds.
    """

    # Defaults of the class, which the fast path does not set.
    for_failure: ForFailure | None = None
    blocked = 0
    count = 1

    sends: "Sends"
    destination: Destination
    span: Span
    start: int
    context: Context | None
    outside: Context | None
    headers: Headers | None
    is_followed: bool
    partition: int | None

    def sent_without_context(self) -> None:
        """Note that the record was sent as the caller gave it: our header alone had made it too large."""
        without: Attributes = {semconv.SEND_WITHOUT_CONTEXT: True}
        if self.for_failure is not None:
            self.for_failure.attributes.update(without)
        self.sends.telemetry.set_attributes(self.span, lambda: without)

    def returned(self) -> bool:
        """Note that the client's call returned, and return whether the send waits for the broker's answer.

        If too many sends wait already, this one ends here.
        """
        sends = self.sends
        try:
            self.blocked = clock.now() - self.start
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            sends.telemetry.guard.contain("time_ns", error)
        self.headers = self.context = self.outside = None
        if len(sends.pending) >= sends.most_pending:
            sends.end_early(self)
            return False
        sends.pending[self] = None
        return True

    def acknowledged(self, metadata: Acknowledgement) -> None:
        """End the span with the broker's answer, if it is still open."""
        self.sends.end(self, metadata, None, waited=self.context is None)

    def refused(self, error: BaseException) -> None:
        """End the span with an error of the client's call: the client did not accept the record."""
        self.sends.refuse(self, error)

    def failed(self, error: BaseException | None) -> None:
        """End the span with an error of the record's delivery, if it is still open.

        Args:
            error: None if the outcome of the send cannot be known.
        """
        self.sends.end(self, None, error, waited=self.context is None)


class BareSend(UnparsedSpan):
    """A send that is also the OpenTelemetry span. Nothing of it is recorded or measured: one object for each record.

    Attributes:
        destination: as in `Send`, like the others.
    """

    is_followed = False
    destination: Destination
    context: Context | None
    outside: Context | None
    headers: Headers | None
    span_id: int

    @property
    def span(self) -> Span:
        """Itself."""
        return self

    def sent_without_context(self) -> None:
        """Do nothing."""

    def returned(self) -> bool:
        """Do nothing, and return that it does not wait."""
        return False

    def refused(self, error: BaseException) -> None:  # noqa: ARG002 (as `Send.refused()`)
        """Let go of the context, which holds this span."""
        self.context = None

    acknowledged = failed = refused


class MeasuredSend(UnparsedSpan, Send):
    """A send that is also the OpenTelemetry span. It is measured, and not recorded: one object for each record."""

    is_followed = True

    @property
    def span(self) -> Span:  # type: ignore[override]  # it is never replaced
        """Itself."""
        return self

    def refused(self, error: BaseException) -> None:
        """End it, and let go of the context, which holds this span."""
        super().refused(error)
        self.context = None


UNPARSED.update((BareSend, MeasuredSend))


class Place:
    """What the sends to one partition share. It is kept, because to find it costs more than to use it.

    Args:
        series: the series of their metrics.
        instruments: which measure them.
    """

    __slots__ = ("duration", "instruments", "sent", "series")

    def __init__(self, series: Series, instruments: Instruments) -> None:
        self.series = series
        self.instruments = instruments
        self.duration = series.tally(instruments.operation_duration)
        self.sent = series.total(instruments.sent)


class Sends:
    """The sends of one producer.

    For each call of the client's: `begin()`, the call inside the send's `context`, then its `outside` again. Then
    `refused()`, if the client did not accept the record; else, if the send `is_followed`, `returned()`, and then
    `acknowledged()` or `failed()`.

    Args:
        contexts: the contexts of the producer.
        options: the options of the producer.
        transactions: the transactions of the producer.
        producer: which waits for the broker's acknowledgements.
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
        self.pending = self._in_flight.pending
        self.most_pending = options.max_in_flight
        self._sampling = Sampling(self.telemetry)
        self._is_plain = options.on_send is None and self._client.takes_headers
        self._is_flat = not options.pipeline_time and not options.capture_headers
        self._samples_errors = options.sample_errors
        self._is_always_followed = options.on_ack is not None or options.sample_errors
        is_plain = not self._is_always_followed and self._transactions is None
        self._kind: Any = BareSend if is_plain else UnparsedSpan
        self._measured_kind: Any = MeasuredSend if is_plain else UnparsedSpan
        self.telemetry.on_instruments(self._watch)

    def _watch(self, instruments: Instruments) -> None:
        instruments.spans_in_flight.watch(self._in_flight.read)

    def begin(  # noqa: C901, PLR0911, PLR0912 (the fast path reads top to bottom)
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        headers: Headers | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Send | BareSend | None:
        """Start a send, and return it; None if it has neither a span nor headers to send.

        It raises a TypeError only for arguments that it does not have.

        Args:
            topic: as the caller gave it, like the others.
            value: the value of the record.
            key: the key of the record.
            headers: the headers of the record.
            partition: the partition of the record.
            timestamp_ms: the timestamp of the record, Unix time in milliseconds.
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
                kind = self._kind if telemetry.instruments is None else self._measured_kind
                span: Any = fast_path.start_send(ambient, start, kind)
                if type(span) is kind and kind is not UnparsedSpan:
                    begun: Send | BareSend = span
                    begun.destination, begun.outside = destination, ambient
                    begun.context = Context({**ambient, SPAN_KEY: span} if ambient else {SPAN_KEY: span})
                    trace_id = span.trace_id
                    if type(trace_id) is int:  # as header() does
                        begun.headers = [(TRACEPARENT, b"00-%032x-%016x-%02x" % (trace_id, span.span_id, span.flags))]
                    else:
                        begun.headers = [header(trace_id, span.span_id, span.flags)]
                    if kind is MeasuredSend:
                        span.sends, span.start, span.partition = self, start, partition
                    return begun
                if type(span) is SampledRoot:
                    tracer = span.tracer()
                elif span is INVALID_SPAN and kind is BareSend and not ambient:
                    return None
                elif span is not None:
                    return self._begin_unrecorded(
                        start, ambient, Message(topic, value, key, headers, partition, timestamp_ms), destination, span
                    )
                if fast_path.is_continued and self._is_flat and BAGGAGE_KEY not in ambient and fast_path.holds():
                    return self._begin_recorded(start, ambient, destination, value, key, partition, tracer)
            message = Message(topic, value, key, headers, partition, timestamp_ms)
            return self._begin_generally(start, ambient, message, destination, tracer=tracer)
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            self.telemetry.guard.contain("send", error)
            return None

    def _begun(
        self,
        destination: Destination,
        span: Span,
        start: int,
        context: Context,
        outside: Context,
        headers: Headers | None,
        partition: int | None,
    ) -> Send:
        """Return a send with these attributes."""
        send = Send()
        send.sends, send.destination, send.span, send.start = self, destination, span, start
        send.context, send.outside, send.headers, send.partition = context, outside, headers, partition
        send.is_followed = self._is_always_followed or self.telemetry.instruments is not None or span.is_recording()
        if self._transactions is not None:
            self._transactions.note_sends()
        return send

    def _begin_unrecorded(
        self, start: int, ambient: Context, message: Message, destination: Destination, span: Any
    ) -> Send:
        """Start a send whose span is certainly not recorded, as `begin()` does.

        Args:
            start: when it was called, Unix time in nanoseconds.
            ambient: the context around.
            message: what is sent.
            destination: where to.
            span: the span of the fast path.
        """
        context, carried = _WITHOUT_SPAN, None
        if type(span) in UNPARSED:
            context = Context({**ambient, SPAN_KEY: span})
            carried = [header(span.trace_id, span.span_id or 0, span.flags)] if span.trace_id else []
            if span.origin is not None:
                context = with_baggage(context, span.origin)
                carried.append(header_of(span.origin))
        send = self._begun(destination, span, start, context, ambient, carried, message.partition)
        if self._samples_errors and is_unsampled(span.get_span_context()):
            send.for_failure = ForFailure(trace.get_current_span(ambient), self._message_attributes(message))
        return send

    def _begin_recorded(
        self,
        start: int,
        ambient: Context,
        destination: Destination,
        value: Any,
        key: Any,
        partition: int | None,
        tracer: Tracer | None,
    ) -> Send:
        """Start a send without headers with the SDK: the result of `_begin_generally()`, in few calls.

        Args:
            start: when it was called, Unix time in nanoseconds.
            ambient: the context around, without baggage.
            destination: the destination of the record.
            value: the value of the record.
            key: the key of the record.
            partition: the partition of the record.
            tracer: starts its span; None for the one of the options.
        """
        telemetry = self.telemetry
        known = self._operation.known_of(destination, partition)
        given = dict(known.attributes)
        if key is not None:
            if type(key) is bytes and self._options.capture_key is True and key.isascii():  # as `of_key()`, in no call
                given[semconv.MESSAGING_KAFKA_MESSAGE_KEY] = key.decode()
            else:
                given.update(telemetry.key_attributes(key))
        if value is None:
            given[semconv.MESSAGING_KAFKA_MESSAGE_TOMBSTONE] = True
        headers: Headers | None = None
        context, span = ambient, _NO_SPAN
        try:
            span = (tracer or telemetry.tracer).start_span(known.span_name, ambient, _PRODUCER, given, (), start)
        except Exception as error:  # noqa: BLE001 (the record is sent without)
            telemetry.guard.contain("start_span", error)
        else:
            context, carried = Context({**ambient, SPAN_KEY: span}), span.get_span_context()
            ids = carried.trace_id, carried.span_id, carried.trace_flags
            if carried.trace_state or not ids[0] or not ids[1]:  # that of a tracer which is disabled is not valid
                headers = self._contexts.put([], context) or None
            else:
                headers = [(TRACEPARENT, b"00-%032x-%016x-%02x" % ids)]
        send = self._begun(destination, span, start, context, ambient, headers, partition)
        if self._samples_errors and is_unsampled(span.get_span_context()):
            known_of_it = {name: given[name] for name in given if name not in known.attributes}
            send.for_failure = ForFailure(trace.get_current_span(ambient), known_of_it)
        return send

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
        except BaseException as error:  # an interrupt in the user's code, which passes: no one else has the span
            telemetry.end_span(span or INVALID_SPAN, error)
            raise
        span = span or INVALID_SPAN
        if headers == given:
            headers = None
        elif headers is not None and message.headers is not None and type(message.headers) is not list:
            headers = telemetry.guard.call("inject", None, _in_class_of, message.headers, headers)
        send = self._begun(destination, span, start, context, ambient, headers, message.partition)
        if self._samples_errors and is_unsampled(span.get_span_context()):
            known = self._message_attributes(message) if known is None else known
            send.for_failure = ForFailure(trace.get_current_span(around), known)
        return send

    def _keep_origin(
        self, context: Context, ambient: Context, incoming: Context, start: int, message: Message
    ) -> Context:
        """Return the context of a send with the origin of its pipeline, if the options ask for it."""
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

    def end_early(self, send: Send) -> None:
        """End a send without its acknowledgement, because too many sends wait already."""
        self.telemetry.drop(semconv.DROPPED_IN_FLIGHT)
        self.end(send, None, None, waited=False)

    def end_all(self) -> None:
        """End each send that still waits, because the producer is closed."""
        self._in_flight.end_all()

    def refuse(self, send: Send, error: BaseException) -> None:
        """End a send whose record the client did not accept. It was not attempted, so an abort does not void it."""
        if self._transactions is not None:
            self._transactions.forget_sends(send.count)
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
            metadata: the broker's acknowledgement; None if there is none.
            error: how it failed, if it did.
            waited: whether it is in flight; otherwise the client's call has just returned or raised.
            is_refused: whether the client did not accept the record.
        """
        if not send.is_followed or (waited and not self._in_flight.remove(send)):
            return
        telemetry, span, hook = self.telemetry, send.span, self._options.on_ack
        if not waited:
            send.blocked = telemetry.now() - send.start
        partition = send.partition if metadata is None else getattr(metadata, "partition", None)
        try:
            if type(span) not in UNPARSED:
                try:
                    if span.is_recording():
                        set_attributes(span, self._end_attributes(send, metadata))
                except Exception as failure:  # noqa: BLE001 (whatever it is, the application must not get it)
                    telemetry.guard.contain("set_attributes", failure)
            if metadata is not None and hook is not None:
                telemetry.call_hook("on_ack", hook, span, given_of(metadata))
        finally:
            try:
                if error is None:
                    self._finish(send, partition)
                else:
                    self._fail(send, partition, error, is_refused)
            except Exception as failure:  # noqa: BLE001 (likewise)
                telemetry.guard.contain("send", failure)

    def _end_attributes(self, send: Send, metadata: Acknowledgement | None) -> Attributes:
        known: Attributes = {semconv.SEND_BLOCKED_DURATION: max(0, send.blocked) / NANOSECONDS}
        if metadata is not None:
            known.update(self._operation.learned(send.destination, metadata.partition))
            if metadata.offset is not None and metadata.offset >= 0:  # with `acks=0` it is -1, which is none
                known[semconv.MESSAGING_KAFKA_OFFSET] = metadata.offset
        return known

    def _finish(self, send: Send, partition: int | None) -> None:
        """Measure a send that succeeded, and end its span: the result of `Operation.finish()`, in few calls."""
        telemetry, start, span = self.telemetry, send.start, send.span
        try:
            now = max(clock.now(), start)  # it may have been set back
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            telemetry.guard.contain("time_ns", error)
            now = start
        if not telemetry.refreshed <= now < telemetry.refresh_at:
            telemetry.refresh(now)
        instruments = telemetry.instruments
        try:
            if instruments is not None:
                place = send.destination.places.get(partition)
                if place is None or place.instruments is not instruments or place.series.is_stale:
                    place = Place(self._operation.series(send.destination, partition), instruments)
                    send.destination.places[partition] = place
                if type(span) in UNPARSED:
                    place.duration.add((now - start) / NANOSECONDS)
                else:
                    place.duration.record((now - start) / NANOSECONDS, span)
                if send.count == 1:
                    place.sent.count()
                else:
                    place.sent.add(send.count)
        except Exception as error:  # noqa: BLE001 (the span ends nevertheless)
            telemetry.guard.contain("measure", error)
        finally:
            if type(span) not in UNPARSED:
                telemetry.end_span(span, None, now)

    def _fail(
        self,
        send: Send,
        partition: int | None,
        error: BaseException,
        is_refused: bool,  # noqa: FBT001 (passed on)
    ) -> None:
        original = send.span
        recorded = self.telemetry.guard.call("send", False, self._record_failure, send, partition)
        if recorded:
            self.telemetry.end_span(original, error)
        series = self._operation.finish(send.start, send.destination, partition, send.span, error)
        if series is not None and (instruments := self.telemetry.instruments) is not None:
            if not is_refused:  # semantic conventions: what was created but not sent is not counted
                series.total(instruments.sent).add(send.count)
            if recorded:
                known = self._operation.series(send.destination, partition)
                self._sampling.count(known.attributes, semconv.REASON_ERROR)

    def _record_failure(self, send: Send, partition: int | None) -> bool:
        """Start a span for a failed send that was not sampled, and return whether there is one now.

        The new span has the parent of the first one. If that parent is not known, it is a child of the first one.
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
    """Return headers in a list of the caller's class, because a serializer may use more than a list's methods."""
    made = copy.copy(given)
    if made is given or type(made) is not type(given):
        msg = "headers that are no plain list must be copied by copy.copy() to carry a context"
        raise TypeError(msg)
    made[:] = headers
    return made
