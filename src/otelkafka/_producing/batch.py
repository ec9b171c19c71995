"""Batches that the application fills itself: one send span for all records of a batch, whose context each carries."""

from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span

from otelkafka._context.current import get_current, is_suppressed, restored
from otelkafka._context.origin import begin
from otelkafka._context.propagation import merge
from otelkafka._producing.send import Send, Sends
from otelkafka._telemetry import attributes, semconv
from otelkafka._telemetry.destination import Destination
from otelkafka._telemetry.metrics import Instruments
from otelkafka.headers import Headers, are_sendable

_MOST_LINKS: Final = 128


class Batch:
    """The records of a batch until it is sent.

    Attributes:
        send: the send, which begins with the first record. None before it, and after the batch was sent.
        linked: the ids of the other traces that the span links to.
    """

    __slots__ = ("linked", "send")

    def __init__(self) -> None:
        self.send: Send | None = None
        self.linked: set[int] = set()


class Batches(Sends):
    """The batches of one producer.

    The face calls `headers_for()` for each record of a batch. Around the call that sends the batch it calls
    `begin_batch()`, and then what it calls for every other send.
    """

    def _watch(self, instruments: Instruments) -> None:
        """Watch nothing: batches wait among the other sends of the producer, which are read already."""

    def headers_for(self, batch: Batch, headers: Any, timestamp_ms: int | None = None) -> Headers | None:
        """Return the headers of a record with the context of its batch; None if the headers need no change.

        The first record starts the span of the batch. The topic is not known before the batch is sent.

        Args:
            batch: the batch.
            headers: the headers of the record.
            timestamp_ms: the timestamp of the record, Unix time in milliseconds.
        """
        if is_suppressed():
            return None
        sendable = self._client.takes_headers and (are_sendable(headers) or self._client.can_send(headers))
        if not sendable:
            return None
        return self.telemetry.guard.call("send", None, self._headers_for, batch, headers or [], timestamp_ms)

    def _headers_for(self, batch: Batch, given: Headers, timestamp_ms: int | None) -> Headers | None:
        ambient, start = restored(), self.telemetry.now()
        taken = self._contexts.take(given)
        if taken is None:
            return None
        incoming, rest = taken
        context = merge(ambient, under=incoming)
        if self._options.pipeline_time:
            context = begin(context, ambient, incoming, start, self.telemetry.drop, timestamp_ms)
        if batch.send is None:
            batch.send = self._start(context, start)
        span = batch.send.span
        if span is not INVALID_SPAN:
            for around in (ambient, incoming):
                self._link(batch, span, around)
            context = trace.set_span_in_context(span, context)
        return self._contexts.put(rest, context)

    def _start(self, context: Context, start: int) -> Send:
        nowhere = self.telemetry.destinations.of(set())
        span = self._operation.start(context, nowhere, start_time=start) or INVALID_SPAN
        send = Send()
        send.sends, send.destination, send.span, send.start = self, nowhere, span, start
        send.context = send.outside = context
        send.headers = send.partition = None
        send.is_followed = True
        return send

    @staticmethod
    def _link(batch: Batch, span: Span, around: Context) -> None:
        """Link the span of a batch to the trace of one of its records."""
        other = trace.get_current_span(around).get_span_context()
        is_own = not other.is_valid or other.trace_id == span.get_span_context().trace_id
        if not is_own and other.trace_id not in batch.linked and len(batch.linked) < _MOST_LINKS:
            batch.linked.add(other.trace_id)
            span.add_link(other, {semconv.LINK_TYPE: semconv.LINK_AMBIENT})

    def begin_batch(self, batch: Batch, topic: Any, partition: int | None, count: int) -> Send | None:
        """Begin the send of a batch. Return None if nothing is recorded of it.

        Args:
            batch: the batch. It is empty afterwards: the next record starts a new span.
            topic: as the caller gave it, like the partition.
            partition: the partition of the batch.
            count: how many records it has.
        """
        if is_suppressed() or not isinstance(topic, str):
            return None
        return self.telemetry.guard.call("send", None, self._begin_batch, batch, topic, partition, count)

    def note_taken(self, send: Send, count: int) -> None:
        """Note that the client has taken so many records of a batch, and none of the others."""
        if self._transactions is not None:
            self._transactions.forget_sends(send.count - count)
        send.count = count

    def _begin_batch(self, batch: Batch, topic: str, partition: int | None, count: int) -> Send:
        ambient, start = get_current(), self.telemetry.now()
        self.telemetry.refresh(start)
        destination = self.telemetry.destinations[topic]
        send, batch.send = batch.send or self._start(restored(), start), None
        if destination.traced:
            self._name(send, destination, partition, count)
        else:
            send.span = INVALID_SPAN  # it does not end, and no caller gets it
        send.destination, send.partition, send.start, send.count = destination, partition, start, count
        send.context = ambient if send.span is INVALID_SPAN else trace.set_span_in_context(send.span, ambient)
        if self._transactions is not None:
            self._transactions.note_sends(count)
        return send

    def _name(self, send: Send, destination: Destination, partition: int | None, count: int) -> None:
        """Set the attributes that other sends have from the start."""
        telemetry, topic = self.telemetry, destination.topic
        known = {**destination.attributes, semconv.MESSAGING_BATCH_MESSAGE_COUNT: count}
        if partition is not None:
            known.update(self._operation.learned(destination, partition))
        if telemetry.old_names:
            known.update(attributes.of_old_names(self._client, topic, partition))
        send.span.update_name(telemetry.span_name("send", destination.name))
        telemetry.set_attributes(send.span, lambda: known)
