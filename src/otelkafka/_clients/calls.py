"""Calls of a client's own methods, without patches of otelkafka or of opentelemetry-instrumentation-kafka-python."""

import inspect
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import ContextVar
from types import FunctionType, MethodDescriptorType, MethodType
from typing import Any, Final, Protocol, TypeAlias, TypeVar

Call: TypeAlias = Callable[..., Any]
Args: TypeAlias = tuple[Any, ...]
KwArgs: TypeAlias = dict[str, Any]
Method = TypeVar("Method", bound=Call)

patched: Final[set[Call]] = set()
"""The functions that currently replace those of a class."""

_FETCH: Final = "fetch"
_OPERATIONS: Final = {
    **dict.fromkeys(("__iter__", "__next__", "poll", "consume", "__aiter__", "__anext__", "getone", "getmany"), _FETCH),
    "commit_async": "commit",
}
"""What several traced methods do; any other is an operation of its own."""
_CALLS_NOTHING: Final = frozenset(("send", "getone", "getmany"))
"""The methods that call no traced one, as the client library has them, and that are called for each record."""

_TRACES = "_otelkafka_traces"
_CONTRIB = tuple(f"opentelemetry.instrumentation.{name}." for name in ("kafka", "aiokafka", "confluent_kafka"))


def traces(name: str) -> Callable[[Method], Method]:
    """Mark a method of a face as the one that traces the client's method `name`.

    It is called with the client's own method, bound, and the arguments of the call.
    """

    def mark(method: Method) -> Method:
        setattr(method, _TRACES, name)
        return method

    return mark


def traced_methods(face: type) -> dict[str, Call]:
    """Return the methods of a face by the names of the client's methods that they trace."""
    methods = (each for base in reversed(face.__mro__) for each in vars(base).values())
    return {getattr(each, _TRACES): each for each in methods if hasattr(each, _TRACES)}


class _OwnCall:
    """A method of a client's own that runs here.

    Args:
        client: the client; None as soon as the method has returned, for tasks and contexts that were made inside.
        operation: the operation that is traced; None where a further call of it is another one.
    """

    __slots__ = ("client", "operation")

    def __init__(self, client: object, operation: str | None) -> None:
        self.client: object = client
        self.operation = operation


running: Final[ContextVar[tuple[_OwnCall, ...]]] = ContextVar("otelkafka_running", default=())
"""The methods of clients' own that run in this thread or task, the innermost last."""


def takes_part(client: object, name: str) -> bool:
    """Return whether a call of a traced method is part of a traced call, and must not be traced again.

    A call that fetches is part of the call that it is made in: `__next__` calls `poll()`. Any other call is part of a
    method of a subclass that overrides it, once, as its `super()` call. A second one is another operation, for example
    of a second record.
    """
    operation = _OPERATIONS.get(name, name)
    for call in reversed(running.get()):
        if call.client is client and (operation is _FETCH or operation == call.operation):
            if operation is not _FETCH:
                call.operation = None
            return True
    return False


def is_awaited(method: object) -> bool:
    """Return whether a function or method is an `async def`, by its code: it costs less than `inspect` does."""
    code = getattr(method, "__code__", None)
    return code is not None and bool(code.co_flags & inspect.CO_COROUTINE)


def _noted(client: object, operation: str | None, method: Call) -> Call:
    def call(*args: Any, **kwargs: Any) -> Any:
        own = _OwnCall(client, operation)
        token = running.set((*running.get(), own))
        try:
            return method(*args, **kwargs)
        finally:
            own.client = None
            running.reset(token)

    async def call_awaited(*args: Any, **kwargs: Any) -> Any:
        own = _OwnCall(client, operation)
        token = running.set((*running.get(), own))
        try:
            return await method(*args, **kwargs)
        finally:
            own.client = None
            with suppress(ValueError):  # a coroutine that was dropped ends in whatever context
                running.reset(token)

    return call_awaited if is_awaited(method) else call


def bound(client: object, name: str, function: Call) -> Call:
    """Return a method as it was before a patch, bound to its client; what fetches inside of it takes part in it.

    A method of a C type calls no traced one.
    """
    method = MethodType(function, client)
    is_plain = name in _CALLS_NOTHING or type(function) is MethodDescriptorType
    return method if is_plain else _noted(client, None, method)


def is_patched(client_class: type, names: Iterable[str]) -> bool:
    """Return whether one of these methods of a class, or one that it overrides, is patched."""
    for each in client_class.__mro__:
        for name in names:
            found = each.__dict__.get(name)
            if type(found) is FunctionType and found in patched:
                return True
    return False


def overriding(client: object, name: str, method: Call) -> Call:
    """Return what a client has in the place of a patched method, so that the patched one takes part in it."""
    if is_patched(type(client), (name,)):
        return _noted(client, _OPERATIONS.get(name, name), method)
    return method


def bare(client: Any, name: str) -> Any:
    """Return a client's method as it is without instrumentation."""
    method: Any = getattr(client, name)
    if type(method) is not MethodType:
        method = without_contrib(method)
    if not patched:
        return method
    if type(method) is MethodType and method.__func__ in patched:
        return bound(client, name, getattr(method, "__wrapped__"))  # noqa: B009 (a function's, as mypy does not know)
    return overriding(client, name, method)


def is_contrib(function: object) -> bool:
    """Return whether a function is the wrapper of contrib's instrumentation of a client around another one."""
    wrapper = getattr(function, "_self_wrapper", None)
    return f"{getattr(wrapper, '__module__', '')}.".startswith(_CONTRIB)


def without_contrib(function: Any) -> Any:
    """Return the function inside the wrapper of opentelemetry-instrumentation-kafka-python. Other wrappers stay."""
    while is_contrib(function):
        function = function.__wrapped__
    return function


class Begun(Protocol):
    """What the engine has begun before a call of the client."""

    def acknowledged(self, _: Any) -> None:
        """End it with the result of the call."""

    def failed(self, error: BaseException) -> None:
        """End it with the exception of the call."""


def call_inside(begun: Begun | None, call: Call, args: Args, kwargs: KwArgs) -> Any:
    """Call a method of the client, and end what was begun before with the result or the exception."""
    if begun is None:
        return call(*args, **kwargs)
    try:
        result = call(*args, **kwargs)
    except BaseException as error:
        begun.failed(error)
        raise
    begun.acknowledged(result)
    return result


async def await_inside(begun: Begun | None, call: Call, args: Args, kwargs: KwArgs) -> Any:
    """Await a method of the client, and end what was begun before with the result or the exception."""
    if begun is None:
        return await call(*args, **kwargs)
    try:
        result = await call(*args, **kwargs)
    except BaseException as error:
        begun.failed(error)
        raise
    begun.acknowledged(result)
    return result
