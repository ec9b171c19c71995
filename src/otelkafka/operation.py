"""One kind of operation of one client: the start of its spans, and the measure of it."""

from collections.abc import Sequence
from time import monotonic

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind

from otelkafka import attributes, semconv
from otelkafka.attributes import Attributes
from otelkafka.client import ClientFacts
from otelkafka.destination import Destination
from otelkafka.telemetry import Telemetry
from otelkafka.totals import Total, Totals

_NO_SPAN = Context()
_MOST_KEPT = 4000
_LEADERS_SECONDS = 10


class Series:
    """What the metrics of one operation on one partition, with one outcome, have in common; kept from record to record.

    Args:
        attributes: of its metrics.
        kind: its type, if it has one, which only the duration of a client's operation carries.
    """

    __slots__ = ("_totals", "attributes", "typed")

    def __init__(self, attributes: Attributes, kind: str | None) -> None:
        self.attributes = attributes
        self.typed = {**attributes, semconv.MESSAGING_OPERATION_TYPE: kind} if kind else attributes
        self._totals: dict[Totals, Total] = {}

    def total(self, totals: Totals) -> Total:
        """Return what to add to in `totals`."""
        found = self._totals.get(totals)
        if found is None:
            found = self._totals[totals] = totals.of(self.attributes)
        return found


class Operation:
    """Starts the spans of one kind of operation, with everything that a sampler may want to know, and measures it.

    Args:
        telemetry: of the client.
        facts: of the client.
        name: of the operation: `send`, say.
        kind: its type in the conventions' terms: `send`, `receive`, `process` or `settle`; None where they have none.
        span_kind: the kind of its spans.
    """

    def __init__(
        self, telemetry: Telemetry, facts: ClientFacts, name: str, kind: str | None, span_kind: SpanKind
    ) -> None:
        self._telemetry = telemetry
        self._facts = facts
        self._name = name
        self._kind = kind
        self._span_kind = span_kind
        self._attributes = attributes.of_operation(name, kind)
        self._known: dict[tuple[str, str | None, int | None], Attributes] = {}
        self._learned: dict[tuple[str, str | None, int], Attributes] = {}
        self._series: dict[tuple[str, int | None, str | None], Series] = {}
        self._renew_at = 0.0

    def start(
        self,
        context: Context,
        destination: Destination,
        partition: int | None = None,
        *,
        links: Sequence[Link] = (),
        start_time: int | None = None,
        told: Attributes | None = None,
        tracer: trace.Tracer | None = None,
    ) -> Span | None:
        """Start a span; None where the provider failed.

        Args:
            context: holds its parent.
            destination: what it is about.
            partition: the one partition, where that is known.
            links: its links.
            start_time: Unix time in nanoseconds; None for now.
            told: what else is known of it from the start.
            tracer: starts it; None for the one of the options.
        """
        known = self._known_of(destination, partition)
        known = {**known, **told} if told else dict(known)
        name = self._telemetry.span_name(self._name, destination.name)
        return self._telemetry.start_span(name, self._span_kind, context, known, links, start_time, tracer)

    def finish(
        self,
        start: int,
        destination: Destination,
        partition: int | None,
        span: Span,
        error: BaseException | None = None,
    ) -> Series | None:
        """Measure a client's operation, end its span, and return what other metrics carry, if somebody listens.

        Args:
            start: Unix time in nanoseconds.
            destination: what it was about.
            partition: the one partition, where that is known.
            span: its span, or one that records nothing.
            error: how it failed.
        """
        telemetry = self._telemetry
        now = telemetry.not_before(start, telemetry.now())
        telemetry.look(now)
        measured = None
        if telemetry.instruments is not None:
            measured = telemetry.guard.call(
                "measure", None, self._measure, start, now, destination, partition, span, error
            )
        telemetry.end_span(span, error, now)
        return measured

    def _measure(
        self,
        start: int,
        end: int,
        destination: Destination,
        partition: int | None,
        span: Span,
        error: BaseException | None,
    ) -> Series | None:
        instruments = self._telemetry.instruments
        if instruments is None:
            return None
        series = self.series(destination, partition, error)
        instruments.operation_duration.record(attributes.seconds(end - start), series.typed, context_of(span))
        return series

    def series(
        self, destination: Destination, partition: int | None = None, error: BaseException | None = None
    ) -> Series:
        """Return what the metrics of this operation carry, of one partition where that is known, with one outcome."""
        outcome = None if error is None else str(attributes.of_error(error)[semconv.ERROR_TYPE])
        key = (destination.name, partition, outcome)
        self._renew()
        found = self._series.get(key)
        if found is None:
            known = self._metric_attributes(destination, partition)
            if outcome is not None:
                known[semconv.ERROR_TYPE] = outcome
            found = self._series[key] = self._admitted(known)
        return found

    def _admitted(self, known: Attributes) -> Series:
        """Return what they carry if there is room for it: an SDK keeps each attribute set of a histogram for good."""
        instruments = self._telemetry.instruments
        admitted = known if instruments is None else instruments.admit(self._name, known)
        return Series(admitted, self._kind if admitted is known else None)

    def _renew(self) -> None:
        """Forget what was known, now and then: leaders move, and to ask for each record costs more than the record."""
        if monotonic() >= self._renew_at or len(self._series) + len(self._known) >= _MOST_KEPT:
            self._renew_at = monotonic() + _LEADERS_SECONDS
            self._series.clear()
            self._known.clear()
            self._learned.clear()

    def _known_of(self, destination: Destination, partition: int | None) -> Attributes:
        self._renew()
        key = (destination.name, destination.topic, partition)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._ask(destination, partition)
        return found

    def learned(self, destination: Destination, partition: int) -> Attributes:
        """Return what is known of a partition beyond what was known before its number was: the leader, say."""
        self._renew()
        key = (destination.name, destination.topic, partition)
        found = self._learned.get(key)
        if found is None:
            before, known = self._known_of(destination, None), self._known_of(destination, partition)
            found = self._learned[key] = {name: told for name, told in known.items() if before.get(name) != told}
        return found

    def _ask(self, destination: Destination, partition: int | None) -> Attributes:
        return {
            **self._attributes,
            **destination.attributes,
            **attributes.of_client(self._facts),
            **attributes.of_server(self._facts.server(destination.topic, partition)),
            **attributes.of_partition(partition),
            **self.old_names(destination.topic, partition),
        }

    def old_names(self, topic: str | None, partition: int | None) -> Attributes:
        """Return the attributes of before the current conventions, where they were asked for."""
        return attributes.of_old_names(self._facts, topic, partition) if self._telemetry.old_names else {}

    def _metric_attributes(self, destination: Destination, partition: int | None) -> Attributes:
        return {
            **attributes.of_operation(self._name),
            **destination.metric_attributes,
            **attributes.of_group(self._facts),
            **attributes.of_server(self._facts.server(destination.topic, partition)),
            **attributes.of_partition(partition),
        }


def context_of(span: Span) -> Context:
    """Return a context by which an exemplar leads to the span's trace."""
    return trace.set_span_in_context(span, _NO_SPAN) if span.is_recording() else _NO_SPAN
