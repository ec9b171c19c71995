"""The consumer of kafka-python, wrapped or patched. Client calls are here, between the engine's begin and end."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from otelkafka._clients.calls import Args, Call, KwArgs, bare, call_inside, overriding, traces
from otelkafka._clients.consumer_face import (
    ConsumerFaceBase,
    ProcessingClient,
    offsets_of,
    own_methods,
    user_listener,
)
from otelkafka._clients.kafka_python.facts import KafkaPythonClient, rebalance_listener
from otelkafka._clients.kafka_python.listeners import (
    Listeners,
    count_auto_commits,
    count_no_auto_commits,
    user_commit_callback,
)
from otelkafka._clients.proxy import ClosedClient, Wrappers, check_client
from otelkafka._consuming.dispatcher import DispatchingIterator
from otelkafka._telemetry import lifetime
from otelkafka.options import ConsumerOptions

_LISTENER = 2
"""Its position among the arguments of `subscribe()`."""
_CALLBACK = 1
"""Its position among the arguments of `commit_async()`."""


def wrap_consumer(consumer: Any, options: ConsumerOptions, before: Any = None) -> "TracedConsumer":
    """Trace processing by a consumer of kafka-python, or by anything with its `poll()`."""
    check_client("wrap_consumer", consumer, "KafkaConsumer", "poll")
    return _wrappers.of(type(consumer))(consumer, options, ConsumerFace(consumer, options, before))


if TYPE_CHECKING:
    from kafka import KafkaConsumer as _Client
else:
    _Client = object


class TracedConsumer(ProcessingClient, ClosedClient, _Client):  # type: ignore[misc]
    """A `KafkaConsumer` that traces the processing of its records. `wrap_consumer` makes it."""

    def __init__(self, consumer: Any, options: ConsumerOptions, face: "ConsumerFace") -> None:
        super().__init__(consumer, options, wrap_consumer, face)

    def __iter__(self) -> Iterator[Any]:
        """Iterate records. The body of the loop runs inside the process span of each record."""
        records: Iterator[Any] = self._self_face.iterate(bare(self.__wrapped__, "__iter__"), (), {})
        return records

    def __next__(self) -> Any:
        """Return the next record. Its process span is current until the next call of the consumer, or `close()`."""
        return self._self_face.next(bare(self.__wrapped__, "__next__"), (), {})

    def poll(self, *args: Any, **kwargs: Any) -> Any:
        """Return lists of records, as `KafkaConsumer.poll` does. Their iteration runs inside the process spans."""
        return self._self_face.poll(bare(self.__wrapped__, "poll"), args, kwargs)

    def subscribe(self, *args: Any, **kwargs: Any) -> Any:
        """Subscribe as `KafkaConsumer.subscribe` does, and record rebalances."""
        return self._self_face.subscribe(bare(self.__wrapped__, "subscribe"), args, kwargs)

    def assign(self, *args: Any, **kwargs: Any) -> Any:
        """Assign partitions, as `KafkaConsumer.assign` does."""
        return self._self_face.assign(bare(self.__wrapped__, "assign"), args, kwargs)

    def unsubscribe(self, *args: Any, **kwargs: Any) -> Any:
        """Unsubscribe, as `KafkaConsumer.unsubscribe` does. The lag of its partitions is no longer reported."""
        return self._self_face.unsubscribe(bare(self.__wrapped__, "unsubscribe"), args, kwargs)

    def commit(self, *args: Any, **kwargs: Any) -> Any:
        """Commit, as `KafkaConsumer.commit` does. Inside a span, the commit has a span."""
        return self._self_face.commit(bare(self.__wrapped__, "commit"), args, kwargs)

    def commit_async(self, *args: Any, **kwargs: Any) -> Any:
        """Commit, as `KafkaConsumer.commit_async` does. The span ends when the broker has answered."""
        return self._self_face.commit_async(bare(self.__wrapped__, "commit_async"), args, kwargs)


class ConsumerFace(ConsumerFaceBase[KafkaPythonClient]):
    """The traced calls of one `KafkaConsumer`.

    Each takes the consumer's own method, bound, and the arguments; none of them is kept.

    Args:
        consumer: whose configuration is read, and whose subscription is adopted.
        options: its options.
        before: what traced it until now, whose history goes on.
    """

    def __init__(self, consumer: Any, options: ConsumerOptions, before: "ConsumerFace | None" = None) -> None:
        super().__init__(consumer, KafkaPythonClient(consumer), options, Listeners(), before)
        count_auto_commits(consumer, self._commits)

    @traces("__iter__")
    def iterate(self, iterate: Call, _: Args, __: KwArgs) -> "RecordIterator":
        """Iterate records. The body of the loop runs inside the process span of each record."""
        self.dispatcher.end_open()
        consumer, records = self._client.get(), iterate()
        own = records is consumer
        advance = bare(consumer, "__next__") if own else overriding(consumer, "__next__", records.__next__)
        return RecordIterator(self, consumer, advance)

    @traces("__next__")
    def next(self, advance: Call, _: Args, __: KwArgs) -> Any:
        """Return the next record. Its process span is current until the next call, or `close()`."""
        iterator = RecordIterator(self, self._client.get(), advance)
        record = next(iterator)
        iterator.release()
        return record

    @traces("poll")
    def poll(self, poll: Call, args: Args, kwargs: KwArgs) -> Any:
        """Return lists of records. Their iteration runs inside the process spans."""
        started = self.dispatcher.fetching()
        try:
            polled = poll(*args, **kwargs)
        except BaseException as error:
            self.dispatcher.failed(error, started, is_poll=True)
            raise
        return self.dispatcher.polled(polled, started)

    @traces("subscribe")
    def subscribe(self, subscribe: Call, args: Args, kwargs: KwArgs) -> Any:
        """Subscribe, and record which partitions are assigned and when."""
        consumer = self._client.get()
        if not _takes_listener(consumer.subscribe):  # it may give one to the client nevertheless
            result = subscribe(*args, **kwargs)
            present = rebalance_listener(consumer)
            self._adopt(consumer, user_listener(present), present)
            return result
        if len(args) > _LISTENER:
            listener = self._listening.listen(self._rebalances, args[_LISTENER], args[_LISTENER])
            result = subscribe(*args[:_LISTENER], listener, *args[_LISTENER + 1 :], **kwargs)
        else:
            given = kwargs.get("listener")
            listener = self._listening.listen(self._rebalances, given, given)
            result = subscribe(*args, **{**kwargs, "listener": listener})
        self.history.has_listener = True
        return result

    @traces("assign")
    def assign(self, assign: Call, args: Args, kwargs: KwArgs) -> Any:
        """Assign partitions, and record which and when."""
        result = assign(*args, **kwargs)
        self.history.update(self._client.assignment(), self._telemetry.now())
        self.history.has_listener = True
        return result

    @traces("unsubscribe")
    def unsubscribe(self, unsubscribe: Call, args: Args, kwargs: KwArgs) -> Any:
        """Unsubscribe. The lag of the partitions is no longer reported."""
        result = unsubscribe(*args, **kwargs)
        self.history.update(set(), self._telemetry.now())
        return result

    @traces("commit")
    def commit(self, commit: Call, args: Args, kwargs: KwArgs) -> Any:
        """Commit. Inside a span, the commit has a span."""
        return call_inside(self._commits.begin(offsets_of(args, kwargs)), commit, args, kwargs)

    @traces("commit_async")
    def commit_async(self, commit_async: Call, args: Args, kwargs: KwArgs) -> Any:
        """Commit. The span ends when the broker has answered, before the user's callback is called."""
        given = args[_CALLBACK] if len(args) > _CALLBACK else kwargs.get("callback")
        known = len(args) <= _CALLBACK + 1 and (given is None or callable(given))
        begun = self._commits.begin(offsets_of(args, kwargs)) if known else None
        if begun is None:
            return commit_async(*args, **kwargs)
        callback = given or user_commit_callback(self._client.get())

        def settled(offsets: Any, response: Any) -> Any:
            if isinstance(response, BaseException):
                begun.failed(response)
            else:
                begun.acknowledged(response)
            return None if callback is None else callback(offsets, response)

        try:
            return commit_async(*args[:_CALLBACK], **{**kwargs, "callback": settled})
        except BaseException as error:
            begun.failed(error)
            raise

    @traces("close")
    def close(self, close: Call, args: Args, kwargs: KwArgs) -> Any:
        """Close the consumer, and then end the spans that are open, also if closing raises."""
        try:
            return close(*args, **kwargs)
        finally:
            lifetime.finish(self.end)  # the client's own finalizer calls close(), too

    def stop(self) -> None:
        """Stop tracing, and stop counting automatic commits."""
        count_no_auto_commits(self._client.get(), self._commits)
        super().stop()


