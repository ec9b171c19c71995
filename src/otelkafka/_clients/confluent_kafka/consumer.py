"""The consumer of confluent-kafka, wrapped or patched: each call of it, between the engine's begin and end."""

from collections import deque
from importlib import import_module
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final
from weakref import finalize, ref

from confluent_kafka import KafkaError, KafkaException

from otelkafka._clients.calls import Args, Call, KwArgs, bare, call_inside, traces
from otelkafka._clients.confluent_kafka.facts import (
    ConsumerFacts,
    Place,
    configuration_of,
    offsets_by_partition,
)
from otelkafka._clients.confluent_kafka.listeners import Listeners, callbacks
from otelkafka._clients.confluent_kafka.messages import hand_over
from otelkafka._clients.consumer_face import ConsumerFaceBase, ProcessingClient, own_methods
from otelkafka._clients.proxy import ClosedClient, Wrappers, check_client
from otelkafka._consuming.commits import Commit
from otelkafka._protocols import MessageRecord
from otelkafka._telemetry import lifetime
from otelkafka.options import ConsumerOptions, Options, for_consumer

NOTHING: Final = StopIteration()
"""What the engine knows the end of records by: here that of those that are there now."""
SUBSCRIBE_ARGUMENTS: Final = ("topics", "on_assign", "on_revoke", "on_lost")
COMMIT_ARGUMENTS: Final = ("message", "offsets", "asynchronous")
_MOST_WAITING: Final = 10_000


def wrap_consumer(consumer: Any, options: Options | None = None) -> Any:
    """Trace processing: `otelkafka.wrap_consumer()`, for a consumer of confluent-kafka, or anything like it."""
    checked = for_consumer(options)
    before = None
    if isinstance(getattr(consumer, "_self_face", None), ConsumerFaceBase):
        before = consumer._self_face
        before.dispatcher.end_open()
        consumer = consumer.__wrapped__
    check_client("wrap_consumer", consumer, "Consumer", "subscribe")
    if iscoroutinefunction(consumer.poll):
        aio = import_module("otelkafka._clients.confluent_kafka.aio")
        return aio.wrap_consumer(consumer, checked, before)
    face = ConfluentConsumerFace(consumer, checked, before)
    return _wrappers.of(type(consumer))(consumer, checked, face)


if TYPE_CHECKING:
    from confluent_kafka import Consumer as _Client
else:
    _Client = object


class TracedConfluentConsumer(ProcessingClient, ClosedClient, _Client):  # type: ignore[misc]
    """A `Consumer` of confluent-kafka that traces the processing of its messages. `wrap_consumer` makes it."""

    def __init__(self, consumer: Any, options: ConsumerOptions, face: "ConfluentConsumerFace") -> None:
        super().__init__(consumer, options, wrap_consumer, face)
        face.use_as(self)

    def poll(self, *args: Any, **kwargs: Any) -> Any:
        """Return a message, as `Consumer.poll` does. Its process span is current until the next call, or `close()`."""
        return self._self_face.poll(bare(self.__wrapped__, "poll"), args, kwargs)

    def consume(self, *args: Any, **kwargs: Any) -> Any:
        """Return a list of messages, as `Consumer.consume` does. Its iteration runs inside the process spans."""
        return self._self_face.consume(bare(self.__wrapped__, "consume"), args, kwargs)

    def subscribe(self, *args: Any, **kwargs: Any) -> Any:
        """Subscribe, as `Consumer.subscribe` does, and record rebalances."""
        return self._self_face.subscribe(bare(self.__wrapped__, "subscribe"), args, kwargs)

    def unsubscribe(self, *args: Any, **kwargs: Any) -> Any:
        """Unsubscribe, as `Consumer.unsubscribe` does. The lag of its partitions is no longer reported."""
        return self._self_face.unsubscribe(bare(self.__wrapped__, "unsubscribe"), args, kwargs)

    def assign(self, *args: Any, **kwargs: Any) -> Any:
        """Assign partitions, as `Consumer.assign` does."""
        return self._self_face.assign(bare(self.__wrapped__, "assign"), args, kwargs)

    def unassign(self, *args: Any, **kwargs: Any) -> Any:
        """Give the assignment up, as `Consumer.unassign` does. Its lag is no longer reported."""
        return self._self_face.unassign(bare(self.__wrapped__, "unassign"), args, kwargs)

    def incremental_assign(self, *args: Any, **kwargs: Any) -> Any:
        """Assign more partitions, as `Consumer.incremental_assign` does."""
        return self._self_face.incremental_assign(bare(self.__wrapped__, "incremental_assign"), args, kwargs)

    def incremental_unassign(self, *args: Any, **kwargs: Any) -> Any:
        """Give partitions up, as `Consumer.incremental_unassign` does. Their lag is no longer reported."""
        return self._self_face.incremental_unassign(bare(self.__wrapped__, "incremental_unassign"), args, kwargs)

    def commit(self, *args: Any, **kwargs: Any) -> Any:
        """Commit, as `Consumer.commit` does. Inside a span, the commit has a span."""
        return self._self_face.commit(bare(self.__wrapped__, "commit"), args, kwargs)


