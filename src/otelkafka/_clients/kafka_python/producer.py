"""The producer of kafka-python, wrapped or patched. Client calls are here, between the engine's begin and end."""

from collections.abc import Callable
from functools import update_wrapper
from typing import TYPE_CHECKING, Any

from kafka.errors import MessageSizeTooLargeError
from opentelemetry.trace import Span

from otelkafka._clients.calls import Args, Call, KwArgs, bare, call_inside, traced_methods, traces
from otelkafka._clients.kafka_python.facts import KafkaPythonClient, batch_index
from otelkafka._clients.proxy import TracedClient, Wrappers, check_client
from otelkafka._context.current import attach, is_variable, reset
from otelkafka._context.propagation import Contexts
from otelkafka._producing import transactions
from otelkafka._producing.send import Message, Send, Sends
from otelkafka._producing.transactions import Kind, Transactions
from otelkafka._telemetry import lifetime
from otelkafka._telemetry.telemetry import Telemetry
from otelkafka.headers import Headers, are_sendable
from otelkafka.options import Options, ProducerOptions, for_producer

_HEADERS = Message._fields.index("headers")
"""Their position among the arguments of `send()`."""
_OFFSETS = "offsets"
_UNKNOWN: Any = object()

ProduceHook = Callable[[Span, Any, Any], None]


def wrap_producer(producer: Any, options: Options | None = None) -> "TracedProducer":
    """Trace the sends of a producer.

    Args:
        producer: a `KafkaProducer`, or an object with its `send()`. A wrapped one is not wrapped twice.
        options: `ProducerOptions` or `Options`. None for the defaults.

    Returns:
        A proxy that is used as the producer itself, and passes `isinstance`.

    Raises:
        TypeError: `producer` is not a producer, or is one of another library; or `options` are not for producers.
    """
    checked = for_producer(options)
    if isinstance(producer, TracedProducer):
        producer = producer.__wrapped__
    check_client("wrap_producer", producer, "KafkaProducer", "send")
    return _wrappers.of(type(producer))(producer, checked, ProducerFace(producer, checked))


if TYPE_CHECKING:
    from kafka import KafkaProducer as _Client
else:
    _Client = object


