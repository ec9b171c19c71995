"""The async clients of confluent-kafka, wrapped or patched: each call of them, between the engine's begin and end."""

from contextlib import suppress
from functools import partial
from typing import Any, Final

from otelkafka._clients.calls import Args, Call, KwArgs, await_inside, bare, overriding, traces
from otelkafka._clients.confluent_kafka.consumer import (
    MessageConsumerFace,
    commit_arguments,
    committed_offsets_of,
    places_of,
)
from otelkafka._clients.confluent_kafka.facts import (
    ProducerFacts,
    Signature,
    configuration_of,
    positions_of,
    signature_of,
)
from otelkafka._clients.confluent_kafka.listeners import AsyncCallbacks
from otelkafka._clients.consumer_face import ProcessingClient, own_methods
from otelkafka._clients.producer_face import AwaitedProducerFace, ProduceHook
from otelkafka._clients.proxy import TracedClient, Wrappers
from otelkafka._context.current import attach, get_current, reset
from otelkafka._producing import transactions
from otelkafka._producing.send import Send
from otelkafka._protocols import MessageRecord, is_message
from otelkafka.options import ConsumerOptions, ProducerOptions

_PRODUCE: Final = Signature(("topic", "value", "key"), None)
_OUTCOMES: Final = ("set_result", "set_exception")
"""The methods of a future that confluent-kafka calls, once it has a delivery report."""


def wrap_producer(producer: Any, options: ProducerOptions) -> "TracedAIOProducer":
    """Trace sends of an `AIOProducer`."""
    return _producers.of(type(producer))(producer, options, wrap_producer, AIOProducerFace(producer, options))


def wrap_consumer(consumer: Any, options: ConsumerOptions, before: Any = None) -> "TracedAIOConsumer":
    """Trace processing of an `AIOConsumer`."""
    face = AIOConsumerFace(consumer, options, before)
    traced = _consumers.of(type(consumer))(consumer, options, wrap_consumer, face)
    face.use_as(traced)
    return traced


class _AwaitedClient(TracedClient):
    """A proxy of a client that is used with `async with` and `close()`."""

    async def close(self, *args: Any, **kwargs: Any) -> Any:
        """Close the client, and then end the spans that are open, also if closing raises."""
        return await self._self_face.close(bare(self.__wrapped__, "close"), args, kwargs)

    async def __aenter__(self) -> Any:
        """Enter the client's own `async with`, and return the traced one."""
        await self.__wrapped__.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> Any:
        """Close the client as its own `async with` does, and then end the spans that are open."""
        try:
            return await overriding(self.__wrapped__, "close", self.__wrapped__.__aexit__)(*raised)
        finally:
            self._self_face.end()


class TracedAIOProducer(_AwaitedClient):
    """An `AIOProducer` of confluent-kafka that traces its sends."""

    async def produce(self, *args: Any, **kwargs: Any) -> Any:
        """Send a record inside a span, and return its future, which ends the span."""
        return await self._self_face.produce(bare(self.__wrapped__, "produce"), args, kwargs)

    async def init_transactions(self, *args: Any, **kwargs: Any) -> Any:
        """Initialize transactions. There is a span only if this fails."""
        return await self._self_face.init_transactions(bare(self.__wrapped__, "init_transactions"), args, kwargs)

    async def begin_transaction(self, *args: Any, **kwargs: Any) -> Any:
        """Begin a transaction. There is a span only if this fails."""
        return await self._self_face.begin_transaction(bare(self.__wrapped__, "begin_transaction"), args, kwargs)

    async def send_offsets_to_transaction(self, *args: Any, **kwargs: Any) -> Any:
        """Send offsets to a transaction. Inside a span, this has a span."""
        call = bare(self.__wrapped__, "send_offsets_to_transaction")
        return await self._self_face.send_offsets_to_transaction(call, args, kwargs)

    async def commit_transaction(self, *args: Any, **kwargs: Any) -> Any:
        """Commit a transaction inside a span."""
        return await self._self_face.commit_transaction(bare(self.__wrapped__, "commit_transaction"), args, kwargs)

    async def abort_transaction(self, *args: Any, **kwargs: Any) -> Any:
        """Abort a transaction inside a span."""
        return await self._self_face.abort_transaction(bare(self.__wrapped__, "abort_transaction"), args, kwargs)


