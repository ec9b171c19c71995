"""One kind of operation of one client: the start of its spans, and the measure of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanKind

from otelkafka._telemetry import attributes, clock, semconv
from otelkafka._telemetry.api import PROVIDER, TRACE
from otelkafka._telemetry.attributes import Attributes
from otelkafka._telemetry.clock import seconds
from otelkafka._telemetry.destination import Destination
from otelkafka._telemetry.links import Described
from otelkafka._telemetry.metrics import Total, Totals
from otelkafka._telemetry.tallies import Tallies, Tally
from otelkafka._telemetry.telemetry import Telemetry

_MOST_KEPT = 4000
_RENEW_SECONDS = 10
_NOTHING: Final = Described({})


class Series:
    """The attributes, totals and tallies of one operation on one partition with one outcome.

    Args:
        attributes: the attributes of the metrics.
        kind: the operation type; None for none. Only `messaging.client.operation.duration` carries it.

    Attributes:
        is_stale: whether a caller that keeps it must get a new one, because the leader may have changed.
    """

    __slots__ = ("_tallies", "_totals", "attributes", "is_stale", "typed")

    def __init__(self, attributes: Attributes, kind: str | None) -> None:
        self.attributes = attributes
        self.is_stale = False
        self.typed = {**attributes, semconv.MESSAGING_OPERATION_TYPE: kind} if kind else attributes
        self._totals: dict[Totals, Total] = {}
        self._tallies: dict[Tallies, Tally] = {}

    def total(self, totals: Totals) -> Total:
        """Return the total with these attributes in `totals`."""
        found = self._totals.get(totals)
        if found is None:
            found = self._totals[totals] = totals.of(self.attributes)
        return found

    def tally(self, tallies: Tallies) -> Tally:
        """Return the tally with these attributes in `tallies`. The caller may keep it."""
        found = self._tallies.get(tallies)
        if found is None:
            attributes = self.typed if tallies.has_type else self.attributes
            found = self._tallies[tallies] = tallies.of(attributes)
        return found


@dataclass(frozen=True, slots=True)
class Known:
    """The name and the attributes that the spans of one operation on one partition share."""

    span_name: str
    attributes: Attributes


class Operation:
    """Starts and ends the spans of one kind of operation, with the attributes that a sampler needs, and measures it.

    Args:
        telemetry: the telemetry of the client.
        name: the operation name, for example `send`.
        kind: the operation type of the conventions, `send`, `receive`, `process` or `settle`; None for none.
        span_kind: the kind of its spans.
    """

    def __init__(self, telemetry: Telemetry, name: str, kind: str | None, span_kind: SpanKind) -> None:
        self._telemetry = telemetry
        self._client = telemetry.client
        self._name = name
        self._kind = kind
        self._span_kind = span_kind
        self._attributes = attributes.of_operation(name, kind)
        self._known: dict[tuple[str, str | None, int | None], Known] = {}
        self._learned: dict[tuple[str, str | None, int], Attributes] = {}
        self._series: dict[tuple[str, int | None, str | None], Series] = {}
        self._renew_at = 0.0
        telemetry.on_refresh(self._refresh)

    def start(
        self,
        context: Context,
        destination: Destination,
        partition: int | None = None,
        *,
        links: Sequence[Link] = (),
        start_time: int | None = None,
        more: Attributes | None = None,
        tracer: trace.Tracer | None = None,
        describe: Callable[[], Described] | None = None,
        is_likely: bool = False,
    ) -> Span | None:
        """Start a span. Return None if the provider failed.

        If the span will probably be recorded, `describe` is called before it starts: this is faster, and spans of some
        providers take no links later. Otherwise `describe` is called after the start, if the span is recorded.

        Args:
            context: the context that holds the parent.
            destination: the topic, or several.
            partition: the one partition, where that is known.
            links: its links.
            start_time: Unix time in nanoseconds; None for now.
            more: further attributes that are known at the start.
            tracer: starts the span; None for the tracer of the options.
            describe: returns the attributes and links of a recorded span.
            is_likely: whether the span will probably be recorded.
        """
        telemetry = self._telemetry
        if TRACE.get(PROVIDER) is not telemetry.global_tracer_provider:
            telemetry.refresh(telemetry.now())
        known = self._known.get((destination.name, destination.topic, partition))
        if known is None:
            known = self.known_of(destination, partition)
        given = {**known.attributes, **more} if more else dict(known.attributes)
        described = None
        if describe is not None and is_likely:
            described = telemetry.guard.call(self._name, _NOTHING, describe)
            given.update(described.attributes)
            links = [*links, *described.links]
        starts = telemetry.tracer if tracer is None else tracer
        try:
            span = starts.start_span(known.span_name, context, self._span_kind, given, links, start_time)
            if not isinstance(span, Span):
                raise _not_a_span(span)  # noqa: TRY301 (contained like what the provider raises)
            try:
                is_recording = span.is_recording()  # later on no caller contains its failure
                is_valid = span.get_span_context().is_valid
                if is_recording and describe is not None:
                    telemetry.guard.call(self._name, None, self._describe, span, describe, described)
            except BaseException:
                span.end()
                raise
            # Where there is no SDK the parent's context is carried on, which the oldest API does not do itself.
            return span if is_valid else NonRecordingSpan(trace.get_current_span(context).get_span_context())
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            telemetry.guard.contain("start_span", error)
            return None

    def _describe(self, span: Span, describe: Callable[[], Described], described: Described | None) -> None:
        if described is None:
            described = describe()
            span.set_attributes(described.attributes)
            for link in described.links:
                span.add_link(link.context, link.attributes)
        if described.dropped:
            span.set_attribute(semconv.LINKS_DROPPED, described.dropped)
            self._telemetry.drop(semconv.DROPPED_LINKS, described.dropped)

    def finish(
        self,
        start: int,
        destination: Destination,
        partition: int | None,
        span: Span,
        error: BaseException | None = None,
    ) -> Series | None:
        """Measure an operation of the client, end its span, and return its series; None if nothing reads metrics.

        Args:
            start: Unix time in nanoseconds.
            destination: the topic, or several.
            partition: the one partition, where that is known.
            span: its span, or one that records nothing.
            error: the error; None after success.
        """
        telemetry = self._telemetry
        now = telemetry.not_before(start, telemetry.now())
        telemetry.refresh(now)
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
        series.tally(instruments.operation_duration).record(seconds(end - start), span)
        return series

    def series(
        self, destination: Destination, partition: int | None = None, error: BaseException | None = None
    ) -> Series:
        """Return the series of this operation for one partition, if it is known, with one outcome."""
        outcome = None if error is None else str(self._telemetry.error_attributes(error)[semconv.ERROR_TYPE])
        key = (destination.name, partition, outcome)
        found = self._series.get(key)
        if found is None:
            known = self._metric_attributes(destination, partition)
            if outcome is not None:
                known[semconv.ERROR_TYPE] = outcome
            if len(self._series) + len(self._known) >= _MOST_KEPT:
                self._forget()
            found = self._series[key] = self._admitted(known)
            if self._series.get(key) is not found:  # another thread has forgotten all meanwhile
                found.is_stale = True
        return found

    def _admitted(self, known: Attributes) -> Series:
        """Return the attributes, if the limit of sets allows: an SDK keeps each set of a histogram forever."""
        instruments = self._telemetry.instruments
        admitted = known if instruments is None else instruments.admit(self._name, known)
        return Series(admitted, self._kind if admitted is known else None)

    def _refresh(self) -> None:
        self._telemetry.guard.call("monotonic", None, self._renew)

    def _renew(self) -> None:
        """Forget what is known, at intervals. Leaders change, but asking for each record would cost too much."""
        now = clock.monotonic()
        if now >= self._renew_at:
            self._renew_at = now + _RENEW_SECONDS
            self._forget()

    def _forget(self) -> None:
        kept, self._series = self._series, {}
        for series in list(kept.values()):
            series.is_stale = True
        self._known.clear()
        self._learned.clear()

    def known_of(self, destination: Destination, partition: int | None) -> Known:
        """Return the name and the attributes that all spans of a destination and partition share."""
        key = (destination.name, destination.topic, partition)
        found = self._known.get(key)
        if found is None:
            if len(self._series) + len(self._known) >= _MOST_KEPT:
                self._forget()
            name = self._telemetry.span_name(self._name, destination.name)
            found = self._known[key] = Known(name, self._ask(destination, partition))
        return found

    def learned(self, destination: Destination, partition: int) -> Attributes:
        """Return the attributes that are known once the partition is known: the leader, for example."""
        key = (destination.name, destination.topic, partition)
        found = self._learned.get(key)
        if found is None:
            before, known = self.known_of(destination, None).attributes, self.known_of(destination, partition)
            learned = {name: value for name, value in known.attributes.items() if before.get(name) != value}
            found = self._learned[key] = learned
        return found

    def _ask(self, destination: Destination, partition: int | None) -> Attributes:
        topic, client = destination.topic, self._client
        return {
            **self._attributes,
            **destination.attributes,
            **attributes.of_client(client),
            **attributes.of_server(client.server(topic, partition)),
            **attributes.of_partition(partition),
            **(attributes.of_old_names(client, topic, partition) if self._telemetry.old_names else {}),
        }

    def _metric_attributes(self, destination: Destination, partition: int | None) -> Attributes:
        return {
            **attributes.of_operation(self._name),
            **destination.metric_attributes,
            **attributes.of_group(self._client),
            **attributes.of_server(self._client.server(destination.topic, partition)),
            **attributes.of_partition(partition),
        }


def _not_a_span(returned: object) -> TypeError:
    return TypeError(f"returned {type(returned).__name__}: return a Span")
