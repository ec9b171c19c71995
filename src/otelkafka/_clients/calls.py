"""Calls of a client's own methods, without patches of otelkafka or of opentelemetry-instrumentation-kafka-python."""

import threading
from collections.abc import Callable, Iterable
from types import FunctionType, MethodType
from typing import Any, Final, Protocol, TypeAlias, TypeVar

Call: TypeAlias = Callable[..., Any]
Args: TypeAlias = tuple[Any, ...]
KwArgs: TypeAlias = dict[str, Any]
Method = TypeVar("Method", bound=Call)

patched: Final[set[Call]] = set()
"""The functions that currently replace those of a class."""

_FETCH: Final = "fetch"
_OPERATIONS: Final = {"__iter__": _FETCH, "__next__": _FETCH, "poll": _FETCH, "commit_async": "commit"}
"""What several traced methods do; any other is an operation of its own."""
_CALLS_NOTHING: Final = frozenset(("send",))
"""The methods that call no traced one, as the client library has them, and that are called for each record."""

_TRACES = "_otelkafka_traces"
_CONTRIB = "opentelemetry.instrumentation.kafka."


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
    return {getattr(each, _TRACES): each for each in vars(face).values() if hasattr(each, _TRACES)}


class _OwnCall:
    """A method of a client's own that runs in this thread.

    Args:
        client: the client.
        operation: the operation that is traced; None where a further call of it is another one.
    """

    __slots__ = ("client", "operation")

    def __init__(self, client: object, operation: str | None) -> None:
        self.client = client
        self.operation = operation


class _Running(threading.local):
    """The methods of clients' own that run in this thread, the innermost last."""

    def __init__(self) -> None:
        self.calls: list[_OwnCall] = []


running: Final = _Running()


def takes_part(client: object, name: str) -> bool:
    """Return whether a call of a traced method belongs to one that is traced already: not all are to be traced twice.

    What fetches does inside of any other: `__next__` calls `poll()`. Anything else does once inside of a method of a
    subclass that overrides it, whose `super()` call it is; a second one is an operation more, of a second record say.
    """
    operation = _OPERATIONS.get(name, name)
    for call in reversed(running.calls):
        if call.client is client and (operation is _FETCH or operation == call.operation):
            if operation is not _FETCH:
                call.operation = None
            return True
    return False


def _noted(client: object, operation: str | None, method: Call) -> Call:
    def call(*args: Any, **kwargs: Any) -> Any:
        calls, own = running.calls, _OwnCall(client, operation)
        calls.append(own)
        try:
            return method(*args, **kwargs)
        finally:
            calls.remove(own)

    return call


def bound(client: object, name: str, function: Call) -> Call:
    """Return a method as it was before a patch, bound to its client; what fetches inside of it takes part in it."""
    method = MethodType(function, client)
    return method if name in _CALLS_NOTHING else _noted(client, None, method)


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
    """Return whether a function is the wrapper of opentelemetry-instrumentation-kafka-python around another one."""
    wrapper = getattr(function, "_self_wrapper", None)
    return str(getattr(wrapper, "__module__", "")).startswith(_CONTRIB)


def without_contrib(function: Any) -> Any:
    """Return the function inside the wrapper of opentelemetry-instrumentation-kafka-python. Other wrappers stay."""
    while is_contrib(function):
        function = function.__wrapped__
    return function


class Begun(Protocol):
    """What the engine has begun before a call of a client's."""

    def acknowledged(self, _: Any) -> None:
        """End it with the result of the call."""

    def failed(self, error: BaseException) -> None:
        """End it with the exception of the call."""


def call_inside(begun: Begun | None, call: Call, args: Args, kwargs: KwArgs) -> Any:
    """Call a client's method, and end what was begun before with its outcome."""
    if begun is None:
        return call(*args, **kwargs)
    try:
        result = call(*args, **kwargs)
    except BaseException as error:
        begun.failed(error)
        raise
    begun.acknowledged(result)
    return result
