"""The producer of confluent-kafka, wrapped or patched: each call of it, between the engine's begin and end."""

import inspect
import sys
from contextlib import suppress
from functools import update_wrapper
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaError, KafkaException

from otelkafka._clients.calls import Args, Call, KwArgs, bare, traced_methods, traces
from otelkafka._clients.confluent_kafka.facts import (
    ProducerFacts,
    Signature,
    configuration_of,
    plain_headers,
    positions_of,
    signature_of,
)
from otelkafka._clients.producer_face import UNKNOWN, CalledProducerFace, HeadersArgument, ProduceHook, ShownArguments
from otelkafka._clients.proxy import ClosedClient, Wrappers, check_client
from otelkafka._context.current import attach, reset
from otelkafka._producing.batch import Batch, Batches
from otelkafka._producing.send import BareSend, Send
from otelkafka._protocols import MessageRecord
from otelkafka._telemetry import lifetime
from otelkafka._telemetry.guard import Guard, warn
from otelkafka.options import ProducerOptions

_NAMES: Final = ("topic", "value", "key", "partition", "callback", "on_delivery", "timestamp", "headers")
_PRODUCE: Final = Signature(_NAMES, frozenset(_NAMES))
_BATCH_NAMES: Final = ("topic", "messages", "partition", "callback", "on_delivery")
_CALLBACKS: Final = ("callback", "on_delivery")
_HEADERS: Final = HeadersArgument(len(_NAMES) + 1)  # by name, for the hook
_LAST_REFERENCES: Final = 2
"""How many references there are to an object that only its wrapper has: the wrapper's, and that of the question."""
_warned: Final[set[str]] = set()


def wrap_producer(producer: Any, options: ProducerOptions) -> Any:
    """Trace sends of a producer of confluent-kafka, or of anything with its `produce()`."""
    check_client("wrap_producer", producer, "Producer", "produce")
    if inspect.iscoroutinefunction(producer.produce):
        return import_module("otelkafka._clients.confluent_kafka.aio").wrap_producer(producer, options)
    return _wrappers.of(type(producer))(producer, options, ConfluentProducerFace(producer, options))


if TYPE_CHECKING:
    from confluent_kafka import Producer as _Client
else:
    _Client = object


class TracedConfluentProducer(ClosedClient, _Client):  # type: ignore[misc]
    """A `Producer` of confluent-kafka that traces its sends. `wrap_producer` makes it."""

    def __init__(self, producer: Any, options: ProducerOptions, face: "ConfluentProducerFace") -> None:
        super().__init__(producer, options, wrap_producer, face)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the producer. Calls of transactions are traced."""
        found = getattr(self.__wrapped__, name)
        if name not in _OTHER_CALLS:
            return found
        producer, method = self.__wrapped__, getattr(self._self_face, name)
        return update_wrapper(lambda *args, **kwargs: method(bare(producer, name), args, kwargs), found)

    def __del__(self) -> None:
        """End the sends of a producer that is dropped with its wrapper. librdkafka will not report them."""
        with suppress(Exception):  # at the end of the interpreter anything may be gone
            if sys.getrefcount(self.__wrapped__) <= _LAST_REFERENCES:
                lifetime.finish(self._self_face.end)

    def produce(self, *args: Any, **kwargs: Any) -> Any:
        """Send a record inside a span, as `Producer.produce` does. Its delivery report ends the span."""
        return self._self_face.produce(bare(self.__wrapped__, "produce"), args, kwargs)


class Delivery:
    """The callback for the delivery report of one record; librdkafka calls it from `poll()` and `flush()`.

    Another thread may get the report before `produce()` returns here. The later of the two ends the send.

    Args:
        guard: contains what fails.
        callback: the user's; None for none.
        begun: the send.
    """

    __slots__ = ("_begun", "_callback", "_guard", "_outcome", "is_awaited")

    def __init__(self, guard: Guard, callback: Any, begun: Send) -> None:
        self._guard = guard
        self._callback = callback
        self._begun = begun
        self._outcome: Any = None
        self.is_awaited = False

    def __call__(self, error: Any, message: Any) -> Any:
        """End the send, and call the user's callback outside of its span, with the arguments that librdkafka gives."""
        try:
            self._guard.call("send", None, self._note, error, message)
        finally:
            if self._callback is not None:
                self._callback(error, message)

    def _note(self, error: Any, message: Any) -> None:
        self._outcome = MessageRecord(message) if error is None else KafkaException(error)
        if self.is_awaited:
            self._end()

    def wait(self) -> None:
        """Wait for the report, which may have come already."""
        self.is_awaited = True
        if self._outcome is not None:
            self._end()

    def _end(self) -> None:
        outcome, begun = self._outcome, self._begun
        if isinstance(outcome, MessageRecord):
            begun.acknowledged(outcome)
        else:
            begun.failed(outcome)


