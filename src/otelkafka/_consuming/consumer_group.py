"""Processing in a block or a handler: `process()`, `process_batch()` and `wrap_handler()`."""

import copy
import inspect
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from contextvars import Token
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, TypeVar, overload

import wrapt
from opentelemetry.trace import Span

from otelkafka._consuming.dispatcher import PolledRecords, dispatcher_of
from otelkafka._consuming.open_span import OpenSpan, held, idle_span, open_spans
from otelkafka._consuming.process import ProcessOperation, ProcessOperations
from otelkafka._context.current import restored
from otelkafka._protocols import MessageBatch, Record, record_of, records_of
from otelkafka._telemetry import lifetime
from otelkafka._telemetry.guard import Guard
from otelkafka.options import ConsumerOptions, Options, for_consumer

Handler = TypeVar("Handler", bound=Callable[..., Any])


def process(record: Record, options: Options | None = None) -> "ProcessBlock":
    """Make a process span for a record, where the wrapped consumer cannot be reached, for example in another thread.

    otelkafka finds the consumer that returned the record, if it is traced and was not garbage collected. If several
    consumers returned it, the last of them is used. The span and its metrics have the group, the client and the wait
    that this consumer knows.

    Args:
        record: a consumed record, or a copy of one.
        options: `ConsumerOptions`, or `Options`; None for those of that consumer, else the defaults.

    Returns:
        A context manager that yields the span, makes it current and records the exception of its body. If a span of
        the record is open already, it yields that span, records the exception on it and ends it.

    Raises:
        TypeError: `record` is not a consumed record, or `options` are not those of a consumer.
    """
    return process_block(AnyConsumer(options), record)


def process_batch(
    records: Collection[Record] | Mapping[Any, Sequence[Record]], options: Options | None = None
) -> "ProcessBlock":
    """Make one process span for a batch of records, where the wrapped consumer cannot be reached.

    otelkafka finds the consumer as `process()` does. It is the consumer that returned the last record of the batch.

    Args:
        records: consumed records, or what `poll()` returned; an empty batch gets no span.
        options: `ConsumerOptions`, or `Options`; None for those of that consumer, else the defaults.

    Returns:
        A context manager that yields the span, makes it current and records the exception of its body. After that,
        an iteration of the lists that `poll()` returned makes no spans.

    Raises:
        TypeError: `records` contains something that is not a consumed record, or `options` are not those of a consumer.
    """
    return process_batch_block(AnyConsumer(options), records)


@overload
def wrap_handler(handler: Handler, options: Options | None = None) -> Handler: ...


@overload
def wrap_handler(handler: None = None, options: Options | None = None) -> Callable[[Handler], Handler]: ...


