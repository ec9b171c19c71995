"""What is traced of a consumer, behind the wrapper and behind a patched class."""

import inspect
from contextlib import suppress
from time import time_ns
from typing import Any, ClassVar

from otelkafka import client
from otelkafka.commits import Commits, hear_auto_commits
from otelkafka.dispatcher import Dispatcher
from otelkafka.iterators import RecordIterator
from otelkafka.options import ConsumerOptions
from otelkafka.passage import Args, Call, KwArgs, bare
from otelkafka.processing import Processing
from otelkafka.rebalance import RebalanceListener, Rebalances, listen
from otelkafka.wait import WaitHistory

_LISTENER = 2  # where `subscribe()` has it among its positional arguments


class Consumption:
    """The traced calls of one consumer.

    Each takes the consumer, its own method, and the arguments; none of them is kept.

    Args:
        consumer: whose configuration is asked, and whose subscription is adopted.
        options: its options.
        before: what traced it until now, whose history goes on.
    """

    def __init__(self, consumer: Any, options: ConsumerOptions, before: "Consumption | None" = None) -> None:
        present = client.rebalance_listener(consumer)
        ours = present if isinstance(present, RebalanceListener) else None
        self.history: WaitHistory = (
            ours.rebalances.history if ours else before.history if before else WaitHistory(_now())
        )
        self.dispatcher = Dispatcher(consumer, options, self.history)
        self._rebalances = Rebalances(self.history, self.processing)
        self._commits = Commits(self.processing)
        self._adopt(consumer, ours.listener if ours else present)
        hear_auto_commits(consumer, self._commits)

    @property
    def processing(self) -> Processing:
        """Makes the consumer's process spans."""
        return self.dispatcher.processing

    def _adopt(self, consumer: Any, listener: object) -> None:
        """Hear of the rebalances of a consumer that has subscribed already, without subscribing again."""
        told = client.has_group_subscription(consumer)
        if told:
            told = client.replace_rebalance_listener(consumer, listen(self._rebalances, listener)) is True
        self.history.told = told is True

    def iterate(self, consumer: Any, iterate: Call, _: Args, __: KwArgs) -> RecordIterator:
        """Iterate records; the body of the loop runs inside each record's process span."""
        self.dispatcher.end_open()
        records = iterate()
        advance = bare(consumer, "__next__") if records is consumer else records.__next__
        return RecordIterator(self.dispatcher, consumer, advance)

    def next_record(self, consumer: Any, advance: Call, _: Args, __: KwArgs) -> Any:
        """Return the next record, whose process span is current until the one after is asked for, or `close()`."""
        return self.dispatcher.next(consumer, advance)[0]

    def poll(self, consumer: Any, poll: Call, args: Args, kwargs: KwArgs) -> Any:
        """Return records; iterating its lists runs inside each record's process span."""
        return self.dispatcher.poll(consumer, lambda: poll(*args, **kwargs))

    def subscribe(self, consumer: Any, subscribe: Call, args: Args, kwargs: KwArgs) -> Any:
        """Subscribe, and note which partitions are assigned and when."""
        if not _takes_listener(consumer.subscribe):
            self.history.told = False
            return subscribe(*args, **kwargs)
        if len(args) > _LISTENER:
            listener = listen(self._rebalances, args[_LISTENER])
            result = subscribe(*args[:_LISTENER], listener, *args[_LISTENER + 1 :], **kwargs)
        else:
            listener = listen(self._rebalances, kwargs.get("listener"))
            result = subscribe(*args, **{**kwargs, "listener": listener})
        self.history.told = True
        return result

    def assign(self, consumer: Any, assign: Call, args: Args, kwargs: KwArgs) -> Any:
        """Assign partitions, and note which and when."""
        result = assign(*args, **kwargs)
        self.history.update(client.assignment(consumer), self.processing.telemetry.now())
        self.history.told = True
        return result

    def commit(self, consumer: Any, commit: Call, args: Args, kwargs: KwArgs) -> Any:
        """Commit, inside a span where there is one around it."""
        return self._commits.commit(consumer, commit, args, kwargs)

    def commit_async(self, consumer: Any, commit_async: Call, args: Args, kwargs: KwArgs) -> Any:
        """Commit; the span ends when the broker has answered."""
        return self._commits.commit_async(consumer, commit_async, args, kwargs)

    def close(self, _: Any, close: Call, args: Args, kwargs: KwArgs) -> Any:
        """Close the consumer, then end the spans that are still open, also where closing raises."""
        try:
            return close(*args, **kwargs)
        finally:
            self.end()

    def stop(self) -> None:
        """Trace no more: iterators that live on hand over their records without spans."""
        self.dispatcher.stopped = True
        self.dispatcher.end_open()

    def end(self) -> None:
        """End every span that is open."""
        self.dispatcher.end_open()
        self._commits.end_all()
        self.history.spent.stop(self.processing.telemetry.now())

    METHODS: ClassVar[dict[str, Call]] = {
        "__iter__": iterate,
        "__next__": next_record,
        "poll": poll,
        "subscribe": subscribe,
        "assign": assign,
        "commit": commit,
        "commit_async": commit_async,
        "close": close,
    }
    """By the consumer's method, the one here that traces it."""


def _now() -> int:
    with suppress(Exception):  # there is no telemetry yet that a clock's failure could be told to
        return int(time_ns())
    return 0


def _takes_listener(subscribe: Any) -> bool:
    with suppress(TypeError, ValueError):
        return "listener" in inspect.signature(subscribe).parameters
    return False
