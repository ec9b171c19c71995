"""The consumer of aiokafka, wrapped or patched. Client calls are here, between the engine's begin and end."""

from asyncio import _get_running_loop as get_running_loop
from asyncio import current_task
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, ref

from aiokafka.errors import ConsumerStoppedError

from otelkafka._clients.aiokafka.facts import AIOKafkaFacts, read_again
from otelkafka._clients.aiokafka.hooks import AwaitedConsumeHook, await_hook
from otelkafka._clients.aiokafka.listeners import AIOKafkaListeners
from otelkafka._clients.calls import Args, Call, KwArgs, await_inside, bare, overriding, traces
from otelkafka._clients.consumer_face import ConsumerFaceBase, ProcessingClient, offsets_of, own_methods
from otelkafka._clients.proxy import StoppedClient, Wrappers, check_client
from otelkafka._consuming.dispatcher import DispatchingIterator
from otelkafka._consuming.open_span import OpenSpan, innermost
from otelkafka.options import ConsumerOptions


def _no_task() -> None:
    """Return None: there is no task."""


_NOTHING: Final = object()
_LISTENER = 2
"""Where `subscribe()` has it among its positional arguments."""


def wrap_consumer(consumer: Any, options: ConsumerOptions, before: Any = None) -> "TracedAIOKafkaConsumer":
    """Trace processing by a consumer of aiokafka, or by anything with its `getone()`."""
    check_client("wrap_consumer", consumer, "AIOKafkaConsumer", "getone")
    return _wrappers.of(type(consumer))(consumer, options, AIOKafkaConsumerFace(consumer, options, before))


if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer as _Client
else:
    _Client = object


