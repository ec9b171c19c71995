"""How a send starts: its span, the headers that carry it, and the origin of its pipeline."""

from collections.abc import Callable
from time import time_ns
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span

from otelkafka import attributes
from otelkafka.attributes import Attributes
from otelkafka.client import ClientFacts
from otelkafka.destination import Destination
from otelkafka.headers import are_sendable
from otelkafka.in_flight import Sent
from otelkafka.links import links_between
from otelkafka.message import HEADERS, TIMESTAMP, Message, message_of
from otelkafka.operation import Operation
from otelkafka.options import ProducerOptions
from otelkafka.origins import begin, keep_earliest, origin_in
from otelkafka.passage import Args, KwArgs
from otelkafka.propagation import merge, put, take
from otelkafka.sampling import Sampling, is_unsampled, sampled, why_failed
from otelkafka.telemetry import Telemetry


class Outgoing:
    """Starts the sends of one producer.

    Args:
        telemetry: of the producer.
        facts: of the producer.
        operation: starts spans of its kind.
        options: of the producer.
        produce_hook: called with the span and the arguments of `send()` before it is called.

    Attributes:
        sampling: decides what is recorded although it was not sampled.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        facts: ClientFacts,
        operation: Operation,
        options: ProducerOptions,
        produce_hook: Callable[[Span, Any, Any], None] | None,
    ) -> None:
        self._telemetry = telemetry
        self._facts = facts
        self._operation = operation
        self._options = options
        self._produce_hook = produce_hook
        self.sampling = Sampling(telemetry, options)
        self._is_plain = produce_hook is None and options.on_send is None and facts.takes_headers
        self._hears = options.on_ack is not None or options.sample_errors

    def start(self, ambient: Context, args: Args, kwargs: KwArgs) -> Sent | None:
        """Start a send; None where `send()` will refuse its arguments.

        Args:
            ambient: the current context.
            args: of `send()`.
            kwargs: of `send()`.
        """
        topic, start, telemetry = args[0] if args else kwargs.get("topic"), time_ns(), self._telemetry
        if not isinstance(topic, str):
            return None
        if not telemetry.looked <= start < telemetry.look_at:
            telemetry.look(start)
        destination, rules, tracer = telemetry.destinations[topic], telemetry.rules, None
        if rules is not None and self._is_plain and destination.traced and not self._is_special(args, kwargs):
            span, context, headers, drawn = rules.start(ambient, start)
            if span is not None:
                sent = Sent(destination, span, start, Context(context), headers)
                if not self._hears and telemetry.instruments is None:
                    return sent
                message = message_of(args, kwargs)
                return message and self._heard(sent, message, ambient)
            tracer = None if drawn is None else rules.tracer_for(drawn)
        return self._start_generally(start, ambient, args, kwargs, destination, tracer)

    def _is_special(self, args: Args, kwargs: KwArgs) -> bool:
        """Tell whether the caller gives headers, or the origin of a pipeline."""
        if (args[HEADERS] if len(args) > HEADERS else kwargs.get("headers")) is not None:
            return True
        if not self._options.pipeline_time:
            return False
        return (args[TIMESTAMP] if len(args) > TIMESTAMP else kwargs.get("timestamp_ms")) is not None

    def _start_generally(
        self,
        start: int,
        ambient: Context,
        args: Args,
        kwargs: KwArgs,
        destination: Destination,
        tracer: trace.Tracer | None,
    ) -> Sent | None:
        message, telemetry = message_of(args, kwargs), self._telemetry
        if message is None:
            return None
        sendable = self._facts.takes_headers and are_sendable(message.headers)
        given = message.headers if sendable and message.headers else []
        taken = take(telemetry, given)
        incoming, rest = taken or (Context(), given)
        around = context = self._keep_origin(merge(ambient, under=incoming), ambient, incoming, start, message)
        span: Span | None = INVALID_SPAN
        told: Attributes = {}
        if destination.traced:
            links = links_between(ambient, incoming) if incoming else ()
            told = self._message_attributes(message)
            span = self._operation.start(
                context, destination, message.partition, links=links, start_time=start, told=told, tracer=tracer
            )
            if span is not None:
                telemetry.call_hook("on_send", self._options.on_send, span, message)
                if self._produce_hook is not None:
                    telemetry.guard.call("produce_hook", None, self._produce_hook, span, args, kwargs)
                context = trace.set_span_in_context(span, context)
        headers = None
        if sendable and taken is not None and span is not None:
            headers = put(telemetry, rest, context)
        headers = None if headers == given else headers
        span = span or INVALID_SPAN
        sent = Sent(destination, span, start, context, headers)
        is_heard = self._hears or telemetry.instruments is not None or span.is_recording()
        return self._heard(sent, message, around, told) if is_heard else sent

    def _heard(self, sent: Sent, message: Message, around: Context, told: Attributes | None = None) -> Sent:
        if self._options.sample_errors and is_unsampled(sent.span.get_span_context()):
            sent.parent = trace.get_current_span(around)
            sent.told = self._message_attributes(message) if told is None else told
        return sent.heard(message)

    def _keep_origin(
        self, context: Context, ambient: Context, incoming: Context, start: int, message: Message
    ) -> Context:
        """Return the context of a send with the origin of its pipeline, where that is wanted."""
        if not self._options.pipeline_time:
            return context
        if self._telemetry.destinations[message.topic].traced:
            return begin(context, ambient, incoming, start, self._telemetry.drop, message.timestamp_ms)
        drop = self._telemetry.drop
        return keep_earliest(context, origin_in(ambient, start, drop), origin_in(incoming, start, drop))

    def _message_attributes(self, message: Message) -> Attributes:
        told = self._telemetry.key_attributes(message.key)
        if message.value is None:
            told.update(attributes.of_tombstone(tombstone=True))
        if self._options.capture_headers:
            told.update(self._telemetry.header_attributes(message.headers))
        return told

    def start_after_failure(self, sending: Sent, partition: int | None) -> bool:
        """Start a span for what has failed, if it was not sampled; it continues what the first one did, else that one.

        Args:
            sending: what has failed.
            partition: where to, if that is known.

        Returns:
            Whether there is one now.
        """
        if not self.sampling.admits_failure(sending.span):
            return False
        own, before = sending.span.get_span_context(), sending.parent.get_span_context()
        parent = sampled(before if before.is_valid and before.trace_id == own.trace_id else own)
        told = {**why_failed(sending.span), **sending.told, **attributes.of_blocked(sending.blocked)}
        span = self._operation.start(parent, sending.destination, partition, start_time=sending.start, told=told)
        if span is None or not self.sampling.accepts(span):
            return False
        sending.span = span
        return True