def wrap_handler(handler: Any = None, options: Options | None = None) -> Any:
    """Wrap a handler, so that it runs inside a process span, which records its exception.

    otelkafka finds the consumer at each call, as `process()` and `process_batch()` do.

    Args:
        handler: a function or method, sync or async. One of its arguments must be a record, a list of records, or
            what `poll()` returned. The span of an async function ends when it was awaited to its end; the span of a
            plain function that returns an awaitable ends when it returns. None: return a decorator, for
            `@wrap_handler(options=...)`.
        options: `ConsumerOptions`, or `Options`; None for those of the consumer, else the defaults.

    Returns:
        A callable that takes the handler's arguments, returns its result and raises its exceptions. It has the name
        and the signature of the handler, and can be inspected, copied and pickled like the handler. Without a
        handler: a decorator that returns such a callable.

    Raises:
        TypeError: `handler` cannot be called, or `options` are not those of a consumer.
    """
    consumer = AnyConsumer(options)
    if handler is None:
        return lambda decorated: wrap_handler(decorated, options)
    if isinstance(handler, _TracedHandler) or isinstance(getattr(handler, "_self_parent", None), _TracedHandler):
        handler = handler.__wrapped__
    if not callable(handler) and not isinstance(handler, staticmethod | classmethod):
        msg = f"wrap_handler({type(handler).__name__}): give a function or method that takes a record or a list of them"
        raise TypeError(msg)

    def call(wrapped: Callable[..., Any], _: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        block = consumer.guard.call("wrap_handler", None, _block_for_arguments, consumer, args, kwargs)
        if block is None:
            return wrapped(*args, **kwargs)
        if _is_async(wrapped):
            return _await_inside(block, wrapped, args, kwargs)
        with block:
            return wrapped(*args, **kwargs)

    return _TracedHandler(handler, call, options)


class ProcessBlock:
    """A context manager around the processing of a record or a batch; yields its span.

    Args:
        open_span: opens it.
        find_open: finds the span that is open for the record already: the block joins it.
    """

    __slots__ = ("_entered", "_find_open", "_open_span")

    def __init__(self, open_span: Callable[[], OpenSpan], find_open: Callable[[], OpenSpan | None]) -> None:
        self._open_span = open_span
        self._find_open = find_open
        self._entered: list[_Entered] = []

    def __enter__(self) -> Span:
        """Open the span, make it current and return it."""
        if lifetime.waiting:
            lifetime.finish_waiting()
        restored()
        found = self._find_open()
        opened = found or self._open_span()
        is_first = not opened.is_held
        opened.is_held = True
        mark = None if found is None else held.set((*held.get(), opened))
        self._entered.append(_Entered(opened, is_first, mark))
        return opened.span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the span, with the error if there is one, which goes on."""
        opened, is_first, mark = self._entered.pop()
        if mark is not None:
            with suppress(ValueError):  # left in another contextvars.Context than the one it was entered in
                held.reset(mark)
        failure = None if isinstance(error, GeneratorExit) else error
        if is_first:
            opened.is_held = False
            opened.close(failure)
        elif failure is not None:
            opened.fail(failure)
        restored()


class _Entered(NamedTuple):
    """One entry of a block. A block can be entered again inside itself.

    Args:
        opened: the span.
        is_first: whether it is the outermost block around it, which ends it.
        mark: removes the span from `held`; None if it is not in `held`.
    """

    opened: OpenSpan
    is_first: bool
    mark: Token[tuple[OpenSpan, ...]] | None


class Opens(Protocol):
    """Opens the process spans of records."""

    def open(self, record: Any) -> OpenSpan:
        """Start the process span of a record, and make it current."""

    def open_batch(self, records: Sequence[Any], given: object) -> OpenSpan:
        """Start the process span of a batch, and make it current."""


class AnyConsumer:
    """Opens process spans for records of any consumer, with the operation of the consumer that returned them, if known.

    Args:
        options: the options of the calls; None for those of that consumer.

    Raises:
        TypeError: `options` are not those of a consumer.
    """

    def __init__(self, options: Options | None) -> None:
        self._options = None if options is None else for_consumer(options)
        self._unknown = _of_unknown_consumers.under(self._options or _DEFAULTS)

    @property
    def guard(self) -> Guard:
        """The guard of calls without a consumer."""
        return self._unknown.telemetry.guard

    def open(self, record: Any) -> OpenSpan:
        """Start the process span of a record, and make it current."""
        return self._operation_of(record).open(record)

    def open_batch(self, records: Sequence[Any], given: object) -> OpenSpan:
        """Start the process span of a batch, and make it current."""
        operation = self._operation_of(records[-1]) if records else self._unknown
        return operation.open_batch(records, given)

    def _operation_of(self, record: Any) -> ProcessOperation:
        return self.guard.call("process", self._unknown, self._find, record)

    def _find(self, record: Any) -> ProcessOperation:
        dispatcher = dispatcher_of(record)
        if dispatcher is None:
            return self._unknown
        if self._options is None:
            return dispatcher.process
        return dispatcher.operations.under(self._options, self.guard.logged)


_DEFAULTS: Final = ConsumerOptions()
_of_unknown_consumers: Final = ProcessOperations()


def process_block(operation: Opens, record: Record) -> ProcessBlock:
    """Return what `process()` returns, with the operation of a consumer that is known."""
    found = record_of(record)
    if found is None and record is not None:  # a message that is an error: nothing is processed
        return ProcessBlock(lambda: idle_span(record), lambda: None)
    if not _is_record(found):
        msg = f"process({type(record).__name__}): give one record as the consumer handed it over"
        raise TypeError(msg)
    return ProcessBlock(lambda: operation.open(found), lambda: _open_span_of_record(found))


def process_batch_block(operation: Opens, records: Any) -> ProcessBlock:
    """Return what `process_batch()` returns, with the operation of a consumer that is known."""
    # A generator is refused: to check its records would leave none for the body.
    batch = _flat(records) if isinstance(records, Collection) else None
    if batch is None or not (type(batch) is MessageBatch or all(map(_is_record, batch))):
        msg = f"process_batch({type(records).__name__}): give a list of records, or what poll() returned"
        raise TypeError(msg)
    return ProcessBlock(lambda: _open_batch(operation, batch, records), lambda: _open_span_of_batch(records))


def _open_batch(operation: Opens, batch: Sequence[Any], given: object) -> OpenSpan:
    """Open the span of a batch. If a loop has a span open for a record of the batch, end that span first."""
    for each in open_spans():
        if each.dispatcher is not None and not each.is_held and any(_is_same(each, record) for record in batch):
            each.dispatcher.end_here(each)
    return operation.open_batch(batch, given)


def _open_span_of_record(record: Record) -> OpenSpan | None:
    """Return the span that is open here for a record, also for a copy of it whose value was decoded, for example."""
    return next((each for each in open_spans() if _is_same(each, record)), None)


def _is_same(opened: OpenSpan, record: Record) -> bool:
    if opened.record is record:
        return True
    return opened.batch is None and opened.record is not None and _place_of(opened.record) == _place_of(record)


def _place_of(record: Any) -> tuple[Any, ...]:
    # Another cluster may have a topic of the same name.
    return record.topic, record.partition, record.offset, record.timestamp


def _open_span_of_batch(records: object) -> OpenSpan | None:
    """Return the span that is open in this context for this batch object; an equal batch does not count."""
    return next((each for each in open_spans() if each.record is records), None)


class _BoundHandler(wrapt.BoundFunctionWrapper):  # type: ignore[misc,type-arg,unused-ignore]
    """A wrapped method, bound to a class or an instance."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return the instance or class, and the name of the method on it, as methods do."""
        method = self.__wrapped__
        if inspect.ismethod(method):
            return method.__reduce_ex__(protocol)
        owner, name = _place_by_name(method)
        if getattr(getattr(owner, name, None), "_self_parent", None) is self._self_parent:
            return getattr, (owner, name)
        return wrap_handler, (method, self._self_parent._self_options)

    def __copy__(self) -> Any:
        """Return itself: a function is not copied, and a method remains that of its instance."""
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        """Return itself, or the method of a copy of its instance."""
        method = self.__wrapped__
        if not inspect.ismethod(method):
            return self
        of = copy.deepcopy(method.__self__, memo)
        return self if of is method.__self__ else self._self_parent.__get__(of, type(of))


class _TracedHandler(wrapt.FunctionWrapper):  # type: ignore[misc,type-arg,unused-ignore]
    """A handler that was wrapped, to be recognized when it is wrapped again.

    Args:
        handler: what was wrapped.
        call: calls it inside a span.
        options: as they were given.
    """

    __bound_function_wrapper__ = _BoundHandler

    def __init__(self, handler: Any, call: Callable[..., Any], options: Options | None) -> None:
        super().__init__(handler, call)
        self._self_options = options

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return its name, if pickle finds it by that name, as functions do; else the arguments to make it again."""
        owner, name = _place_by_name(self.__wrapped__)
        if getattr(owner, name, None) is self:
            return self.__wrapped__.__qualname__
        return wrap_handler, (self.__wrapped__, self._self_options)

    def __copy__(self) -> Any:
        """Return itself where the handler is not copied either, as a function; else a copy of it, wrapped."""
        return self._around(copy.copy(self.__wrapped__))

    def __deepcopy__(self, memo: Any) -> Any:
        """Return itself where the handler is not copied either, as a function; else a copy of it, wrapped."""
        return self._around(copy.deepcopy(self.__wrapped__, memo))

    def _around(self, copied: Any) -> Any:
        return self if copied is self.__wrapped__ else wrap_handler(copied, self._self_options)


def _place_by_name(function: Any) -> tuple[object, str]:
    """Return the module or class that holds a function by its `__qualname__`, and the function's name there."""
    path = getattr(function, "__qualname__", None)
    owner: object = sys.modules.get(getattr(function, "__module__", None) or "")
    *outer, name = path.split(".") if isinstance(path, str) else [""]
    for each in outer:
        owner = getattr(owner, each, None)
    return owner, name


async def _await_inside(block: ProcessBlock, handler: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    with block:
        return await handler(*args, **kwargs)


def _is_async(handler: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


def _block_for_arguments(operation: Opens, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ProcessBlock | None:
    for argument in (*args, *kwargs.values()):
        if _is_record(record_of(argument)):
            return process_block(operation, argument)
        if _is_batch(argument):
            return process_batch_block(operation, argument)
    return None


_TIMES: Final = (int, float, type(None))


def _is_record(value: Any) -> bool:
    """Return whether a value is a record. Types are checked, because a mock has every attribute."""
    try:
        return (
            isinstance(getattr(value, "topic", None), str)
            and isinstance(value.partition, int)
            and isinstance(value.offset, int)
            and isinstance(value.timestamp, _TIMES)
            and hasattr(value, "headers")
        )
    except Exception:  # noqa: BLE001 (an argument of a handler may be anything, a proxy of what is not there for example)
        return False


def _is_batch(value: object) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(map(_is_batch, value.values()))
    if not isinstance(value, list | tuple) or not value:
        return False
    records = records_of(list(value[:]))
    return bool(records) and (type(records) is MessageBatch or all(map(_is_record, records)))


def _flat(records: Collection[Any]) -> Sequence[Any]:
    if isinstance(records, Mapping):
        return [record for each in records.values() for record in _flat(each)]
    if isinstance(records, PolledRecords):
        records.take_dispatch()
        if records.batch is not None:
            return records.batch
    return records_of(list(records))