class ConfluentConsumerFace(ConsumerFaceBase[ConsumerFacts]):
    """The traced calls of one `Consumer`.

    Each takes the consumer's own method, bound, and the arguments; none of them is kept.

    Args:
        consumer: whose configuration is read, where it has one.
        options: its options.
        before: what traced it until now, whose history goes on.
        commits_reported: whether `committed()` is called for each commit that librdkafka has made.
    """

    def __init__(
        self,
        consumer: Any,
        options: ConsumerOptions,
        before: "ConfluentConsumerFace | None" = None,
        *,
        commits_reported: bool = False,
    ) -> None:
        facts = ConsumerFacts(consumer, configuration_of(consumer, options.config))
        super().__init__(consumer, facts, options, Listeners(), before)
        if before is not None:
            self.history.has_listener = before.history.has_listener
        self._dispatches_lists = options.process == "auto"
        self._used_as: Any = _get_none
        self._waiting: deque[Commit] | None = deque(maxlen=_MOST_WAITING) if commits_reported else None
        finalize(self, facts.forget).atexit = False

    def use_as(self, consumer: Any) -> None:
        """Note what the application uses as the consumer: its callbacks get that."""
        self._used_as = ref(consumer)

    @traces("poll")
    def poll(self, poll: Call, args: Args, kwargs: KwArgs) -> Any:
        """Return a message, whose process span is current until the next call, or `close()`."""
        dispatcher = self.dispatcher
        started = dispatcher.fetching()
        try:
            message = poll(*args, **kwargs)
        except BaseException as error:
            self._failed(error, started)
            raise
        if message is None:
            dispatcher.failed(NOTHING, started)
        elif type(message) is list:  # of a ShareConsumer
            return self._hand_over(message, started)
        else:
            failure = message.error()
            if failure is None:
                dispatcher.received(MessageRecord(message), started)
            else:
                self._failed(KafkaException(failure), started)
        return message

    @traces("consume")
    def consume(self, consume: Call, args: Args, kwargs: KwArgs) -> Any:
        """Return messages; iterating their list runs inside each message's process span."""
        started = self.dispatcher.fetching()
        try:
            messages = consume(*args, **kwargs)
        except BaseException as error:
            self._failed(error, started, is_poll=True)
            raise
        return self._hand_over(messages, started)

    def _hand_over(self, messages: Any, started: int) -> Any:
        return hand_over(self.dispatcher, messages, started, self._failed, dispatches=self._dispatches_lists)

    def _failed(self, error: BaseException, started: int, *, is_poll: bool = False) -> None:
        """Note that the client has raised, or returned an error; the end of a partition is none."""
        self.dispatcher.failed(NOTHING if is_end_of_partition(error) else error, started, is_poll=is_poll)

    @traces("subscribe")
    def subscribe(self, subscribe: Call, args: Args, kwargs: KwArgs) -> Any:
        """Subscribe, and record rebalances."""
        given = {**dict(zip(SUBSCRIBE_ARGUMENTS, args, strict=False)), **kwargs}
        used_as = self._used_as

        def consumer_of(consumer: Any) -> Any:
            used = used_as()
            return consumer if used is None else used

        listening = callbacks(self._rebalances, given, consumer_of)
        if len(args) > len(SUBSCRIBE_ARGUMENTS) or "topics" not in given:
            return subscribe(*args, **kwargs)
        result = subscribe(listening.pop("topics"), **listening)
        topics = given["topics"]
        self._client.subscription = tuple(topics) if isinstance(topics, list | tuple) else ()
        self.history.has_listener = True
        return result

    @traces("unsubscribe")
    def unsubscribe(self, unsubscribe: Call, args: Args, kwargs: KwArgs) -> Any:
        """Unsubscribe, and forget which partitions were assigned: their lag is not known any more."""
        result = unsubscribe(*args, **kwargs)
        self._client.subscription = ()
        self.history.update(set(), self._telemetry.now())
        return result

    @traces("assign")
    def assign(self, assign: Call, args: Args, kwargs: KwArgs) -> Any:
        """Assign partitions, and note which and when."""
        result = assign(*args, **kwargs)
        partitions = places_of(args, kwargs)
        if partitions is not None:
            self.history.update(partitions, self._telemetry.now())
            self.history.has_listener = True
        return result

    @traces("unassign")
    def unassign(self, unassign: Call, args: Args, kwargs: KwArgs) -> Any:
        """Give the assignment up: its lag is not known any more."""
        result = unassign(*args, **kwargs)
        self.history.update(set(), self._telemetry.now())
        return result

    @traces("incremental_assign")
    def incremental_assign(self, assign: Call, args: Args, kwargs: KwArgs) -> Any:
        """Assign more partitions, and note which and when."""
        result = assign(*args, **kwargs)
        self.history.assign(places_of(args, kwargs) or set(), self._telemetry.now())
        return result

    @traces("incremental_unassign")
    def incremental_unassign(self, unassign: Call, args: Args, kwargs: KwArgs) -> Any:
        """Give partitions up: their lag is not known any more."""
        result = unassign(*args, **kwargs)
        self.history.revoke(places_of(args, kwargs) or set())
        return result

    @traces("commit")
    def commit(self, commit: Call, args: Args, kwargs: KwArgs) -> Any:
        """Commit, inside a span where there is one around it.

        The span of an asynchronous commit ends when librdkafka reports it, where that is seen, else with the call.
        """
        given = {**dict(zip(COMMIT_ARGUMENTS, args, strict=False)), **kwargs}
        begun = self._commits.begin(committed_offsets_of(given))
        if begun is None or self._waiting is None or not given.get("asynchronous", given.get("async", True)):
            return call_inside(begun, commit, args, kwargs)
        self._waiting.append(begun)
        try:
            return commit(*args, **kwargs)
        except BaseException as error:
            self._waiting.remove(begun)
            begun.failed(error)
            raise

    def stop(self) -> None:
        """Trace no more; the callbacks of the subscription live on, and call the user's."""
        super().stop()
        self._waiting = None
        self._commits.end_all()

    def committed(self, error: Any, partitions: Any) -> None:
        """Note that librdkafka reports a commit: the first that waits, else an automatic one."""
        failure = KafkaException(error) if error is not None else _first_failure(partitions)
        if self._waiting is None:
            return
        try:
            begun: Commit | None = self._waiting.popleft()
        except IndexError:
            begun = None
        if begun is None:
            self._commits.count_automatic(offsets_by_partition(partitions), failure)
        elif failure is None:
            begun.acknowledged()
        else:
            begun.failed(failure)

    @traces("close")
    def close(self, close: Call, args: Args, kwargs: KwArgs) -> Any:
        """Close the consumer, then end the spans that are still open, also where closing raises."""
        try:
            return close(*args, **kwargs)
        finally:
            lifetime.finish(self.end)

    @traces("__exit__")
    def leave(self, leave: Call, args: Args, kwargs: KwArgs) -> Any:
        """Leave the consumer's own `with`, which closes it, then end the spans that are still open."""
        return self.close(leave, args, kwargs)