_wrappers = Wrappers(TracedConsumer, ConsumerFace, own_methods)


class RecordIterator(DispatchingIterator, Iterator[Any]):
    """Iterates the records of a consumer.

    Unlike a generator it continues after a StopIteration or an error, as the consumer itself does.

    Args:
        face: the face of the consumer, which is kept alive.
        consumer: the consumer, which is kept alive.
        advance: returns its next record.
    """

    __slots__ = ("_advance", "_consumer", "_face")

    def __init__(self, face: ConsumerFace, consumer: Any, advance: Callable[[], Any]) -> None:
        self._dispatcher = face.dispatcher
        self._face = face
        self._consumer = consumer
        self._advance = advance
        self._open = None

    def __next__(self) -> Any:
        """Return the next record. Its process span is current until the next call."""
        dispatcher = self._dispatcher
        if dispatcher.stopped:
            return self._advance()
        started = dispatcher.fetching()
        try:
            record = self._advance()
        except BaseException as error:
            dispatcher.failed(error, started)
            raise
        self._open = dispatcher.received(record, started)
        return record

    def release(self) -> None:
        """Keep the span of the last record open when this object is dropped."""
        self._open = None


def _takes_listener(subscribe: Any) -> bool:
    with suppress(Exception):  # to evaluate annotations may raise anything; Python 3.14 does not before
        return "listener" in inspect.signature(subscribe).parameters
    return False
