"""One kind of operation of one client, and the start of its spans."""

from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind

from otelkafka import attributes, semconv
from otelkafka.attributes import Attributes
from otelkafka.client import ClientFacts
from otelkafka.telemetry import Destination, Telemetry


class Operation:
    """Starts the spans of one kind of operation, with everything that a sampler may want to know.

    Args:
        telemetry: of the client.
        facts: of the client.
        name: of the operation: `send`, say.
        kind: its type in the conventions' terms: `send`, `receive`, `process` or `settle`.
        span_kind: the kind of its spans.
    """

    def __init__(self, telemetry: Telemetry, facts: ClientFacts, name: str, kind: str, span_kind: SpanKind) -> None:
        self._telemetry = telemetry
        self._facts = facts
        self._name = name
        self._span_kind = span_kind
        self._attributes = attributes.of_operation(name, kind)

    def start(
        self,
        context: Context,
        destination: Destination,
        partition: int | None = None,
        *,
        links: Sequence[Link] = (),
        start_time: int | None = None,
        message_count: int | None = None,
    ) -> Span | None:
        """Start a span; None where the provider failed.

        Args:
            context: holds its parent.
            destination: what it is about.
            partition: the one partition, where that is known.
            links: its links.
            start_time: Unix time in nanoseconds; None for now.
            message_count: how many records a batch has; None for what is no batch.
        """
        known = self._known(destination, partition)
        if message_count is not None:
            known[semconv.MESSAGING_BATCH_MESSAGE_COUNT] = message_count
        name = self._telemetry.span_name(self._name, destination.name)
        return self._telemetry.start_span(name, self._span_kind, context, known, links, start_time)

    def _known(self, destination: Destination, partition: int | None) -> Attributes:
        return {
            **self._attributes,
            **destination.attributes,
            **attributes.of_client(self._facts),
            **attributes.of_server(self._facts.server(destination.topic, partition)),
            **attributes.of_partition(partition),
        }
