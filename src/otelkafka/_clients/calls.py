"""Calls of a client's own methods, past whatever else would trace them: our patches, and contrib's instrumentation."""

import threading
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any, Final, Protocol, TypeAlias, TypeVar

Call: TypeAlias = Callable[..., Any]
Args: TypeAlias = tuple[Any, ...]
KwArgs: TypeAlias = dict[str, Any]
Method = TypeVar("Method", bound=Call)

patched: Final[set[Call]] = set()
"""The functions that stand in the place of a class's own now."""

CALLED_INSIDE: Final = "poll"
"""The traced method that is not traced inside of another one of the same client: `__next__` calls it."""
_CALLS_NOTHING: Final = frozenset(("send",))
"""The traced methods that call none of them, and are called for each record."""

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


class _Inside(threading.local):
    """The clients whose own methods run in this thread, and the names of these."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, str]] = []


_inside = _Inside()


def is_inside(client: object, name: str) -> bool:
    """Return whether a call is part of one that is traced: `__next__` calls `poll`, an override what it overrides."""
    for each, outer in _inside.calls:  # noqa: SIM110 (any() costs more than what most calls cost altogether)
        if each is client and name in (outer, CALLED_INSIDE):
            return True
    return False


def bound(client: object, name: str, function: Call, *, overrides: bool = False) -> Call:
    """Return a method of a client's class, bound to it; `is_inside()` is true while it runs.

    Args:
        client: the client.
        name: of the method.
        function: the method.
        overrides: whether it is of a subclass, and may call what it overrides, which is traced.
    """
    if name in _CALLS_NOTHING and not overrides:
        return MethodType(function, client)

    def call(*args: Any, **kwargs: Any) -> Any:
        calls = _inside.calls
        calls.append((client, name))
        try:
            return function(client, *args, **kwargs)
        finally:
            calls.pop()

    return call


def _overrides_patched(client_class: type, name: str) -> bool:
    return any(each.__dict__.get(name) in patched for each in client_class.__mro__ if _is_function(each, name))


def _is_function(client_class: type, name: str) -> bool:
    return isinstance(client_class.__dict__.get(name), FunctionType)


def bare(client: Any, name: str) -> Any:
    """Return a client's method as it is without instrumentation."""
    method: Any = getattr(client, name)
    if type(method) is not MethodType:
        method = without_contrib(method)
    if patched and type(method) is MethodType:
        if method.__func__ in patched:
            return bound(client, name, getattr(method, "__wrapped__"))  # noqa: B009 (a function's, as mypy does not know)
        if _overrides_patched(type(client), name):
            return bound(client, name, method.__func__, overrides=True)
    return method


def is_contrib(function: object) -> bool:
    """Return whether a function is the wrapper of opentelemetry-instrumentation-kafka-python around another one."""
    wrapper = getattr(function, "_self_wrapper", None)
    return str(getattr(wrapper, "__module__", "")).startswith(_CONTRIB)


def without_contrib(function: Any) -> Any:
    """Return what contrib's wrapper calls; wrappers of others stay."""
    while is_contrib(function):
        function = function.__wrapped__
    return function


class Begun(Protocol):
    """What the engine has begun before a call of a client's."""

    def acknowledged(self, _: Any) -> None:
        """End it with the result of the call."""

    def failed(self, error: BaseException) -> None:
        """End it with what the call raised."""


def call_inside(begun: Begun | None, call: Call, args: Args, kwargs: KwArgs) -> Any:
    """Call a client's method, and end with its outcome what was begun before it."""
    if begun is None:
        return call(*args, **kwargs)
    try:
        result = call(*args, **kwargs)
    except BaseException as error:
        begun.failed(error)
        raise
    begun.acknowledged(result)
    return result