class BatchDelivery:
    """The callback for the delivery reports of the records of a batch.

    Args:
        guard: contains what fails.
        callback: the user's for all of them; None for none.
        begun: the send of the batch.
    """

    def __init__(self, guard: Guard, callback: Any, begun: Send) -> None:
        self._guard = guard
        self._callback = callback
        self._begun = begun
        self._reports: list[Any] = []  # what any thread appends is never lost
        self._count: int | None = None
        self._refused: KafkaException | None = None

    def __call__(self, error: Any, message: Any) -> Any:
        """Note the report of a record, and call the user's callback as it is called without us."""
        self.report(error, message, self._callback)

    def on(self, message: Any) -> Any:
        """Return a record of the batch. If it has its own callback, its report comes here, too."""
        callback = message.get("callback") if isinstance(message, dict) else None
        if callback is None:
            return message
        return {**message, "callback": lambda error, delivered: self.report(error, delivered, callback)}

    def report(self, error: Any, message: Any, callback: Any) -> None:
        """Note the report of a record, and call its callback."""
        try:
            self._guard.call("send", None, self._note, error, message)
        finally:
            if callback is not None:
                callback(error, message)

    def expect(self, count: int, refused: KafkaException | None) -> None:
        """Wait for so many reports, which may have come already; the error of a record that was refused, if any."""
        self._refused = refused
        self._count = count
        self._end_with_last()

    def _note(self, error: Any, message: Any) -> None:
        self._reports.append(message.partition() if error is None else KafkaException(error))
        self._end_with_last()

    def _end_with_last(self) -> None:
        if self._count is None or len(self._reports) < self._count:
            return
        failure = self._refused or next((each for each in self._reports if isinstance(each, KafkaException)), None)
        if failure is None:
            self._begun.acknowledged(BatchAcknowledgement(set(self._reports)))
        else:
            self._begun.failed(failure)


class BatchAcknowledgement:
    """The broker's answers to the sends of a batch.

    Args:
        partitions: those that its records were written to.
    """

    offset = -1

    def __init__(self, partitions: set[int]) -> None:
        self.partition: Any = partitions.pop() if len(partitions) == 1 else None