class TracedAIOKafkaConsumer(ProcessingClient, StoppedClient, _Client):  # type: ignore[misc]
    """An `AIOKafkaConsumer` that traces the processing of its records. `wrap_consumer` makes it."""

    def __init__(self, consumer: Any, options: ConsumerOptions, face: "AIOKafkaConsumerFace") -> None:
        super().__init__(consumer, options, wrap_consumer, face)

    def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate records. The body of the loop runs inside the process span of each record."""
        records: AsyncIterator[Any] = self._self_face.iterate(bare(self.__wrapped__, "__aiter__"), (), {})
        return records

    async def __anext__(self) -> Any:
        """Return the next record. Its process span is current until the next call, or `stop()`."""
        return await self._self_face.next(bare(self.__wrapped__, "__anext__"), (), {})

    async def getone(self, *args: Any, **kwargs: Any) -> Any:
        """Return the next record. Its process span is current until the next call, or `stop()`."""
        return await self._self_face.getone(bare(self.__wrapped__, "getone"), args, kwargs)

    async def getmany(self, *args: Any, **kwargs: Any) -> Any:
        """Return lists, as `AIOKafkaConsumer.getmany` does. Their iteration runs inside the process spans."""
        return await self._self_face.getmany(bare(self.__wrapped__, "getmany"), args, kwargs)

    def subscribe(self, *args: Any, **kwargs: Any) -> Any:
        """Subscribe as `AIOKafkaConsumer.subscribe` does, and record rebalances."""
        return self._self_face.subscribe(bare(self.__wrapped__, "subscribe"), args, kwargs)

    def assign(self, *args: Any, **kwargs: Any) -> Any:
        """Assign partitions, as `AIOKafkaConsumer.assign` does."""
        return self._self_face.assign(bare(self.__wrapped__, "assign"), args, kwargs)

    def unsubscribe(self, *args: Any, **kwargs: Any) -> Any:
        """Unsubscribe, as `AIOKafkaConsumer.unsubscribe` does. The lag of its partitions is no longer reported."""
        return self._self_face.unsubscribe(bare(self.__wrapped__, "unsubscribe"), args, kwargs)

    async def commit(self, *args: Any, **kwargs: Any) -> Any:
        """Commit, as `AIOKafkaConsumer.commit` does. Inside a span, the commit has a span."""
        return await self._self_face.commit(bare(self.__wrapped__, "commit"), args, kwargs)


class AIOKafkaConsumerFace(ConsumerFaceBase[AIOKafkaFacts]):
    """The traced calls of one `AIOKafkaConsumer`.

    Each takes the consumer's own method, bound, and the arguments; none of them is kept.

    Args:
        consumer: whose configuration is read, and whose subscription is adopted.
        options: its options.
        before: what traced it until now, whose history goes on.
        consume_hook: the hook that `on_process` calls, if it may have to be awaited.

    Attributes:
        opened: the span that was opened last; None if only explicit calls open spans.
        turn: counts the fetches that have begun or ended.
    """

    def __init__(
        self,
        consumer: Any,
        options: ConsumerOptions,
        before: "AIOKafkaConsumerFace | None" = None,
        consume_hook: AwaitedConsumeHook | None = None,
    ) -> None:
        super().__init__(consumer, AIOKafkaFacts(consumer), options, AIOKafkaListeners(), before)
        self.consume_hook = consume_hook
        self.opened: Any = None if options.process == "manual" else _NOTHING
        self.turn = 0
        self._last_task: Any = _no_task  # a weak reference: a task that is over may hold all that it had
        self._open_of: WeakKeyDictionary[Any, OpenSpan] = WeakKeyDictionary()  # of other tasks, that go on

    def enter(self) -> None:
        """Switch to the record that this task has in process, if another task has fetched since."""
        task = current_task() if get_running_loop() is not None else None
        if self._last_task() is not task:
            self._switch(task)

    def _switch(self, task: Any) -> None:
        last, self._last_task = self._last_task(), _no_task if task is None else ref(task)
        opened = self.dispatcher.go_on_with(None if task is None else self._open_of.pop(task, None))
        if opened is not None:
            if last is None or last.done():
                self.dispatcher.end_one(opened, None)
            else:
                self._open_of[last] = opened
        for each in [each for each in self._open_of if each.done()]:
            self.dispatcher.end_one(self._open_of.pop(each), None)

    def overlapped(self, started: int) -> int:
        """Return since when only this task has fetched. Time in which several tasks fetch is counted once."""
        self.enter()
        return max(started, self.history.fetches.last)

    @traces("start")
    async def start(self, start: Call, args: Args, kwargs: KwArgs) -> Any:
        """Start the consumer. Its listener is in place before, and gets the first assignment."""
        return await start(*args, **kwargs)

    @traces("__aiter__")
    def iterate(self, iterate: Call, _: Args, __: KwArgs) -> "AIOKafkaRecordIterator":
        """Iterate records. The body of the loop runs inside the process span of each record."""
        self.enter()
        self.dispatcher.end_open()
        consumer, records = self._client.get(), iterate()
        own = records is consumer
        advance = bare(consumer, "__anext__") if own else overriding(consumer, "__anext__", records.__anext__)
        return AIOKafkaRecordIterator(self, consumer, advance)

    @traces("__anext__")
    async def next(self, advance: Call, _: Args, __: KwArgs) -> Any:
        """Return the next record. Its process span is current until the next call, or `stop()`."""
        return await self.getone(advance, (), {})

    @traces("getone")
    async def getone(self, getone: Call, args: Args, kwargs: KwArgs) -> Any:
        """Return the next record. Its process span is current until the next call, or `stop()`."""
        dispatcher = self.dispatcher
        if dispatcher.stopped:
            return await getone(*args, **kwargs)
        if self.opened is not None and innermost.get() is not self.opened:
            self.enter()
        self.turn = turn = self.turn + 1
        started = dispatcher.fetching()
        try:
            record = await getone(*args, **kwargs)
        except BaseException as error:
            self.failed(error, started, turn)
            raise
        if self.turn != turn:
            started = self.overlapped(started)
        self.turn += 1
        if self.consume_hook is None:
            self.opened = dispatcher.received(record, started)
        else:
            self.opened, awaitables = self.consume_hook.collect(dispatcher.received, record, started, args, kwargs)
            await self.await_hooks(record, awaitables)
        return record

    async def await_hooks(self, record: Any, awaitables: list[Any]) -> None:
        """Await what hooks have returned, inside the process span. A cancellation does not lose the record."""
        try:
            for each in awaitables:
                await await_hook(self._telemetry.guard, "async_consume_hook", each)
        except BaseException:
            self._telemetry.guard.call("async_consume_hook", None, read_again, self._client.get(), record)
            raise

    @traces("getmany")
    async def getmany(self, getmany: Call, args: Args, kwargs: KwArgs) -> Any:
        """Return lists of records. Their iteration runs inside the process spans."""
        self.enter()
        self.turn = turn = self.turn + 1
        started = self.dispatcher.fetching()
        try:
            polled = await getmany(*args, **kwargs)
        except BaseException as error:
            self.failed(error, started, turn, is_poll=True)
            raise
        if self.turn != turn:
            started = self.overlapped(started)
        self.turn += 1
        return self.dispatcher.polled(polled, started)

    def failed(self, error: BaseException, started: int, turn: int, *, is_poll: bool = False) -> None:
        """Note that the client has raised. An error because it was stopped is the end of the iteration.

        Args:
            error: what it raised.
            started: when the fetch began.
            turn: the value of `turn` when the fetch began.
            is_poll: whether it fetches lists.
        """
        if self.turn != turn:
            started = self.overlapped(started)
        self.turn += 1
        if isinstance(error, ConsumerStoppedError):
            error = StopAsyncIteration()
        self.dispatcher.failed(error, started, is_poll=is_poll)

    @traces("subscribe")
    def subscribe(self, subscribe: Call, args: Args, kwargs: KwArgs) -> Any:
        """Subscribe, and record which partitions are assigned and when."""
        given = args[_LISTENER] if len(args) > _LISTENER else kwargs.get("listener")
        listener = self._listening.listen(self._rebalances, given, given)
        if len(args) > _LISTENER:
            result = subscribe(*args[:_LISTENER], listener, *args[_LISTENER + 1 :], **kwargs)
        else:
            result = subscribe(*args, **{**kwargs, "listener": listener})
        self.history.has_listener = self._listening.is_called(self._client.get()) is True
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
    async def commit(self, commit: Call, args: Args, kwargs: KwArgs) -> Any:
        """Commit. Inside a span, the commit has a span."""
        return await await_inside(self._commits.begin(offsets_of(args, kwargs)), commit, args, kwargs)

    def end(self) -> None:
        """End the open spans of all tasks."""
        for each in list(self._open_of):
            self.dispatcher.end_one(self._open_of.pop(each), None)
        super().end()

    @traces("stop")
    async def close(self, stop: Call, args: Args, kwargs: KwArgs) -> Any:
        """Stop the consumer, and then end the spans that are open, also if stopping raises."""
        try:
            return await stop(*args, **kwargs)
        finally:
            self.end()


_wrappers = Wrappers(TracedAIOKafkaConsumer, AIOKafkaConsumerFace, own_methods, "AIOKafkaInstrumentor")


class AIOKafkaRecordIterator(DispatchingIterator, AsyncIterator[Any]):
    """Iterates the records of a consumer.

    Unlike an async generator it continues after a StopAsyncIteration or an error, as the consumer itself does.

    Args:
        face: the face of the consumer, which is kept alive.
        consumer: the consumer, which is kept alive.
        advance: awaited for the next record.
    """

    __slots__ = ("_advance", "_consumer", "_face")

    def __init__(self, face: AIOKafkaConsumerFace, consumer: Any, advance: Callable[[], Any]) -> None:
        self._dispatcher = face.dispatcher
        self._face = face
        self._consumer = consumer
        self._advance = advance
        self._open = None

    async def __anext__(self) -> Any:
        """Return the next record. Its process span is current until the next call."""
        dispatcher = self._dispatcher
        if dispatcher.stopped:
            return await self._advance()
        face = self._face
        if face.opened is not None and innermost.get() is not face.opened:  # another task's, or of another consumer
            face.enter()
        face.turn = turn = face.turn + 1
        started = dispatcher.fetching()
        try:
            record = await self._advance()
        except BaseException as error:
            face.failed(error, started, turn)
            raise
        if face.turn != turn:  # another task has begun or ended a fetch meanwhile
            started = face.overlapped(started)
        face.turn += 1
        hook = face.consume_hook
        if hook is None:
            self._open = face.opened = dispatcher.received(record, started)
        else:
            self._open, awaitables = hook.collect(dispatcher.received, record, started, (), {})
            face.opened = self._open
            await face.await_hooks(record, awaitables)
        return record
