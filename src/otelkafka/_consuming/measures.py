"""What is measured of the records that are processed, by the partition that they came from."""

from collections.abc import Sequence
from typing import Any

from opentelemetry.trace import Span, SpanContext

from otelkafka._consuming.open_span import OpenSpan
from otelkafka._consuming.wait import queue_of
from otelkafka._context.origin import since
from otelkafka._context.propagation import Contexts
from otelkafka._telemetry.clock import seconds
from otelkafka._telemetry.destination import Destination
from otelkafka._telemetry.metrics import Instruments, Total
from otelkafka._telemetry.operation import Known, Operation, Series
from otelkafka._telemetry.tallies import Tally


class Place:
    """What the records of one partition share: to find it for each would cost more than to use it.

    Args:
        series: the series of the metrics of their processing.
        known: the name and attributes of their spans.
        instruments: those that they are measured by.

    Attributes:
        queue: the tally of how long they waited.
        duration: the tally of how long their processing took.
        consumed: the total of those that were handed over, once there is one.
    """

    __slots__ = ("consumed", "duration", "instruments", "known", "queue", "series")

    def __init__(self, series: Series, known: Known, instruments: Instruments | None) -> None:
        self.series = series
        self.known = known
        self.instruments: Any = instruments
        self.queue: Tally | None = None
        self.duration: Tally | None = None
        self.consumed: Total | None = None
        if instruments is not None:
            self.queue, self.duration = (
                series.tally(instruments.queue_duration),
                series.tally(instruments.process_duration),
            )


class Measures:
    """The measures of one process operation.

    The fast paths of the operation take a partition's place by themselves, and come here where that does not do.

    Args:
        contexts: the contexts of the consumer.
        operation: the process operation.
    """

    def __init__(self, contexts: Contexts, operation: Operation) -> None:
        self._contexts = contexts
        self._telemetry = contexts.telemetry
        self._operation = operation

    def place_of(self, destination: Destination, partition: int | None) -> Place:
        """Return what the records of a partition share; of several partitions, what a batch of them has."""
        instruments = self._telemetry.instruments
        found: Place | None = destination.places.get(partition)
        if found is None or found.instruments is not instruments or found.series.is_stale:
            operation = self._operation
            series, known = operation.series(destination, partition), operation.known_of(destination, partition)
            try:
                found = destination.places[partition] = Place(series, known, instruments)
            except Exception as error:  # noqa: BLE001 (it may work for the next record)
                self._telemetry.guard.contain("measure", error)
                found = Place(series, known, None)
        return found

    def begin(
        self,
        destination: Destination,
        partition: int | None,
        span: Span,
        start: int,
        records: Sequence[Any],
        without_context: int,
    ) -> Place | None:
        """Measure how long the record waited that did longest, and return what the metrics carry.

        Args:
            destination: the destination of the records.
            partition: the one partition; None for several.
            span: the span of their processing.
            start: the start of the processing, Unix time in nanoseconds.
            records: one, or a batch.
            without_context: how many of them carry no context.
        """
        try:
            instruments = self._telemetry.instruments
            if instruments is None:
                return None
            place = self.place_of(destination, partition)
            queues = [queue for queue in (queue_of(record, start) for record in records) if queue is not None]
            if queues and place.queue is not None:
                place.queue.record(seconds(max(queues)), span)
            if without_context:
                place.series.total(instruments.without_context).add(without_context)
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            self._telemetry.guard.contain("measure", error)
            return None
        return place

    def count_without_context(self, records: Sequence[Any], created: Sequence[SpanContext] | None) -> int:
        """Return how many records of a batch carry no context.

        Args:
            records: the batch.
            created: the creation contexts of those that are traced, where they are known.
        """
        destinations = self._telemetry.destinations
        rest = [record for record in records if created is None or not destinations[record.topic].traced]
        known = sum(not context.is_valid for context in created or ())
        return known + sum(self._contexts.is_without_context(record) for record in rest)

    def end(self, opened: OpenSpan, error: BaseException | None) -> None:
        """Measure how long the processing took, and how long the pipeline of each record did."""
        instruments = self._telemetry.instruments
        if instruments is None:
            return
        series = self._operation.series(opened.destination, opened.partition, error)
        duration = seconds(max(0, opened.ended_at - opened.start))
        series.tally(instruments.process_duration).record(duration, opened.span)
        for destination, partition, origin in opened.origins:
            of_record = self._operation.series(destination, partition, error)
            pipeline = of_record.tally(instruments.pipeline_duration)
            pipeline.record(since(origin, opened.ended_at), opened.span)
