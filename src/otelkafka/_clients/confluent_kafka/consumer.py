"""The consumer of confluent-kafka, wrapped or patched: each call of it, between the engine's begin and end."""

from collections import deque
from contextlib import suppress
from importlib import import_module
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final
from weakref import finalize, ref

from confluent_kafka import Consumer, KafkaError, KafkaException

from otelkafka._clients.calls import Args, Call, KwArgs, bare, call_inside, traces
from otelkafka._clients.confluent_kafka.facts import (
    ConsumerFacts,
    Place,
    Signature,
    configuration_of,
    offsets_by_partition,
    signature_of,
)
from otelkafka._clients.confluent_kafka.listeners import Callbacks, Listened, Listeners, Subscription
from otelkafka._clients.confluent_kafka.messages import NOTHING, hand_over
from otelkafka._clients.consumer_face import ConsumerFaceBase, ProcessingClient, own_methods
from otelkafka._clients.proxy import ClosedClient, Wrappers, check_client
from otelkafka._consuming.commits import Commit, OffsetStore, OffsetStores
from otelkafka._protocols import MessageRecord
from otelkafka._telemetry import lifetime
from otelkafka.options import ConsumerOptions

_SUBSCRIBE_NAMES: Final = ("topics", "on_assign", "on_revoke", "on_lost")
_SUBSCRIBE: Final = Signature(_SUBSCRIBE_NAMES, frozenset(_SUBSCRIBE_NAMES))
_NO_CALLBACKS: Final = Signature((), frozenset())
_COMMIT_NAMES: Final = ("message", "offsets", "asynchronous")
_MOST_WAITING: Final = 10_000


def wrap_consumer(consumer: Any, options: ConsumerOptions, before: Any = None) -> Any:
    """Trace processing by a consumer of confluent-kafka, or by anything like it."""
    check_client("wrap_consumer", consumer, "Consumer", "subscribe")
    if iscoroutinefunction(consumer.poll):
        aio = import_module("otelkafka._clients.confluent_kafka.aio")
        return aio.wrap_consumer(consumer, options, before)
    return _wrappers.of(type(consumer))(consumer, options, ConfluentConsumerFace(consumer, options, before))


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

    def store_offsets(self, *args: Any, **kwargs: Any) -> Any:
        """Store offsets, as `Consumer.store_offsets` does. Where an automatic commit takes them, this has a span."""
        return self._self_face.store_offsets(bare(self.__wrapped__, "store_offsets"), args, kwargs)


class MessageConsumerFace(ConsumerFaceBase[ConsumerFacts]):
    """What traces one consumer, async or not.

    Args:
        consumer: whose configuration is read, where it has one.
        options: its options.
        before: what traced it until now, whose history goes on.
        client_class: whose methods are traced, which a subclass may call by `super()`; None for the consumer's own.
    """

    def __init__(
        self,
        consumer: Any,
        options: ConsumerOptions,
        before: "MessageConsumerFace | None" = None,
        client_class: Any = None,
    ) -> None:
        facts = ConsumerFacts(consumer, configuration_of(consumer, options.config))
        super().__init__(consumer, facts, options, Listeners(), before)
        if before is not None:
            self.history.has_listener = before.history.has_listener
        client_class = client_class or type(consumer)
        contained = self._telemetry.guard.call
        signature = contained("subscribe", _NO_CALLBACKS, signature_of, client_class, "subscribe", _SUBSCRIBE)
        is_known = signature is not _SUBSCRIBE or issubclass(client_class, Consumer)
        self._signature = signature if is_known else _NO_CALLBACKS  # a ShareConsumer's
        self._stores = OffsetStores(self._telemetry, options)
        self._dispatches_lists = options.process == "auto"
        self._listened: Listened = before._listened if before is not None else Listened(self._rebalances)
        self._listened.rebalances = self._rebalances

    def use_as(self, consumer: Any) -> None:
        """Remember the wrapper of the consumer: the user's callbacks get it."""
        self._listened.used_as = ref(consumer)

    def _begin_to_store(self, args: Args, kwargs: KwArgs) -> OffsetStore | None:
        """Begin a `store_offsets()`; None if a later commit settles the offsets, so that it is not recorded."""
        if not self._client.settles_by_storing:
            return None
        return self._stores.begin(lambda: committed_offsets_of(commit_arguments(args, kwargs)))

    def _received(self, message: Any, started: int) -> Any:
        """Note what the client has returned from a `poll()`, and return what the application gets."""
        if type(message) is list:  # of a ShareConsumer
            return self._handed_over(message, started)
        error = record = None
        if message is not None:
            try:
                error = message.error()
                if error is None:
                    record = MessageRecord(message)
            except Exception:  # noqa: BLE001, S110 (a subclass may return anything)
                pass
        if record is not None:
            self.dispatcher.received(record, started)
        else:
            self._failed(NOTHING if error is None else KafkaException(error), started)
        return message

    def _handed_over(self, messages: Any, started: int) -> Any:
        """Note what the client has returned from a `consume()`, and return what the application gets."""
        return hand_over(self.dispatcher, messages, started, self._failed, dispatches=self._dispatches_lists)

    def _failed(self, error: BaseException, started: int, *, is_poll: bool = False) -> None:
        """Record an error that the client raised or returned. The end of a partition is no error."""
        self.dispatcher.failed(NOTHING if is_end_of_partition(error) else error, started, is_poll=is_poll)

    def _subscription(self, callbacks: type[Callbacks], args: Args, kwargs: KwArgs) -> Subscription:
        """Return the arguments of a `subscribe()` with callbacks that record rebalances."""
        given, given_to = Subscription(args, kwargs), callbacks(self._listened).given_to
        return self._telemetry.guard.call("subscribe", given, given_to, self._signature, args, kwargs)

    def _subscribed(self, subscription: Subscription) -> None:
        """Note that the consumer has subscribed."""
        topics = subscription.args[0] if subscription.args else subscription.kwargs.get("topics")
        self._client.subscription = tuple(topics) if isinstance(topics, list | tuple) else ()
        self.history.has_listener = subscription.is_recorded


