"""What the faces of producers have in common."""

from asyncio import CancelledError
from collections.abc import Callable
from typing import Any, Final

from opentelemetry.trace import Span

from otelkafka._clients.calls import Args, Call, KwArgs, await_inside, call_inside, traces
from otelkafka._context.propagation import Contexts
from otelkafka._producing.send import BareSend, Message, Send, Sends
from otelkafka._producing.transactions import (
    ABORT,
    BEGIN,
    COMMIT,
    INIT,
    SEND_OFFSETS,
    Kind,
    TransactionCall,
    Transactions,
)
from otelkafka._protocols import Client
from otelkafka._telemetry.guard import Guard
from otelkafka._telemetry.telemetry import Telemetry
from otelkafka.headers import Headers, are_sendable
from otelkafka.options import ProducerOptions

ProduceHook = Callable[[Span, Any, Any], Any]


UNKNOWN: Final[Any] = object()
"""A send whose arguments only the client may know."""
_MISSING: Final = object()


class HeadersArgument:
    """The headers among the arguments of a client's `send()`.

    Args:
        position: the index of the headers among the positional arguments.
    """

    __slots__ = ("_position",)

    def __init__(self, position: int) -> None:
        self._position = position

    def of(self, args: Args, kwargs: KwArgs) -> Any:
        """Return the headers; None if there are none."""
        return args[self._position] if len(args) > self._position else kwargs.get("headers")

    def replaced(self, args: Args, kwargs: KwArgs, headers: Any) -> tuple[Args, KwArgs]:
        """Return the arguments with these headers."""
        at = self._position
        if len(args) > at:
            return (*args[:at], headers, *args[at + 1 :]), kwargs
        return args, {**kwargs, "headers": headers}

    def call_with(self, headers: Headers, send: Call, args: Args, kwargs: KwArgs) -> Any:
        """Call `send` with these headers."""
        args, kwargs = self.replaced(args, kwargs, headers)
        return send(*args, **kwargs)


class ShownArguments:
    """The arguments of a `send()` as a hook gets them, with our header, and as the hook leaves them.

    Args:
        argument: the headers among them.
        client: knows which headers it can send.
        begun: the send.
        args: the arguments of the caller.
        kwargs: the keyword arguments of the caller.

    Attributes:
        args: the arguments to send.
        kwargs: the keyword arguments to send, which a hook may change.
    """

    def __init__(
        self, argument: HeadersArgument, client: Client, begun: BareSend | Send, args: Args, kwargs: KwArgs
    ) -> None:
        self._argument = argument
        self._client = client
        self._injected = begun.headers
        self._given = argument.of(args, kwargs)
        headers = begun.headers
        if headers is None and self._can_send(self._given):
            headers = self._given or []
        self._headers = headers
        shown = self._given if headers is None else list(headers)
        self.args, self.kwargs = argument.replaced(args, kwargs, shown)

    def left(self, guard: Guard) -> tuple[Args, KwArgs, Headers | None]:
        """Return the arguments as the hook left them.

        Returns:
            The arguments with their headers, without ours; and the headers with ours, None if there are none.
        """
        args, kwargs, given = self.args, self.kwargs, self._given
        left = self._argument.of(args, kwargs)
        if self._headers is not None and not self._can_send(left):
            error = TypeError("left headers that cannot be sent: they must be a list of (str, bytes) tuples")
            guard.contain("produce_hook", error)
            left = self._headers
        if self._injected is None or left is None:
            return (*self._argument.replaced(args, kwargs, left if self._headers is None else left or given), None)
        injected = [each for each in self._injected if each not in (given or ())]
        without = [each for each in left if each not in injected]
        return (*self._argument.replaced(args, kwargs, without), left)

    def _can_send(self, headers: Any) -> bool:
        return are_sendable(headers) or self._client.can_send(headers)


class ProducerFaceBase:
    """What traces one producer of any library.

    Args:
        producer: the producer. Sends that wait end when it is dropped.
        client: the facts about the producer.
        options: its options.
        produce_hook: called with the span and the arguments of `send()` before it is called.
    """

    def __init__(
        self, producer: object, client: Client, options: ProducerOptions, produce_hook: ProduceHook | None = None
    ) -> None:
        self._telemetry = Telemetry(options, client)
        self._contexts = Contexts(self._telemetry)
        self._transactions = Transactions(self._telemetry)
        self._sends = Sends(self._contexts, options, self._transactions, producer)
        self._produce_hook = produce_hook

    def end(self) -> None:
        """End every span that is open."""
        self._sends.end_all()

    def stop(self) -> None:
        """Stop tracing. Sends in flight end when their futures do."""

    def _begin_known(self, args: Args, kwargs: KwArgs) -> BareSend | Send | None:
        """Begin a send with the arguments that every producer knows; None if `send()` will refuse them."""
        try:
            message = Message(*args, **{name: kwargs[name] for name in kwargs if name in Message._fields})
        except TypeError:
            return None
        return self._sends.begin(*message)

    @staticmethod
    def offsets_of(args: Args, kwargs: KwArgs) -> Any:
        """Return the offsets among the arguments of `send_offsets_to_transaction()`, by partition."""
        return args[0] if args else kwargs.get("offsets")

    def _begin_transaction_call(self, kind: Kind, args: Args, kwargs: KwArgs) -> TransactionCall | None:
        return self._transactions.begin(kind, self.offsets_of(args, kwargs) if kind is SEND_OFFSETS else None)