class ConfluentProducerFace(CalledProducerFace):
    """The traced calls of one `Producer`.

    Each takes the producer's own method, bound, and the arguments; none of them is kept.

    Args:
        producer: whose configuration is read, where it has one.
        options: its options.
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
        self._facts = ProducerFacts(producer, configuration_of(producer, options.config))
        super().__init__(producer, self._facts, options, produce_hook)
        client_class = client_class or type(producer)
        signature = self._telemetry.guard.call("send", _PRODUCE, signature_of, client_class, "produce", _PRODUCE)
        self._names = signature.names
        self._takes_headers = signature.takes("headers")
        self._takes_callback = signature.takes("on_delivery")
        self._batches = Batches(self._contexts, options, self._transactions, producer)

    @traces("produce")
    def produce(self, produce: Call, args: Args, kwargs: KwArgs) -> Any:  # noqa: C901, PLR0912 (top to bottom)
        """Call `produce` inside a span, with headers that carry it, and a callback that ends it.

        What it raises passes through unchanged. A record that only our header made too large is sent once more as the
        caller gave it, so that its serializers run again.
        """
        if len(args) > len(self._names):  # for `produce()` to refuse
            return produce(*args, **kwargs)
        given = {**dict(zip(self._names, args, strict=False)), **kwargs} if args else kwargs
        begun: Any = UNKNOWN
        try:  # noqa: SIM105 (once a record: it costs less)
            begun = self._begin(**given)
        except TypeError:  # arguments that `produce()` refuses, or that only a subclass of the producer knows
            pass
        if begun is UNKNOWN:  # out here, so that a hook has no error of ours around it
            begun = self._begin_with_known(given)
        if begun is None:
            return produce(*args, **kwargs)
        headers, delivery, token, is_too_large = begun.headers, None, None, False
        try:
            try:
                token = attach(begun.context)
                if self._produce_hook is not None and begun.destination.traced:
                    args, kwargs, headers = self._call_hook(self._produce_hook, begun, args, kwargs)
                if begun.is_followed:
                    delivery = self._make_delivery(begun, given)
                result = self._call(produce, args, kwargs, headers, delivery)
            except KafkaException as error:
                if headers is None or _code_of(error) != KafkaError.MSG_SIZE_TOO_LARGE:
                    raise
                is_too_large = True
            if is_too_large:
                result = self._call(produce, args, kwargs, None, delivery)
                begun.sent_without_context()
        except BaseException as error:
            begun.refused(error)
            raise
        finally:
            if token is None:
                attach(begun.outside)
            else:
                reset(token)
        if not begun.is_followed:
            begun.context = None  # it holds the span, which holds it
        elif delivery is None:
            self._telemetry.guard.call("send", None, begun.failed, None)
        else:
            self._telemetry.guard.call("send", None, _wait, begun, delivery)
        return result

    @traces("produce_batch")
    def produce_batch(self, produce_batch: Call, args: Args, kwargs: KwArgs) -> Any:
        """Call `produce_batch` inside one span, which ends with the last of its delivery reports.

        confluent-kafka takes no headers there, so that the records carry no context.
        """
        given = {**dict(zip(_BATCH_NAMES, args, strict=False)), **kwargs}
        messages, partition = given.get("messages"), given.get("partition")
        if not isinstance(messages, list) or not messages or len(args) > len(_BATCH_NAMES):
            return produce_batch(*args, **kwargs)
        begun = self._batches.begin_batch(Batch(), given.get("topic"), _partition_of(partition), len(messages))
        if begun is None:
            return produce_batch(*args, **kwargs)
        user = next((given[name] for name in _CALLBACKS if given.get(name) is not None), self._facts.delivered)
        delivery = None if self._hides_deliveries(user) else BatchDelivery(self._telemetry.guard, user, begun)
        token = attach(begun.context)
        try:
            if delivery is not None:
                given = {**given, "messages": [delivery.on(message) for message in messages], "on_delivery": delivery}
                given.pop("callback", None)
                count = produce_batch(**given)
                _copy_errors(given["messages"], messages)
            else:
                count = produce_batch(*args, **kwargs)
        except BaseException as error:
            begun.refused(error)
            raise
        finally:
            reset(token)
        self._telemetry.guard.call("send", None, self._wait_for_batch, begun, delivery, messages, count)
        return count

    def _wait_for_batch(self, begun: Send, delivery: BatchDelivery | None, messages: list[Any], count: Any) -> None:
        """Wait for the reports of the records that the client accepted: `produce_batch()` returns their number."""
        refused = None
        if isinstance(count, int) and count < len(messages):
            refused = next((KafkaException(each["_error"]) for each in messages if "_error" in each), None)
            if count == 0 and refused is not None:
                begun.refused(refused)
                return
            self._batches.note_taken(begun, count)
        if delivery is None or not isinstance(count, int):
            begun.failed(refused)
        elif begun.returned():
            delivery.expect(count, refused)

    @traces("close")
    def close(self, close: Call, args: Args, kwargs: KwArgs) -> Any:
        """Close the producer, then end the spans that are still open, also where closing raises."""
        try:
            return close(*args, **kwargs)
        finally:
            lifetime.finish(self.end)

    @traces("__exit__")
    def leave(self, leave: Call, args: Args, kwargs: KwArgs) -> Any:
        """Leave the producer's own `with`, which closes it, then end the spans that are still open."""
        return self.close(leave, args, kwargs)

    def _begin(
        self,
        topic: Any,
        value: Any = None,
        key: Any = None,
        partition: Any = -1,
        callback: Any = None,  # noqa: ARG002 (the arguments of `produce()`)
        on_delivery: Any = None,  # noqa: ARG002
        timestamp: Any = 0,
        headers: Any = None,
    ) -> BareSend | Send | None:
        """Begin a send with the arguments by confluent-kafka's names."""
        headers = None if headers is None else plain_headers(headers)
        partition = None if partition == -1 else partition
        return self._sends.begin(topic, value, key, headers, partition, timestamp or None)

    def _begin_with_known(self, given: KwArgs) -> BareSend | Send | None:
        """Begin a send with those arguments that every producer knows; None where `produce()` will refuse them."""
        try:
            return self._begin(**{name: given[name] for name in _NAMES if name in given})
        except TypeError:
            return None

    def _call(self, produce: Call, args: Args, kwargs: KwArgs, headers: Any, delivery: Delivery | None) -> Any:
        """Call `produce` with headers and a callback instead of the caller's, if they are given."""
        if headers is not None and self._takes_headers:
            args, kwargs = self._replaced("headers", headers, args, kwargs)
        if delivery is not None:
            name = "callback" if "callback" in kwargs else "on_delivery"
            args, kwargs = self._replaced(name, delivery, args, kwargs)
        return produce(*args, **kwargs)

    def _replaced(self, name: str, value: Any, args: Args, kwargs: KwArgs) -> tuple[Args, KwArgs]:
        """Return arguments of `produce()` with one of them replaced, which is then given by its name."""
        names = self._names
        at = names.index(name) if name in names else len(args)
        if name == "on_delivery" and "callback" in names:
            at = min(at, names.index("callback"))
        if len(args) > at:
            rest = dict(zip(names[at:], args[at:], strict=False))
            args, kwargs = args[:at], {**rest, **kwargs}
        if name == "on_delivery" and "callback" in kwargs:
            name = "callback"
        return args, {**kwargs, name: value}

    def _make_delivery(self, begun: Any, given: KwArgs) -> Delivery | None:
        """Return the callback for a delivery report; None if it would replace a callback that is not known."""
        user = given.get("callback")
        if user is None:
            user = given.get("on_delivery")
        if user is None:
            user = self._facts.delivered
        return None if self._hides_deliveries(user) else Delivery(self._telemetry.guard, user, begun)

    def _hides_deliveries(self, user: Any) -> bool:
        facts = self._facts
        if facts.only_errors or not self._takes_callback:
            return True
        if user is not None or not facts.hides_deliveries:
            return False
        warn_once(
            "a producer of confluent-kafka was wrapped that may have a callback of its own for delivery reports: its "
            "sends are not followed, so that their spans end with produce(). Give wrap_producer() the options "
            "ProducerOptions(config=...) with its configuration, or use zero code."
        )
        return True

    def _call_hook(
        self, hook: ProduceHook, begun: BareSend | Send, args: Args, kwargs: KwArgs
    ) -> tuple[Args, KwArgs, Any]:
        """Call the hook with the arguments, headers by their name, and return them as it leaves them."""
        given = {**dict(zip(self._names, args, strict=False)), **kwargs}.get("headers")
        if given is not None:
            args, kwargs = self._replaced("headers", plain_headers(given), args, kwargs)
        shown = ShownArguments(_HEADERS, self._facts, begun, args, kwargs)
        self._telemetry.guard.call("produce_hook", None, hook, begun.span, shown.args, shown.kwargs)
        args, kwargs, headers = shown.left(self._telemetry.guard)
        if not self._takes_headers:
            kwargs.pop("headers", None)
        return args, kwargs, headers


