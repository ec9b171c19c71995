"""The producer of aiokafka, wrapped or patched. Client calls are here, between the engine's begin and end."""

from contextlib import suppress
from types import MethodType
from typing import TYPE_CHECKING, Any

import wrapt
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.producer import AIOKafkaProducer

from otelkafka._clients.aiokafka.facts import AIOKafkaFacts, plain_headers, record_count, sender_of
from otelkafka._clients.aiokafka.hooks import await_hook
from otelkafka._clients.calls import Args, Call, KwArgs, bare, traces
from otelkafka._clients.producer_face import UNKNOWN, AwaitedProducerFace, HeadersArgument, ProduceHook, ShownArguments
from otelkafka._clients.proxy import StoppedClient, Wrappers, check_client
from otelkafka._context.current import attach, get_current, reset
from otelkafka._producing.batch import Batch, Batches
from otelkafka._producing.send import BareSend, Send
from otelkafka.options import ProducerOptions

_PARTITION, _POSITION = 3, 5
"""Where `send()` has partition and headers among its positional arguments; the first three are kafka-python's."""
_HEADERS = HeadersArgument(_POSITION)
_NAMES = ("topic", "value", "key", "partition", "timestamp_ms", "headers")


def wrap_producer(producer: Any, options: ProducerOptions) -> "TracedAIOKafkaProducer":
    """Trace sends of a producer of aiokafka, or of anything whose `send()` is awaited."""
    check_client("wrap_producer", producer, "AIOKafkaProducer", "send")
    return _wrappers.of(type(producer))(producer, options, AIOKafkaProducerFace(producer, options))


if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer as _Client
else:
    _Client = object


class TracedAIOKafkaProducer(StoppedClient, _Client):  # type: ignore[misc]
    """An `AIOKafkaProducer` that traces its sends. `wrap_producer` makes it."""

    def __init__(self, producer: Any, options: ProducerOptions, face: "AIOKafkaProducerFace") -> None:
        super().__init__(producer, options, wrap_producer, face)

    async def send(self, *args: Any, **kwargs: Any) -> Any:
        """Send a record inside a span, as `AIOKafkaProducer.send` does, and return its future."""
        return await self._self_face.send(bare(self.__wrapped__, "send"), args, kwargs)

    async def send_and_wait(self, *args: Any, **kwargs: Any) -> Any:
        """Send a record inside a span, as `AIOKafkaProducer.send_and_wait` does, and return its metadata."""
        own = self.__wrapped__.send_and_wait
        if _is_own_method(own, self.__wrapped__):
            return await own.__func__(self, *args, **kwargs)  # which awaits the traced send()
        return await self._self_face.send(own, args, kwargs)

    def transaction(self) -> Any:
        """Return a context manager that begins a transaction, and commits or aborts it inside a span."""
        own = self.__wrapped__.transaction
        return own.__func__(self) if _is_own_method(own, self.__wrapped__) else own()

    def create_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Return a batch whose records carry the context of its send span."""
        return self._self_face.create_batch(bare(self.__wrapped__, "create_batch"), args, kwargs)

    async def send_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Send a batch inside a span, as `AIOKafkaProducer.send_batch` does, and return its future."""
        return await self._self_face.send_batch(bare(self.__wrapped__, "send_batch"), args, kwargs)

    async def begin_transaction(self, *args: Any, **kwargs: Any) -> Any:
        """Begin a transaction. There is a span only if this fails."""
        return await self._self_face.begin_transaction(bare(self.__wrapped__, "begin_transaction"), args, kwargs)

    async def commit_transaction(self, *args: Any, **kwargs: Any) -> Any:
        """Commit a transaction inside a span."""
        return await self._self_face.commit_transaction(bare(self.__wrapped__, "commit_transaction"), args, kwargs)

    async def abort_transaction(self, *args: Any, **kwargs: Any) -> Any:
        """Abort a transaction inside a span."""
        return await self._self_face.abort_transaction(bare(self.__wrapped__, "abort_transaction"), args, kwargs)

    async def send_offsets_to_transaction(self, *args: Any, **kwargs: Any) -> Any:
        """Send offsets to a transaction. Inside a span, this has a span."""
        call = bare(self.__wrapped__, "send_offsets_to_transaction")
        return await self._self_face.send_offsets_to_transaction(call, args, kwargs)


class TracedBatch(wrapt.ObjectProxy):  # type: ignore[misc,type-arg,unused-ignore]
    """A batch whose records carry the context of its send span.

    Args:
        batch: the batch of aiokafka.
        batches: the open batches of the producer.
    """

    def __init__(self, batch: Any, batches: Batches) -> None:
        super().__init__(batch)
        self._self_batch = Batch()
        self._self_batches = batches

    def append(self, *args: Any, **kwargs: Any) -> Any:
        """Add a record to the batch. As in aiokafka, None says that the batch is full."""
        given = kwargs.get("headers")
        headers = self._self_batches.headers_for(self._self_batch, given or None, kwargs.get("timestamp"))
        if headers is not None and not args:
            kwargs["headers"] = headers
        return self.__wrapped__.append(*args, **kwargs)


def _is_own_method(method: Any, client: Any) -> bool:
    """Return whether a method is aiokafka's own. It calls other methods of its client, which may be the wrapper's."""
    return type(method) is MethodType and method.__self__ is client and isinstance(client, AIOKafkaProducer)