class ConfluentConsumerFace(MessageConsumerFace):
    """The traced calls of one `Consumer`.

    Each takes the consumer's own method, bound, and the arguments; none of them is kept.

    Args:
        consumer: whose configuration is read, where it has one.
        options: its options.
        before: what traced it until now, whose history goes on.
        client_class: whose methods are traced; None for the consumer's own.
        commits_reported: whether `committed()` is called for each commit that librdkafka has made.
    """

    def __init__(
        self,
        consumer: Any,
        options: ConsumerOptions,
        before: MessageConsumerFace | None = None,
        client_class: Any = None,
        *,
        commits_reported: bool = False,
    ) -> None:
        super().__init__(consumer, options, before, client_class)
        self._waiting: deque[Commit] | None = deque(maxlen=_MOST_WAITING) if commits_reported else None
        finalize(self, self._client.forget).atexit = False

    @traces("poll")
    def poll(self, poll: Call, args: Args, kwargs: KwArgs) -> Any:
        """Return a message, whose process span is current until the next call, or `close()`."""
        started = self.dispatcher.fetching()
        try:
            message = poll(*args, **kwargs)
        except BaseException as error:
            self._failed(error, started)
            raise
        return self._received(message, started)

    @traces("consume")
    def consume(self, consume: Call, args: Args, kwargs: KwArgs) -> Any:
        """Return messages; iterating their list runs inside each message's process span."""
        started = self.dispatcher.fetching()
        try:
            messages = consume(*args, **kwargs)
        except BaseException as error:
            self._failed(error, started, is_poll=True)
            raise
        return self._handed_over(messages, started)

    @traces("subscribe")
    def subscribe(self, subscribe: Call, args: Args, kwargs: KwArgs) -> Any:
        """Subscribe, and record rebalances."""
        subscription = self._subscription(Callbacks, args, kwargs)
        result = subscribe(*subscription.args, **subscription.kwargs)
        self._subscribed(subscription)
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
        given = commit_arguments(args, kwargs)
        begun = self._commits.begin(committed_offsets_of(given))
        waiting = self._waiting
        if begun is None or waiting is None or not given.get("asynchronous", given.get("async", True)):
            return call_inside(begun, commit, args, kwargs)
        waiting.append(begun)
        try:
            return commit(*args, **kwargs)
        except BaseException as error:
            with suppress(ValueError):  # another thread has taken it for one that was reported
                waiting.remove(begun)
            begun.failed(error)
            raise

    @traces("store_offsets")
    def store_offsets(self, store_offsets: Call, args: Args, kwargs: KwArgs) -> Any:
        """Store offsets, inside a span where there is one around it and an automatic commit takes them."""
        return call_inside(self._begin_to_store(args, kwargs), store_offsets, args, kwargs)

    def stop(self) -> None:
        """Stop tracing. The callbacks of the subscription stay, and call the user's."""
        super().stop()
        self._waiting = None
        self._commits.end_all()

    def committed(self, error: Any, partitions: Any) -> None:
        """Record a commit that librdkafka reports: the oldest that waits, or an automatic one."""
        waiting = self._waiting
        if waiting is None:
            return
        failure = KafkaException(error) if error is not None else _first_failure(partitions)
        try:
            begun: Commit | None = waiting.popleft()
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


_wrappers = Wrappers(TracedConfluentConsumer, ConfluentConsumerFace, own_methods, "ConfluentKafkaInstrumentor")


def is_end_of_partition(error: BaseException) -> bool:
    """Return whether an error is the end of a partition, which is no failure."""
    reason = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return isinstance(reason, KafkaError) and reason.code() == KafkaError._PARTITION_EOF


def places_of(args: Args, kwargs: KwArgs) -> set[tuple[str, int]] | None:
    """Return the partitions of an assignment; None if the argument is of another type."""
    given = args[0] if args else kwargs.get("partitions")
    try:
        return {(each.topic, each.partition) for each in given or ()}
    except (AttributeError, TypeError):
        return None


def commit_arguments(args: Args, kwargs: KwArgs) -> KwArgs:
    """Return the arguments of a `commit()` or a `store_offsets()` by their names."""
    return {**dict(zip(_COMMIT_NAMES, args, strict=False)), **kwargs}


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
