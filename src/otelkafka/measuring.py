"""What is measured of processing: how long records waited, how long it took, and how long their pipelines did."""

from collections.abc import Sequence
from typing import Any

from opentelemetry.trace import SpanContext

from otelkafka import attributes
from otelkafka.in_process import Work
from otelkafka.operation import Operation, context_of
from otelkafka.origins import since
from otelkafka.propagation import carries_context
from otelkafka.telemetry import Telemetry
from otelkafka.wait import queue_of


class Measuring:
    """Measures the processing of one consumer.

    Args:
        telemetry: of the consumer.
        operation: knows the attributes of its metrics.
    """

    def __init__(self, telemetry: Telemetry, operation: Operation) -> None:
        self._telemetry = telemetry
        self._operation = operation

    def begin(self, work: Work, record: Any, without_context: bool) -> None:  # noqa: FBT001 (a fact, no switch)
        """Measure how long a record waited, and whether it carries no context."""
        self._begin(work, queue_of(record, work.start), int(without_context))

    def begin_batch(self, work: Work, records: Sequence[Any], created: Sequence[SpanContext] | None) -> None:
        """Measure how long the record of a batch waited that did longest, and how many carry no context.

        Args:
            work: the processing of the batch.
            records: the batch.
            created: the creation contexts of those that are traced, where they are known.
        """
        queues = (queue_of(record, work.start) for record in records)
        longest = max((queue for queue in queues if queue is not None), default=None)
        known, destinations = created or (), self._telemetry.destinations
        rest = [record for record in records if created is None or not destinations[record.topic].traced]
        without_context = sum(not context.is_valid for context in known)
        without_context += sum(not carries_context(self._telemetry, record) for record in rest)
        self._begin(work, longest, without_context)

    def end(self, work: Work, error: BaseException | None) -> None:
        """Measure how long the processing took, and how long the pipeline of each record did."""
        instruments = self._telemetry.instruments
        if instruments is None:
            return
        series = self._operation.series(work.destination, work.partition, error)
        duration = attributes.seconds(max(0, work.ended_at - work.start))
        context = context_of(work.span)
        instruments.process_duration.record(duration, series.attributes, context)
        for destination, partition, origin in work.origins:
            of_record = self._operation.series(destination, partition, error)
            instruments.pipeline_duration.record(since(origin, work.ended_at), of_record.attributes, context)

    def _begin(self, work: Work, queue: int | None, without_context: int) -> None:
        instruments = self._telemetry.instruments
        if instruments is None:
            return
        series = self._operation.series(work.destination, work.partition)
        if queue is not None:
            instruments.queue_duration.record(attributes.seconds(queue), series.attributes, context_of(work.span))
        if without_context:
            series.total(instruments.without_context).add(without_context)