class AIOKafkaProducerFace(AwaitedProducerFace):
    """The traced calls of one `AIOKafkaProducer`.

    Each takes the producer's own method, bound, and the arguments; none of them is kept.

    Args:
        producer: whose configuration is read.
        options: its options.
        produce_hook: called with the span and the arguments of `send()` before it is called, and awaited.
    """

    def __init__(self, producer: object, options: ProducerOptions, produce_hook: ProduceHook | None = None) -> None:
        sender = sender_of(producer)
        super().__init__(sender, AIOKafkaFacts(producer), options, produce_hook)
        self._batches = Batches(self._contexts, options, self._transactions, sender)

    @traces("send")
    async def send(self, send: Call, args: Args, kwargs: KwArgs) -> Any:  # noqa: C901, PLR0912 (top to bottom)
        """Await `send` inside a span, with headers that carry it.

        What `send` returns and raises passes through unchanged. A record that only our header made too large is sent
        once more as the caller gave it, so that its serializers run again.
        """
        begun: Any = UNKNOWN
        try:
            begin = self._sends.begin if len(args) <= _PARTITION and "headers" not in kwargs else self._begin
            begun = begin(*args, **kwargs)
        except TypeError:  # arguments that `send()` refuses, or that only a subclass of the producer knows
            pass
        if begun is UNKNOWN:  # out here, so that a hook has no error of ours around it
            begun = self._begin_known(args, kwargs)
        if begun is None:
            return await send(*args, **kwargs)
        headers, is_too_large, token = begun.headers, False, None
        try:
            try:
                token = attach(begun.context)
                if self._produce_hook is not None and begun.destination.traced:
                    args, kwargs, headers = await self._call_hook(self._produce_hook, begun, args, kwargs)
                if headers is None:
                    future = await send(*args, **kwargs)
                elif len(args) > _POSITION or "headers" in kwargs:
                    future = await _HEADERS.call_with(headers, send, args, kwargs)
                else:
                    future = await send(*args, headers=headers, **kwargs)
            except MessageSizeTooLargeError:
                if headers is None:
                    raise
                is_too_large = True
            if is_too_large:
                future = await send(*args, **kwargs)
                begun.sent_without_context()
        except BaseException as error:
            if type(error) is GeneratorExit and get_current() is not begun.context:
                token = None  # it was dropped, and what is current since is not inside of it
            begun.refused(error)
            raise
        finally:
            if token is not None:
                try:  # noqa: SIM105 (likewise)
                    reset(token)
                except ValueError:  # a coroutine that was dropped ends in whatever context
                    pass
        if begun.is_followed:
            self._telemetry.guard.call("send", None, self._follow, begun, future)
        else:
            begun.context = None  # it holds the span, which holds it
        return future

    @traces("create_batch")
    def create_batch(self, create_batch: Call, args: Args, kwargs: KwArgs) -> "TracedBatch":
        """Return a batch whose records carry the context of its send span."""
        return TracedBatch(create_batch(*args, **kwargs), self._batches)

    @traces("send_batch")
    async def send_batch(self, send_batch: Call, args: Args, kwargs: KwArgs) -> Any:
        """Send a batch inside its span, which began with its first record."""
        given = args[0] if args else kwargs.get("batch")
        topic = args[1] if len(args) > 1 else kwargs.get("topic")
        batches, batch = self._batches, Batch()
        if isinstance(given, TracedBatch):
            batches, batch = given._self_batches, given._self_batch
            bare_batch = given.__wrapped__
            args, kwargs = ((bare_batch, *args[1:]), kwargs) if args else (args, {**kwargs, "batch": bare_batch})
        begun = batches.begin_batch(batch, topic, kwargs.get("partition"), record_count(given) or 0)
        if begun is None:
            return await send_batch(*args, **kwargs)
        token: Any = attach(begun.context)
        try:
            future = await send_batch(*args, **kwargs)
        except BaseException as error:
            if type(error) is GeneratorExit and get_current() is not begun.context:
                token = None  # as in `send()`
            begun.refused(error)
            raise
        finally:
            if token is not None:
                with suppress(ValueError):
                    reset(token)
        self._telemetry.guard.call("send", None, self._follow, begun, future)
        return future

    @traces("stop")
    async def close(self, stop: Call, args: Args, kwargs: KwArgs) -> Any:
        """Stop the producer, and then end the spans that are open, also if stopping raises."""
        try:
            return await stop(*args, **kwargs)
        finally:
            self.end()

    def _begin(
        self,
        topic: Any,
        value: Any = None,
        key: Any = None,
        partition: Any = None,
        timestamp_ms: Any = None,
        headers: Any = None,
    ) -> BareSend | Send | None:
        """Begin a send with the arguments in aiokafka's order."""
        return self._sends.begin(topic, value, key, plain_headers(headers), partition, timestamp_ms)

    def _begin_known(self, args: Args, kwargs: KwArgs) -> BareSend | Send | None:
        """Begin a send with the arguments that every producer knows; None if `send()` will refuse them."""
        try:
            return self._begin(*args, **{name: kwargs[name] for name in kwargs if name in _NAMES})
        except TypeError:
            return None

    async def _call_hook(self, hook: ProduceHook, begun: Send, args: Args, kwargs: KwArgs) -> Any:
        """Call the hook with the arguments, headers by name, and return the arguments as the hook leaves them."""
        if len(args) > _POSITION:
            args, kwargs = args[:_POSITION], {**kwargs, "headers": args[_POSITION]}
        shown = ShownArguments(_HEADERS, self._telemetry.client, begun, args, kwargs)
        result = self._telemetry.guard.call("async_produce_hook", None, hook, begun.span, shown.args, shown.kwargs)
        await await_hook(self._telemetry.guard, "async_produce_hook", result)
        return shown.left(self._telemetry.guard)


_wrappers = Wrappers(TracedAIOKafkaProducer, AIOKafkaProducerFace, instrumentor="AIOKafkaInstrumentor")