class AIOProducerFace(AwaitedProducerFace):
    """The traced calls of one `AIOProducer`, which takes no headers: its records carry no context.

    Args:
        producer: the producer, whose configuration is read if it is known.
        options: the options of the producer.
        produce_hook: called with the span and the arguments of `produce()` before it is called.
        client_class: whose methods are traced, which a subclass may call by `super()`; None for the producer's own.
    """

    offsets_of = staticmethod(positions_of)

    def __init__(
        self,
        producer: Any,
        options: ProducerOptions,
        produce_hook: ProduceHook | None = None,
        client_class: Any = None,
    ) -> None:
        facts = ProducerFacts(producer, configuration_of(producer, options.config))
        facts.takes_headers = False
        super().__init__(producer, facts, options, produce_hook)
        client_class = client_class or type(producer)
        signature = self._telemetry.guard.call("send", _PRODUCE, signature_of, client_class, "produce", _PRODUCE)
        self._names = signature.names

    @traces("produce")
    async def produce(self, produce: Call, args: Args, kwargs: KwArgs) -> Any:
        """Await `produce` inside a span, which ends when the future that it returns is done."""
        given = {**dict(zip(self._names, args, strict=False)), **kwargs}
        partition = given.get("partition")
        begun: Any = self._sends.begin(
            given.get("topic", ""),
            given.get("value"),
            given.get("key"),
            None,
            partition if isinstance(partition, int) and partition >= 0 else None,
            given.get("timestamp") or None,
        )
        if begun is None:
            return await produce(*args, **kwargs)
        token: Any = attach(begun.context)
        try:
            if self._produce_hook is not None and begun.destination.traced:
                shown = dict(kwargs)
                self._telemetry.guard.call("produce_hook", None, self._produce_hook, begun.span, args, shown)
                kwargs = {name: shown[name] for name in shown if name != "headers" or name in kwargs}  # it takes none
            future = await produce(*args, **kwargs)
        except BaseException as error:
            if type(error) is GeneratorExit and get_current() is not begun.context:
                token = None  # it was dropped, and what is current since is not inside of it
            begun.refused(error)
            raise
        finally:
            if token is not None:
                try:  # noqa: SIM105 (once a record: it costs less)
                    reset(token)
                except ValueError:  # a coroutine that was dropped ends in whatever context
                    pass
        if begun.is_followed:
            self._telemetry.guard.call("send", None, self._follow, begun, future)
        else:
            begun.context = None  # it holds the span, which holds it
        return future

    @traces("close")
    async def close(self, close: Call, args: Args, kwargs: KwArgs) -> Any:
        """Close the producer, then end the spans that are still open, also where closing raises."""
        try:
            return await close(*args, **kwargs)
        finally:
            self.end()

    @traces("init_transactions")
    async def init_transactions(self, call: Call, args: Args, kwargs: KwArgs) -> Any:
        """Initialize transactions. There is a span only if this fails."""
        return await self._transact(transactions.INIT, call, args, kwargs)

    def _watch(self, future: Any) -> None:
        """End the send in the thread in which librdkafka reports the delivery.

        confluent-kafka sets the outcome there, without the loop: a callback of the future would run whenever the loop
        wakes up, and would raise into librdkafka's report where the loop is closed or checks threads. So the callback
        is for a future that is cancelled, and is gone before the outcome is set.
        """
        with suppress(AttributeError):  # a loop's own class of futures may take none
            future.set_result = partial(self._deliver, future, "set_result")
            future.set_exception = partial(self._deliver, future, "set_exception")
        super()._watch(future)

    def _deliver(self, future: Any, name: str, outcome: Any) -> None:
        """End the send with the outcome of its delivery, and set that."""
        _unwatch(future)
        try:
            error, result = (outcome, None) if isinstance(outcome, BaseException) else (None, outcome)
            self._end_followed(future, error, result)
            future.remove_done_callback(self._settle)
        finally:
            getattr(future, name)(outcome)

    def _settle(self, future: Any) -> None:
        super()._settle(future)
        _unwatch(future)

    def _acknowledge(self, begun: Send, result: Any) -> None:
        """End a send with the message of its delivery report; a subclass that awaits that may return anything."""
        begun.acknowledged(MessageRecord(result) if is_message(result) else result)


def _unwatch(future: Any) -> None:
    """Give a future its own methods back."""
    for each in _OUTCOMES:
        with suppress(AttributeError):  # another thread has done it
            delattr(future, each)


class TracedAIOConsumer(ProcessingClient, _AwaitedClient):
    """An `AIOConsumer` of confluent-kafka that traces the processing of its messages."""

    async def poll(self, *args: Any, **kwargs: Any) -> Any:
        """Return a message, whose process span is current until the next call, or `close()`."""
        return await self._self_face.poll(bare(self.__wrapped__, "poll"), args, kwargs)

    async def consume(self, *args: Any, **kwargs: Any) -> Any:
        """Return a list of messages, whose iteration runs inside the process spans."""
        return await self._self_face.consume(bare(self.__wrapped__, "consume"), args, kwargs)

    async def subscribe(self, *args: Any, **kwargs: Any) -> Any:
        """Subscribe, and record rebalances."""
        return await self._self_face.subscribe(bare(self.__wrapped__, "subscribe"), args, kwargs)

    async def unsubscribe(self, *args: Any, **kwargs: Any) -> Any:
        """Unsubscribe; the lag of its partitions is no longer reported."""
        return await self._self_face.unsubscribe(bare(self.__wrapped__, "unsubscribe"), args, kwargs)

    async def assign(self, *args: Any, **kwargs: Any) -> Any:
        """Assign partitions."""
        return await self._self_face.assign(bare(self.__wrapped__, "assign"), args, kwargs)

    async def unassign(self, *args: Any, **kwargs: Any) -> Any:
        """Give the assignment up; its lag is no longer reported."""
        return await self._self_face.unassign(bare(self.__wrapped__, "unassign"), args, kwargs)

    async def incremental_assign(self, *args: Any, **kwargs: Any) -> Any:
        """Assign more partitions."""
        return await self._self_face.incremental_assign(bare(self.__wrapped__, "incremental_assign"), args, kwargs)

    async def incremental_unassign(self, *args: Any, **kwargs: Any) -> Any:
        """Give partitions up; their lag is no longer reported."""
        return await self._self_face.incremental_unassign(bare(self.__wrapped__, "incremental_unassign"), args, kwargs)

    async def commit(self, *args: Any, **kwargs: Any) -> Any:
        """Commit; inside a span, the commit has a span."""
        return await self._self_face.commit(bare(self.__wrapped__, "commit"), args, kwargs)

    async def store_offsets(self, *args: Any, **kwargs: Any) -> Any:
        """Store offsets. Where an automatic commit takes them, this has a span."""
        return await self._self_face.store_offsets(bare(self.__wrapped__, "store_offsets"), args, kwargs)


