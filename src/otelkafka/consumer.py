"""The traced consumer: each record it hands over is processed inside a span."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from otelkafka.client import Record
from otelkafka.consumer_group import ProcessSpan, process_batch_with, process_with
from otelkafka.consumption import Consumption
from otelkafka.options import ConsumerOptions, Options, for_consumer
from otelkafka.proxy import TracedClient


def wrap_consumer(consumer: Any, options: Options | None = None) -> "TracedConsumer":
    """Trace the processing of what a consumer hands over.

    A subscription that the consumer has already goes on: there is no rebalance.

    Args:
        consumer: a `KafkaConsumer`, or anything with its `poll()`; one that is wrapped already is not wrapped twice.
        options: `ConsumerOptions`, or `Options`; None for the defaults.

    Returns:
        A proxy that is used as the consumer itself, and passes `isinstance` as one.

    Raises:
        TypeError: `consumer` is no consumer, or `options` are not those of one.
    """
    checked = for_consumer(options)
    if isinstance(consumer, TracedConsumer):
        before = consumer._self_engine
        before.dispatcher.end_open()
        return TracedConsumer(consumer.__wrapped__, checked, Consumption(consumer.__wrapped__, checked, before))
    if isinstance(consumer, type) or not callable(getattr(consumer, "poll", None)):
        msg = f"wrap_consumer({type(consumer).__name__}): give a KafkaConsumer, or an object with its poll()"
        raise TypeError(msg)
    return TracedConsumer(consumer, checked, Consumption(consumer, checked))


class TracedConsumer(TracedClient):
    """A `KafkaConsumer` the processing of whose records is traced; made by `wrap_consumer`."""

    def __init__(self, consumer: Any, options: ConsumerOptions, engine: Consumption) -> None:
        super().__init__(consumer, options, wrap_consumer, engine)

    def __iter__(self) -> Iterator[Any]:
        """Iterate records; the body of the loop runs inside each record's process span."""
        records: Iterator[Any] = self._self_call("__iter__", (), {})
        return records

    def __next__(self) -> Any:
        """Return the next record, whose process span is current until the one after is asked for, or `close()`."""
        return self._self_call("__next__", (), {})

    def poll(self, *args: Any, **kwargs: Any) -> Any:
        """Return records as `KafkaConsumer.poll` does; iterating its lists runs inside each record's process span."""
        return self._self_call("poll", args, kwargs)

    def process(self, record: Record) -> ProcessSpan:
        """Make the process span of a record; for records that are handed to another thread or task, say.

        Args:
            record: a record of this consumer.

        Returns:
            A context manager that yields the span, makes it current and records the exception of its body.

        Raises:
            TypeError: `record` is no consumed record.
        """
        return process_with(self._self_engine.processing, record)

    def process_batch(self, records: Collection[Record] | Mapping[Any, Sequence[Record]]) -> ProcessSpan:
        """Make one process span for a batch of this consumer's records.

        Args:
            records: records, or what `poll()` returned; an empty batch gets no span.

        Returns:
            A context manager that yields the span, makes it current and records the exception of its body.

        Raises:
            TypeError: `records` has something in it that is no consumed record.
        """
        return process_batch_with(self._self_engine.processing, records)

    def subscribe(self, *args: Any, **kwargs: Any) -> Any:
        """Subscribe as `KafkaConsumer.subscribe` does, and note which partitions are assigned and when."""
        return self._self_call("subscribe", args, kwargs)

    def assign(self, *args: Any, **kwargs: Any) -> Any:
        """Assign partitions as `KafkaConsumer.assign` does, and note which and when."""
        return self._self_call("assign", args, kwargs)

    def commit(self, *args: Any, **kwargs: Any) -> Any:
        """Commit as `KafkaConsumer.commit` does, inside a span where there is one around it."""
        return self._self_call("commit", args, kwargs)

    def commit_async(self, *args: Any, **kwargs: Any) -> Any:
        """Commit as `KafkaConsumer.commit_async` does; the span ends when the broker has answered."""
        return self._self_call("commit_async", args, kwargs)