_wrappers = Wrappers(TracedConfluentConsumer, ConfluentConsumerFace, own_methods)


def _get_none() -> None:
    return None


def is_end_of_partition(error: BaseException) -> bool:
    """Return whether an error is the end of a partition, which is none."""
    reason = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return isinstance(reason, KafkaError) and reason.code() == KafkaError._PARTITION_EOF


def places_of(args: Args, kwargs: KwArgs) -> set[tuple[str, int]] | None:
    """Return the partitions that an assignment is given; None where confluent-kafka takes something else for them."""
    given = args[0] if args else kwargs.get("partitions")
    try:
        return {(each.topic, each.partition) for each in given or ()}
    except (AttributeError, TypeError):
        return None


def committed_offsets_of(given: KwArgs) -> Any:
    """Return the offsets that a commit is given, by partition; None for none."""
    message = given.get("message")
    if message is None:
        return offsets_by_partition(given.get("offsets") or None)
    try:
        return {Place(message.topic(), message.partition()): message.offset() + 1}
    except Exception:  # noqa: BLE001 (what is no message, for confluent-kafka to refuse)
        return None


def _first_failure(partitions: Any) -> KafkaException | None:
    errors = (getattr(each, "error", None) for each in partitions or ())
    return next((KafkaException(error) for error in errors if error is not None), None)