class TracedProducer(TracedClient, _Client):  # type: ignore[misc]
    """A `KafkaProducer` that traces its sends. `wrap_producer` makes it."""

    def __init__(self, producer: Any, options: ProducerOptions, face: "ProducerFace") -> None:
        super().__init__(producer, options, wrap_producer, face)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the producer. Methods of transactions, which old releases lack, are traced."""
        found = getattr(self.__wrapped__, name)
        if name not in _TRANSACTION_CALLS:
            return found
        producer, method = self.__wrapped__, getattr(self._self_face, name)
        return update_wrapper(lambda *args, **kwargs: method(bare(producer, name), args, kwargs), found)

    def send(self, *args: Any, **kwargs: Any) -> Any:
        """Send a record, as `KafkaProducer.send` does, and return its future. The acknowledgement ends the span."""
        return self._self_face.send(bare(self.__wrapped__, "send"), args, kwargs)


class ProducerFace:
    """The traced calls of one `KafkaProducer`.

    Each takes the producer's own method, bound, and the arguments; none of them is kept.

    Args:
        producer: whose configuration is read.
        options: its options.
        produce_hook: called with the span and the arguments of `send()` before it is called.
    """

    def __init__(
        self,
        producer: object,
        options: ProducerOptions,
        produce_hook: ProduceHook | None = None,
    ) -> None:
        self._telemetry = Telemetry(options, KafkaPythonClient(producer))
        self._transactions = Transactions(self._telemetry)
        self._sends = Sends(Contexts(self._telemetry), options, self._transactions, producer)
        self._produce_hook = produce_hook

    @traces("send")
    def send(self, send: Call, args: Args, kwargs: KwArgs) -> Any:  # noqa: C901, PLR0912 (top to bottom)
        """Call `send` inside a span, with headers that carry it.

        What `send` returns and raises passes through unchanged. A record that only our header made too large is sent
        once more as the caller gave it, so that its serializers run again.
        """
        begun: Any = _UNKNOWN
        token = None
        try:  # noqa: SIM105 (once a record: it costs less)
            begun = self._sends.begin(*args, **kwargs)
        except TypeError:  # arguments that `send()` refuses, or that only a subclass of the producer knows
            pass
        if begun is _UNKNOWN:
            begun = self._begin_known(args, kwargs)
        if begun is None:
            return send(*args, **kwargs)
        headers, is_refused, is_too_large = begun.headers, False, False
        try:
            try:
                token = attach(begun.context)
                if self._produce_hook is not None and begun.destination.traced:
                    args, kwargs, headers = self._call_hook(self._produce_hook, begun, args, kwargs)
                if headers is None:
                    future = send(*args, **kwargs)
                elif len(args) > _HEADERS or "headers" in kwargs:
                    future = _send_with(headers, send, args, kwargs)
                else:
                    future = send(*args, headers=headers, **kwargs)
                if getattr(future, "is_done", False) is True and _is_refused(future):
                    is_refused = True
                    is_too_large = headers is not None and isinstance(future.exception, MessageSizeTooLargeError)
            except MessageSizeTooLargeError:
                if headers is None:
                    raise
                is_too_large = True
            if is_too_large:
                future = send(*args, **kwargs)
                is_refused = _is_refused(future)
                if not is_refused:
                    begun.sent_without_context()
        except BaseException as error:
            begun.refused(error)
            raise
        finally:
            if is_variable or token is None:
                attach(begun.outside)
            else:
                reset(token)
        if is_refused:
            begun.refused(future.exception)
        elif begun.is_followed:
            self._telemetry.guard.call("send", None, _follow, begun, future)
        return future

    @traces("close")
    def close(self, close: Call, args: Args, kwargs: KwArgs) -> Any:
        """Close the producer, and then end the spans that are open, also if closing raises."""
        try:
            return close(*args, **kwargs)
        finally:
            lifetime.finish(self.end)  # the client's own finalizer calls close(), too

    @traces("init_transactions")
    def init_transactions(self, call: Call, args: Args, kwargs: KwArgs) -> Any:
        """Initialize transactions. There is a span only if this fails."""
        return self._transact(transactions.INIT, call, args, kwargs)

    @traces("begin_transaction")
    def begin_transaction(self, call: Call, args: Args, kwargs: KwArgs) -> Any:
        """Begin a transaction. There is a span only if this fails."""
        return self._transact(transactions.BEGIN, call, args, kwargs)

    @traces("send_offsets_to_transaction")
    def send_offsets_to_transaction(self, call: Call, args: Args, kwargs: KwArgs) -> Any:
        """Send offsets to a transaction. Inside a span, this has a span."""
        return self._transact(transactions.SEND_OFFSETS, call, args, kwargs)

    @traces("commit_transaction")
    def commit_transaction(self, call: Call, args: Args, kwargs: KwArgs) -> Any:
        """Commit a transaction inside a span."""
        return self._transact(transactions.COMMIT, call, args, kwargs)

    @traces("abort_transaction")
    def abort_transaction(self, call: Call, args: Args, kwargs: KwArgs) -> Any:
        """Abort a transaction inside a span."""
        return self._transact(transactions.ABORT, call, args, kwargs)

    def end(self) -> None:
        """End every span that is open."""
        self._sends.end_all()

    def stop(self) -> None:
        """Stop tracing. Spans in flight end with their futures."""

    def _begin_known(self, args: Args, kwargs: KwArgs) -> Send | None:
        """Begin a send with the arguments that every producer knows. Return None if `send()` will refuse them."""
        try:
            message = Message(*args, **{name: kwargs[name] for name in kwargs if name in Message._fields})
        except TypeError:
            return None
        return self._sends.begin(*message)

    def _call_hook(
        self, hook: ProduceHook, begun: Send, args: Args, kwargs: KwArgs
    ) -> tuple[Args, KwArgs, Headers | None]:
        """Call the hook with the arguments as they are to be sent, and return them as it leaves them.

        Returns:
            The arguments, without our header in those that they have; the headers with it, None where there is none.
        """
        given = args[_HEADERS] if len(args) > _HEADERS else kwargs.get("headers")
        headers = begun.headers
        if headers is None and are_sendable(given):
            headers = given or []
        shown = given if headers is None else list(headers)
        args, kwargs = _replaced(args, kwargs, shown)
        self._telemetry.guard.call("produce_hook", None, hook, begun.span, args, kwargs)
        left = args[_HEADERS] if len(args) > _HEADERS else kwargs.get("headers")
        if headers is not None and not are_sendable(left):
            error = TypeError("left headers that cannot be sent: they must be a list of (str, bytes) tuples")
            self._telemetry.guard.contain("produce_hook", error)
            left = headers
        if begun.headers is None or left is None:
            return (*_replaced(args, kwargs, left or given), None)
        injected = [each for each in begun.headers if each not in (given or ())]
        return (*_replaced(args, kwargs, [each for each in left if each not in injected]), left)

    def _transact(self, kind: Kind, call: Call, args: Args, kwargs: KwArgs) -> Any:
        offsets = args[0] if args else kwargs.get(_OFFSETS)
        return call_inside(self._transactions.begin(kind, offsets), call, args, kwargs)


_wrappers = Wrappers(TracedProducer, ProducerFace)

_TRANSACTION_CALLS = traced_methods(ProducerFace).keys() - set(dir(TracedProducer))
"""Methods that the wrapper traces if this release of the producer has them."""


def _replaced(args: Args, kwargs: KwArgs, headers: Any) -> tuple[Args, KwArgs]:
    """Return the arguments of `send()` with these headers instead of the caller's."""
    if len(args) > _HEADERS:
        return (*args[:_HEADERS], headers, *args[_HEADERS + 1 :]), kwargs
    return args, {**kwargs, "headers": headers}


def _send_with(headers: Headers, send: Call, args: Args, kwargs: KwArgs) -> Any:
    """Call `send` with these headers instead of the caller's."""
    args, kwargs = _replaced(args, kwargs, headers)
    return send(*args, **kwargs)


def _is_refused(future: Any) -> bool:
    """Return whether the client itself refused the record, for want of the topic's metadata for example, by the future.

    Releases before 3.0 refuse one that is too large so. What a broker has refused, however soon, lay in a batch.
    """
    if getattr(future, "is_done", False) is not True or getattr(future, "exception", None) is None:
        return False
    index = batch_index(future)
    return index is None or index < 0


def _follow(begun: Send, future: Any) -> None:
    """End the send with its future."""
    if not begun.returned():
        return
    try:
        future.add_callback(begun.acknowledged)
        future.add_errback(begun.failed)
    except Exception:
        begun.failed(None)
        raise