class AIOConsumerFace(MessageConsumerFace):
    """The traced calls of one `AIOConsumer`."""

    @traces("poll")
    async def poll(self, poll: Call, args: Args, kwargs: KwArgs) -> Any:
        """Return a message, whose process span is current until the next call, or `close()`."""
        started = self.dispatcher.fetching()
        try:
            message = await poll(*args, **kwargs)
        except BaseException as error:
            self._failed(error, started)
            raise
        return self._received(message, started)

    @traces("consume")
    async def consume(self, consume: Call, args: Args, kwargs: KwArgs) -> Any:
        """Return messages; iterating their list runs inside each message's process span."""
        started = self.dispatcher.fetching()
        try:
            messages = await consume(*args, **kwargs)
        except BaseException as error:
            self._failed(error, started, is_poll=True)
            raise
        return self._handed_over(messages, started)

    @traces("subscribe")
    async def subscribe(self, subscribe: Call, args: Args, kwargs: KwArgs) -> Any:
        """Subscribe, and record rebalances."""
        subscription = self._subscription(AsyncCallbacks, args, kwargs)
        result = await subscribe(*subscription.args, **subscription.kwargs)
        self._subscribed(subscription)
        return result

    @traces("unsubscribe")
    async def unsubscribe(self, unsubscribe: Call, args: Args, kwargs: KwArgs) -> Any:
        """Unsubscribe, and forget which partitions were assigned."""
        result = await unsubscribe(*args, **kwargs)
        self._client.subscription = ()
        self.history.update(set(), self._telemetry.now())
        return result

    @traces("assign")
    async def assign(self, assign: Call, args: Args, kwargs: KwArgs) -> Any:
        """Assign partitions, and note which and when."""
        result = await assign(*args, **kwargs)
        partitions = places_of(args, kwargs)
        if partitions is not None:
            self.history.update(partitions, self._telemetry.now())
            self.history.has_listener = True
        return result

    @traces("unassign")
    async def unassign(self, unassign: Call, args: Args, kwargs: KwArgs) -> Any:
        """Give the assignment up."""
        result = await unassign(*args, **kwargs)
        self.history.update(set(), self._telemetry.now())
        return result

    @traces("incremental_assign")
    async def incremental_assign(self, assign: Call, args: Args, kwargs: KwArgs) -> Any:
        """Assign more partitions, and note which and when."""
        result = await assign(*args, **kwargs)
        self.history.assign(places_of(args, kwargs) or set(), self._telemetry.now())
        return result

    @traces("incremental_unassign")
    async def incremental_unassign(self, unassign: Call, args: Args, kwargs: KwArgs) -> Any:
        """Give partitions up."""
        result = await unassign(*args, **kwargs)
        self.history.revoke(places_of(args, kwargs) or set())
        return result

    @traces("commit")
    async def commit(self, commit: Call, args: Args, kwargs: KwArgs) -> Any:
        """Commit, inside a span where there is one around it."""
        given = commit_arguments(args, kwargs)
        return await await_inside(self._commits.begin(committed_offsets_of(given)), commit, args, kwargs)

    @traces("store_offsets")
    async def store_offsets(self, store_offsets: Call, args: Args, kwargs: KwArgs) -> Any:
        """Store offsets, inside a span where there is one around it and an automatic commit takes them."""
        return await await_inside(self._begin_to_store(args, kwargs), store_offsets, args, kwargs)

    @traces("close")
    async def close(self, close: Call, args: Args, kwargs: KwArgs) -> Any:
        """Close the consumer, then end the spans that are still open, also where closing raises."""
        try:
            return await close(*args, **kwargs)
        finally:
            self.end()


_producers = Wrappers(TracedAIOProducer, AIOProducerFace, instrumentor="ConfluentKafkaInstrumentor")
_consumers = Wrappers(TracedAIOConsumer, AIOConsumerFace, own_methods, "ConfluentKafkaInstrumentor")