def _missing_close(client_class: type) -> dict[str, Any]:
    """Return the `close()` of a class that has none: old releases of producers."""
    return {} if hasattr(client_class, "close") else {"close": property(lambda traced: traced.__wrapped__.close)}


_wrappers = Wrappers(
    TracedConfluentProducer, ConfluentProducerFace, _missing_close, instrumentor="ConfluentKafkaInstrumentor"
)

_OTHER_CALLS = traced_methods(ConfluentProducerFace).keys() - set(dir(TracedConfluentProducer))
"""What the wrapper traces only where this release of the producer has it."""


def warn_once(message: str) -> None:
    """Log a warning once for each message."""
    if message not in _warned:
        _warned.add(message)
        warn(message)


def _wait(begun: Send, delivery: Delivery) -> None:
    if begun.returned():
        delivery.wait()


def _copy_errors(sent: list[Any], given: list[Any]) -> None:
    """Copy the errors that `produce_batch()` wrote into our dicts to the caller's dicts."""
    for ours, theirs in zip(sent, given, strict=True):
        if ours is not theirs and "_error" in ours:
            theirs["_error"] = ours["_error"]


def _partition_of(partition: Any) -> int | None:
    return partition if isinstance(partition, int) and partition >= 0 else None


def _code_of(error: KafkaException) -> Any:
    return error.args[0].code() if error.args and isinstance(error.args[0], KafkaError) else None