class CalledProducerFace(ProducerFaceBase):
    """What traces a producer whose methods are called, with the calls of its transactions."""

    @traces("init_transactions")
    def init_transactions(self, call: Call, args: Args, kwargs: KwArgs) -> Any:
        """Initialize transactions. There is a span only if this fails."""
        return self._transact(INIT, call, args, kwargs)

    @traces("begin_transaction")
    def begin_transaction(self, call: Call, args: Args, kwargs: KwArgs) -> Any:
        """Begin a transaction. There is a span only if this fails."""
        return self._transact(BEGIN, call, args, kwargs)

    @traces("send_offsets_to_transaction")
    def send_offsets_to_transaction(self, call: Call, args: Args, kwargs: KwArgs) -> Any:
        """Send offsets to a transaction. Inside a span, this has a span."""
        return self._transact(SEND_OFFSETS, call, args, kwargs)

    @traces("commit_transaction")
    def commit_transaction(self, call: Call, args: Args, kwargs: KwArgs) -> Any:
        """Commit a transaction inside a span."""
        return self._transact(COMMIT, call, args, kwargs)

    @traces("abort_transaction")
    def abort_transaction(self, call: Call, args: Args, kwargs: KwArgs) -> Any:
        """Abort a transaction inside a span."""
        return self._transact(ABORT, call, args, kwargs)

    def _transact(self, kind: Kind, call: Call, args: Args, kwargs: KwArgs) -> Any:
        return call_inside(self._begin_transaction_call(kind, args, kwargs), call, args, kwargs)


class AwaitedProducerFace(ProducerFaceBase):
    """What traces a producer whose methods are awaited, with the calls of its transactions.

    Args:
        producer: as for `ProducerFaceBase`.
        client: as for `ProducerFaceBase`.
        options: as for `ProducerFaceBase`.
        produce_hook: as for `ProducerFaceBase`; awaited.
    """

    def __init__(
        self, producer: object, client: Client, options: ProducerOptions, produce_hook: ProduceHook | None = None
    ) -> None:
        super().__init__(producer, client, options, produce_hook)
        self._followed: dict[Any, Send] = {}

    def end(self) -> None:
        """End every open span. If its future is done, the span gets that outcome, although no callback has run."""
        self._telemetry.guard.call("close", None, self._settle_done)
        super().end()
        self._followed.clear()

    @traces("begin_transaction")
    async def begin_transaction(self, call: Call, args: Args, kwargs: KwArgs) -> Any:
        """Begin a transaction. There is a span only if this fails."""
        return await self._transact(BEGIN, call, args, kwargs)

    @traces("send_offsets_to_transaction")
    async def send_offsets_to_transaction(self, call: Call, args: Args, kwargs: KwArgs) -> Any:
        """Send offsets to a transaction. Inside a span, this has a span."""
        return await self._transact(SEND_OFFSETS, call, args, kwargs)

    @traces("commit_transaction")
    async def commit_transaction(self, call: Call, args: Args, kwargs: KwArgs) -> Any:
        """Commit a transaction inside a span."""
        return await self._transact(COMMIT, call, args, kwargs)

    @traces("abort_transaction")
    async def abort_transaction(self, call: Call, args: Args, kwargs: KwArgs) -> Any:
        """Abort a transaction inside a span."""
        return await self._transact(ABORT, call, args, kwargs)

    async def _transact(self, kind: Kind, call: Call, args: Args, kwargs: KwArgs) -> Any:
        return await await_inside(self._begin_transaction_call(kind, args, kwargs), call, args, kwargs)

    def _settle_done(self) -> None:
        for future in [each for each in list(self._followed) if each.done()]:  # another thread may settle some
            self._settle(future)

    def _follow(self, begun: Send, future: Any) -> None:
        """End the send when its future is done. Other producers may return the metadata of the record directly."""
        if not begun.returned():
            return
        if not hasattr(future, "add_done_callback"):
            self._acknowledge(begun, future)
            return
        try:
            self._followed[future] = begun
            if not future.done():
                self._watch(future)
            if future.done():
                self._settle(future)
        except Exception:
            self._followed.pop(future, None)
            begun.failed(None)
            raise

    def _watch(self, future: Any) -> None:
        """Have `_settle()` called when a future is done."""
        future.add_done_callback(self._settle)

    def _settle(self, future: Any) -> None:
        """End the send of a future that is done. A send ends once."""
        error = _failure_of(future)
        self._end_followed(future, error, None if error is not None else future.result())

    def _end_followed(self, future: Any, error: BaseException | None, result: Any) -> None:
        begun = self._followed.pop(future, None)
        if begun is None:
            return
        if error is None:
            self._telemetry.guard.call("send", None, self._acknowledge, begun, result)
        else:
            self._telemetry.guard.call("send", None, begun.failed, error)

    def _acknowledge(self, begun: Send, result: Any) -> None:
        """End a send with the result of its future."""
        begun.acknowledged(result)


def _failure_of(future: Any) -> BaseException | None:
    """Return the exception of a future that is done, without marking it as retrieved: asyncio still reports it."""
    if future.cancelled():
        return CancelledError()
    error: Any = getattr(future, "_exception", _MISSING)
    if error is _MISSING:
        error = future.exception()
    return error if isinstance(error, BaseException) else None
