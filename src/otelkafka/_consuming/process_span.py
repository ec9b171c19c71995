"""The process span of a record or of a batch: its parent, its links, its attributes, and whether it is recorded."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, NonRecordingSpan, Span, SpanContext, Tracer

from otelkafka._consuming.open_span import Beginning, OpenSpan
from otelkafka._consuming.wait import Handover, Processed, WaitHistory, describe_wait, queue_of
from otelkafka._context.current import UNPARSED
from otelkafka._context.fastpath import SampledRoot, WithSdk
from otelkafka._context.propagation import Contexts
from otelkafka._telemetry import semconv
from otelkafka._telemetry.attributes import Attributes
from otelkafka._telemetry.clock import NANOSECONDS
from otelkafka._telemetry.destination import Destination
from otelkafka._telemetry.links import Described, describe_records, link_to
from otelkafka._telemetry.operation import Operation
from otelkafka._telemetry.sampling import Sampling, is_unsampled, sampled, why_failed
from otelkafka.options import ConsumerOptions

_OF_WAIT = (
    semconv.QUEUE_DURATION,
    semconv.QUEUE_BUSY_DURATION,
    semconv.QUEUE_FETCH_DURATION,
    semconv.QUEUE_BUSY_COUNT,
    semconv.QUEUE_TIMESTAMP_TYPE,
    semconv.QUEUE_CLOCK_SKEW,
)
"""What a batch says of the wait of the record that waited longest."""


class Started(NamedTuple):
    """A process span that has started.

    Args:
        span: the span.
        parent: the parent of the span; None if it is not known.
    """

    span: Span
    parent: SpanContext | None = None


class ProcessSpans:
    """The process spans of one consumer.

    Args:
        contexts: the contexts of the consumer.
        options: the options of the consumer.
        operation: starts spans of its kind.
        history: when the consumer was fetching and busy; None if the consumer is not known.

    Attributes:
        samples_waits: whether records that waited too long are recorded although they are not sampled.
        may_record_late: whether those, or records that fail, are.
    """

    def __init__(
        self, contexts: Contexts, options: ConsumerOptions, operation: Operation, history: WaitHistory | None
    ) -> None:
        self.samples_waits = options.sample_waits_over is not None
        self.may_record_late = self.samples_waits or options.sample_errors
        self._longest_wait = (options.sample_waits_over or 0) * NANOSECONDS
        self._contexts = contexts
        self._telemetry = contexts.telemetry
        self._client = contexts.telemetry.client
        self._options = options
        self._operation = operation
        self._history = history
        self._sampling = Sampling(contexts.telemetry)
        self._busy: tuple[Sequence[Processed], Sequence[Link]] = (), ()
        self._is_child = options.relation != "link"
        self._is_linked = options.relation != "parent"

    def reason_for(self, record: Any, start: int, span: Any) -> str | None:
        """Return "wait" if a record of the fast path waited too long and must be recorded; None otherwise.

        A record that starts a trace is never recorded for that reason.

        Args:
            record: the record.
            start: the start of its processing, Unix time in nanoseconds.
            span: the span of the fast path.
        """
        continues = self.samples_waits and type(span) in UNPARSED and type(span.trace_id) is bytes
        return self._acquire_for_wait() if continues and self._is_late(record, start) else None

    def start(
        self,
        record: Any,
        destination: Destination,
        start: int,
        ambient: Context,
        created: SpanContext,
        context: Context,
        about: Beginning,
        *,
        reason: str | None = None,
        tracer: Tracer | None = None,
    ) -> Started | None:
        """Start the span of a record. Return None if the provider failed.

        Args:
            record: the record.
            destination: its topic.
            start: the start of its processing, Unix time in nanoseconds.
            ambient: the context around.
            created: the record's creation context.
            context: the ambient context and the creation context, merged.
            about: what is known of it.
            reason: why the record is recorded although its context is not sampled; None if that is still to be decided.
            tracer: starts the span; None for the tracer of the options.
        """
        around = trace.get_current_span(ambient) if ambient else INVALID_SPAN
        linked = link_to(created, semconv.LINK_CREATION) if self._is_linked else []
        if self.samples_waits and reason is None and is_unsampled(created) and self._is_late(record, start):
            reason = self._acquire_for_wait()
        if reason is not None:
            links = link_to(around.get_span_context(), semconv.LINK_AMBIENT)
            if self._is_child:
                links = [*linked, *links]
            why: Attributes = {semconv.SAMPLED_REASON: reason}
            found = self._start_against(destination, record.partition, start, created, context, links, why, about)
            if found is not None:
                return found
        if created.is_valid and self._is_child:
            parent, links = context, link_to(around.get_span_context(), semconv.LINK_AMBIENT) if ambient else []
            if linked:
                links = [*linked, *links]
        else:
            parent, links = trace.set_span_in_context(around, context), linked
        span = self._start(destination, record.partition, start, parent, links, None, about, tracer)
        return None if span is None else Started(span, trace.get_current_span(parent).get_span_context())

    def start_batch(
        self, destination: Destination, partition: int | None, start: int, ambient: Context, about: Beginning
    ) -> Started | None:
        """Start the span of a batch. Return None if the provider failed.

        Args:
            destination: their topic, or several.
            partition: the one partition; None for several.
            start: the start of their processing, Unix time in nanoseconds.
            ambient: the context around.
            about: what is known of its records.
        """
        records = about.records
        count: Attributes = {semconv.MESSAGING_BATCH_MESSAGE_COUNT: len(records)}
        around = trace.get_current_span(ambient)
        if self.samples_waits and not around.get_span_context().trace_flags.sampled:
            late = self._first_late(records, start)
            if late is not None and (reason := self._acquire_for_wait()) is not None:
                links = link_to(around.get_span_context(), semconv.LINK_AMBIENT)
                why = {**count, semconv.SAMPLED_REASON: reason}
                found = self._start_against(destination, partition, start, late, ambient, links, why, about)
                if found is not None:
                    return found
        tracer = None
        if not self.may_record_late and type(fast_path := self._contexts.fast_path) is WithSdk:
            unrecorded: Any = fast_path.start_send(ambient, start)  # its parent is the current span, too
            if type(unrecorded) in UNPARSED:
                return Started(unrecorded)
            if type(unrecorded) is SampledRoot:
                tracer = unrecorded.tracer()
        span = self._start(destination, partition, start, ambient, (), count, about, tracer)
        return None if span is None else Started(span)

    def acquire_for_failure(self, span: Span) -> bool:
        """Return whether a failure gets an additional span, because its own is not sampled. If so, count it."""
        return self._sampling.acquire_for_failure(span)

    def start_after_failure(self, failed: OpenSpan, about: Beginning, context: Context) -> Started | None:
        """Start a span for a record or a batch that failed and is not sampled. Return None if there is no such span.

        The new span has the parent of the first span. If that parent is not known, it is a child of the first span.
        The span of a batch belongs to the trace of the first record of the batch that is not sampled.

        Args:
            failed: the open span of the record or batch.
            about: what was known when processing began.
            context: the context of the record.
        """
        created = self.created(about)
        own, known = failed.span.get_span_context(), why_failed(failed.span)
        around = trace.get_current_span(about.ambient).get_span_context()
        links = link_to(around, semconv.LINK_AMBIENT)
        if failed.batch is not None:
            parent, context = next(filter(is_unsampled, created), own), Context()
            known[semconv.MESSAGING_BATCH_MESSAGE_COUNT] = len(created)
        else:
            before = failed.parent or created[0]
            parent = before if before.is_valid and before.trace_id == own.trace_id else own
            if created[0].trace_id != parent.trace_id:
                links = link_to(created[0], semconv.LINK_CREATION)
            elif self._is_child and self._is_linked:
                links = [*link_to(created[0], semconv.LINK_CREATION), *links]
        place = failed.destination, failed.partition, failed.start
        return self._start_against(*place, parent, context, links, known, about)

    def note_beginning(self, about: Beginning) -> None:
        """Note what is known when the processing of a record or a batch begins. Later calls note nothing."""
        if about.handovers:
            return
        history, handover = self._history, about.handover
        if about.is_fresh:
            record = about.records[0]
            handover = Handover(about.start, self._client.highwater(record.topic, record.partition))
        for record in about.records:
            about.handovers.append(handover or self._handover_of(record, about.start))
            about.attended.append(None if history is None else history.attended_since(record.topic, record.partition))

    def created(self, about: Beginning) -> Sequence[SpanContext]:
        """Return the creation contexts of records."""
        if about.created is None:
            about.created = [self._contexts.creation_context(record) for record in about.records]
        return about.created

    def describe(
        self,
        found: Attributes,
        record: Any,
        start: int,
        handover: int,
        highwater: int | None,
        attended: int | None,
    ) -> Sequence[Link]:
        """Add the attributes of a record, and return links to what kept its consumer busy while the record waited.

        Args:
            found: the attributes, to which those of the record are added.
            record: the record.
            start: the start of its processing, Unix time in nanoseconds.
            handover: when the client returned the record, Unix time in nanoseconds.
            highwater: the end of the partition at that time; None if it is not known.
            attended: since when a consumer could fetch the record; None if that is not known.
        """
        self._telemetry.describe_record(found, record, highwater)
        history = self._history
        since = describe_wait(found, record, start, handover, history, attended)
        if since is None or history is None or not history.slow:
            return ()
        slow = history.slowest(since, start)
        known = self._busy
        if slow != known[0]:  # those that wait for the same have the same links
            contexts = [(each.span.get_span_context(), each) for each in slow]
            links = [Link(context, each.link_attributes()) for context, each in contexts if context.is_valid]
            known = self._busy = slow, links[: self._options.max_links]
        return known[1]

    def _describe_record(self, about: Beginning, taken: int) -> Described:
        """Return the attributes of a record's span, and the links to what kept its consumer busy.

        Args:
            about: what is known of the record.
            taken: how many links the span has already.
        """
        self.note_beginning(about)
        found: Attributes = {}
        record = about.records[0]
        busy = self.describe(found, record, about.start, *about.handovers[0], about.attended[0])
        if self._options.capture_headers:
            found.update(self._telemetry.header_attributes(record.headers))
        most = self._options.max_links
        return Described(found, busy[: max(0, most - taken)], max(0, taken - most))

    def _describe_batch(self, about: Beginning, taken: int) -> Described:
        """Return the attributes of a batch's span and its links: first the busy links, then those to its records."""
        self.note_beginning(about)
        of_records: list[Attributes] = []
        links: Sequence[Link] = ()
        longest: Attributes = {}
        longest_wait = -1.0
        for record, handover, attended in zip(about.records, about.handovers, about.attended, strict=True):
            found: Attributes = {}
            busy = self.describe(found, record, about.start, *handover, attended)
            of_records.append(found)
            wait = found.get(semconv.QUEUE_DURATION)
            if isinstance(wait, float) and wait > longest_wait:
                links, longest, longest_wait = busy, found, wait
        room = max(0, self._options.max_links - taken)
        links = links[:room]
        records = describe_records(
            self._telemetry, about.records, self.created(about), room - len(links), lambda at: of_records[at]
        )
        of_wait = {name: longest[name] for name in _OF_WAIT if name in longest}
        return Described({**of_wait, **records.attributes}, [*links, *records.links], records.dropped)

    def _acquire_for_wait(self) -> str | None:
        return semconv.REASON_WAIT if self._sampling.acquire(semconv.REASON_WAIT) else None

    def _is_late(self, record: Any, start: int) -> bool:
        queue = queue_of(record, start)
        return queue is not None and queue > self._longest_wait

    def _first_late(self, records: Sequence[Any], start: int) -> SpanContext | None:
        """Return the context of the first record that waited too long and is not sampled."""
        late = (record for record in records if self._is_late(record, start))
        return next(
            filter(is_unsampled, (self._contexts.creation_context(record, again=True) for record in late)), None
        )

    def _start_against(
        self,
        destination: Destination,
        partition: int | None,
        start: int,
        parent: SpanContext,
        context: Context,
        links: Sequence[Link],
        known: Attributes,
        about: Beginning,
    ) -> Started | None:
        """Start a span that is recorded although its context is not sampled. Return None if the sampler refuses.

        Args:
            destination: the destination of the records, as the next ones.
            partition: the one partition; None for several.
            start: the start of their processing, Unix time in nanoseconds.
            parent: the parent of the span.
            context: what else is in its context.
            links: the links of the span.
            known: its attributes, among them the reason.
            about: what is known of its records.
        """
        span = self._start(destination, partition, start, sampled(parent, context), links, known, about)
        if span is None or not self._sampling.keep(span):
            return None
        reason, count = str(known[semconv.SAMPLED_REASON]), len(about.records)
        self._telemetry.guard.call("measure", None, self._count, destination, partition, reason, count)
        return Started(span, parent)

    def _count(self, destination: Destination, partition: int | None, reason: str, count: int) -> None:
        if self._telemetry.instruments is not None:
            series = self._operation.series(destination, partition)
            self._sampling.count(series.attributes, reason, count)

    def _start(
        self,
        destination: Destination,
        partition: int | None,
        start: int,
        parent: Context,
        links: Sequence[Link],
        known: Attributes | None,
        about: Beginning,
        tracer: Tracer | None = None,
    ) -> Span | None:
        """Start a span; None where the provider failed."""
        describe: Callable[[Beginning, int], Described]
        describe = self._describe_batch if about.is_batch else self._describe_record
        span = self._operation.start(
            parent,
            destination,
            partition,
            links=links[: self._options.max_links],
            start_time=start,
            more=known,
            tracer=tracer,
            describe=lambda: describe(about, len(links)),
            is_likely=tracer is not None or self._contexts.is_likely_recorded(parent),
        )
        # Without an SDK it is the one around, which is not to be taken for one of the fast path's.
        return NonRecordingSpan(span.get_span_context()) if span is not None and type(span) in UNPARSED else span

    def _handover_of(self, record: Any, start: int) -> Handover:
        noted = None if self._history is None else self._history.handover_of(record)
        return noted or Handover(start, None)
