"""The traced consumer: each record it hands over is processed inside a span."""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from time import time_ns
from typing import Any

from otelkafka import client
from otelkafka.client import Record
from otelkafka.commits import Commits, hear_auto_commits
from otelkafka.consumer_group import ProcessSpan, process_batch_with, process_with
from otelkafka.dispatcher import Dispatcher, RecordIterator
from otelkafka.options import ConsumerOptions, Options, for_consumer
from otelkafka.proxy import TracedClient
from otelkafka.rebalance import RebalanceListener, Rebalances, listen
from otelkafka.wait import WaitHistory

_LISTENER = 2  # where `subscribe()` has it among its positional arguments


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
        consumer._self_dispatcher.end_open()
        return TracedConsumer(consumer.__wrapped__, checked, consumer._self_history)
    if isinstance(consumer, type) or not callable(getattr(consumer, "poll", None)):
        msg = f"wrap_consumer({consumer!r}): give a KafkaConsumer, or an object with its poll()"
        raise TypeError(msg)
    return TracedConsumer(consumer, checked, WaitHistory(time_ns()))


class TracedConsumer(TracedClient):
    """A `KafkaConsumer` the processing of whose records is traced; made by `wrap_consumer`."""

    def __init__(self, consumer: Any, options: ConsumerOptions, history: WaitHistory) -> None:
        super().__init__(consumer, options, wrap_consumer)
        present = client.rebalance_listener(consumer)
        before = present.rebalances if isinstance(present, RebalanceListener) else None
        self._self_history = before.history if before else history
        self._self_dispatcher = Dispatcher(consumer, options, self._self_history)
        processing = self._self_dispatcher.processing
        self._self_rebalances = Rebalances(self._self_history, processing)
        self._self_commits = Commits(processing)
        self._self_adopt(present.listener if isinstance(present, RebalanceListener) else present)
        hear_auto_commits(consumer, processing)

    def _self_adopt(self, listener: object) -> None:
        """Hear of the rebalances of a consumer that has subscribed already, without subscribing again."""
        told = client.has_group_subscription(self.__wrapped__)
        if told:
            told = client.replace_rebalance_listener(self.__wrapped__, listen(self._self_rebalances, listener)) is True
        self._self_history.told = told is True

    def __iter__(self) -> Iterator[Any]:
        """Iterate records; the body of the loop runs inside each record's process span."""
        return RecordIterator(self._self_dispatcher, self.__wrapped__)

    def __next__(self) -> Any:
        """Return the next record, whose process span is current until the one after is asked for, or `close()`."""
        record, _ = self._self_dispatcher.next(self.__wrapped__, lambda: next(self.__wrapped__))
        return record

    def poll(self, *args: Any, **kwargs: Any) -> Any:
        """Return records as `KafkaConsumer.poll` does; iterating its lists runs inside each record's process span."""
        return self._self_dispatcher.poll(self.__wrapped__, lambda: self.__wrapped__.poll(*args, **kwargs))

    def process(self, record: Record) -> ProcessSpan:
        """Make the process span of a record; for records that are handed to another thread or task, say.

        Args:
            record: a record of this consumer.

        Returns:
            A context manager that yields the span, makes it current and records the exception of its body.

        Raises:
            TypeError: `record` is no consumed record.
        """
        return process_with(self._self_dispatcher.processing, record)

    def process_batch(self, records: Iterable[Record] | Mapping[Any, Sequence[Record]]) -> ProcessSpan:
        """Make one process span for a batch of this consumer's records.

        Args:
            records: records, or what `poll()` returned; an empty batch gets no span.

        Returns:
            A context manager that yields the span, makes it current and records the exception of its body.

        Raises:
            TypeError: `records` has something in it that is no consumed record.
        """
        return process_batch_with(self._self_dispatcher.processing, records)

    def subscribe(self, *args: Any, **kwargs: Any) -> Any:
        """Subscribe as `KafkaConsumer.subscribe` does, and note which partitions are assigned and when."""
        subscribe = self.__wrapped__.subscribe
        if not _takes_listener(subscribe):
            self._self_history.told = False
            return subscribe(*args, **kwargs)
        if len(args) > _LISTENER:
            listener = listen(self._self_rebalances, args[_LISTENER])
            return subscribe(*args[:_LISTENER], listener, *args[_LISTENER + 1 :], **kwargs)
        listener = listen(self._self_rebalances, kwargs.get("listener"))
        return subscribe(*args, **{**kwargs, "listener": listener})

    def assign(self, *args: Any, **kwargs: Any) -> Any:
        """Assign partitions as `KafkaConsumer.assign` does, and note which and when."""
        result = self.__wrapped__.assign(*args, **kwargs)
        self._self_history.update(client.assignment(self.__wrapped__), time_ns())
        return result

    def commit(self, *args: Any, **kwargs: Any) -> Any:
        """Commit as `KafkaConsumer.commit` does, inside a span where there is one around it."""
        return self._self_commits.commit(self.__wrapped__, args, kwargs)

    def commit_async(self, *args: Any, **kwargs: Any) -> Any:
        """Commit as `KafkaConsumer.commit_async` does; the span ends when the broker has answered."""
        return self._self_commits.commit_async(self.__wrapped__, args, kwargs)

    def _self_end_spans(self) -> None:
        self._self_dispatcher.end_open()
        self._self_commits.end_all()
        self._self_history.spent.stop(time_ns())


def _takes_listener(subscribe: Any) -> bool:
    with suppress(TypeError, ValueError):
        return "listener" in inspect.signature(subscribe).parameters
    return False
