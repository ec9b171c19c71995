"""The producer of kafka-python, wrapped or patched. Client calls are here, between the engine's begin and end."""

from functools import update_wrapper
from typing import TYPE_CHECKING, Any

from kafka.errors import MessageSizeTooLargeError

from otelkafka._clients.calls import Args, Call, KwArgs, bare, traced_methods, traces
from otelkafka._clients.kafka_python.facts import KafkaPythonClient, batch_index
from otelkafka._clients.producer_face import UNKNOWN, CalledProducerFace, HeadersArgument, ProduceHook, ShownArguments
from otelkafka._clients.proxy import ClosedClient, Wrappers, check_client
from otelkafka._context.current import attach, is_variable, reset
from otelkafka._producing.send import Message
from otelkafka._telemetry import lifetime
from otelkafka.options import ProducerOptions

_POSITION = Message._fields.index("headers")
_HEADERS = HeadersArgument(_POSITION)


def wrap_producer(producer: Any, options: ProducerOptions) -> "TracedProducer":
    """Trace sends of a producer of kafka-python, or of anything with its `send()`."""
    check_client("wrap_producer", producer, "KafkaProducer", "send")
    return _wrappers.of(type(producer))(producer, options, ProducerFace(producer, options))


if TYPE_CHECKING:
    from kafka import KafkaProducer as _Client
else:
    _Client = object


class TracedProducer(ClosedClient, _Client):  # type: ignore[misc]
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


class ProducerFace(CalledProducerFace):
    """The traced calls of one `KafkaProducer`.

    Each takes the producer's own method, bound, and the arguments; none of them is kept.

    Args:
        producer: whose configuration is read.
        options: its options.
        produce_hook: called with the span and the arguments of `send()` before it is called.
    """

    def __init__(self, producer: object, options: ProducerOptions, produce_hook: ProduceHook | None = None) -> None:
        super().__init__(producer, KafkaPythonClient(producer), options, produce_hook)

    @traces("send")
    def send(self, send: Call, args: Args, kwargs: KwArgs) -> Any:  # noqa: C901, PLR0912, PLR0915 (top to bottom)
        """Call `send` inside a span, with headers that carry it.

        What `send` returns and raises passes through unchanged. A record that only our header made too large is sent
        once more as the caller gave it, so that its serializers run again.
        """
        token = None
        begun: Any = UNKNOWN
        try:  # noqa: SIM105 (once a record: it costs less)
            begun = self._sends.begin(*args, **kwargs)
        except TypeError:  # arguments that `send()` refuses, or that only a subclass of the producer knows
            pass
        if begun is UNKNOWN:  # out here, so that a hook has no error of ours around it
            begun = self._begin_known(args, kwargs)
        if begun is None:
            return send(*args, **kwargs)
        headers, is_refused, is_too_large = begun.headers, False, False
        try:
            try:
                token = attach(begun.context)
                if self._produce_hook is not None and begun.destination.traced:
                    shown = ShownArguments(_HEADERS, self._telemetry.client, begun, args, kwargs)
                    self._telemetry.guard.call(
                        "produce_hook", None, self._produce_hook, begun.span, shown.args, shown.kwargs
                    )
                    args, kwargs, headers = shown.left(self._telemetry.guard)
                if headers is None:
                    future = send(*args, **kwargs)
                elif len(args) > _POSITION or "headers" in kwargs:
                    future = _HEADERS.call_with(headers, send, args, kwargs)
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
            try:
                if begun.returned():
                    future.add_callback(begun.acknowledged)
                    future.add_errback(begun.failed)
            except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
                begun.failed(None)
                self._telemetry.guard.contain("send", error)
        else:
            begun.context = None  # it holds the span, which holds it
        return future

    @traces("close")
    def close(self, close: Call, args: Args, kwargs: KwArgs) -> Any:
        """Close the producer, and then end the spans that are open, also if closing raises."""
        try:
            return close(*args, **kwargs)
        finally:
            lifetime.finish(self.end)  # the client's own finalizer calls close(), too


_wrappers = Wrappers(TracedProducer, ProducerFace)

_TRANSACTION_CALLS = traced_methods(ProducerFace).keys() - set(dir(TracedProducer))
"""Methods that the wrapper traces if this release of the producer has them."""


def _is_refused(future: Any) -> bool:
    """Return whether the client refused the record of a future, for example because it has no metadata of the topic.

    Releases before 3.0 refuse a record that is too large in this way. A record that a broker refused was in a batch.
    """
    if getattr(future, "is_done", False) is not True or getattr(future, "exception", None) is None:
        return False
    index = batch_index(future)
    return index is None or index < 0
