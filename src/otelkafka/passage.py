"""Calls of a client that go past whatever else would trace them: our own patches, and another instrumentation's."""

import threading
from collections.abc import Callable
from types import MethodType
from typing import Any, TypeAlias

Call: TypeAlias = Callable[..., Any]
Args: TypeAlias = tuple[Any, ...]
KwArgs: TypeAlias = dict[str, Any]

MARK = "_otelkafka_patch"
"""Attribute of the functions that stand in for a patched class's own."""

_NEIGHBOUR = "opentelemetry.instrumentation.kafka."


class _Inside(threading.local):
    """The clients whose own methods run in this thread."""

    def __init__(self) -> None:
        self.clients: list[Any] = []


_inside = _Inside()


def is_inside(client: object) -> bool:
    """Tell whether a method of the client's own runs here, which may call others: `__next__` calls `poll`."""
    return any(each is client for each in _inside.clients)


def through(client: object, call: Call) -> Call:
    """Return `call`, inside of which no other method of the client is traced."""

    def passing(*args: Any, **kwargs: Any) -> Any:
        _inside.clients.append(client)
        try:
            return call(*args, **kwargs)
        finally:
            _inside.clients.pop()

    return passing


def bare(client: Any, name: str) -> Call:
    """Return a client's method as it is without instrumentation."""
    method: Any = getattr(client, name)
    if type(method) is MethodType and not hasattr(method.__func__, MARK):
        return method
    method = without_neighbour(method)
    return through(client, method) if hasattr(method, MARK) else method


def is_neighbours(function: object) -> bool:
    """Tell whether a function is opentelemetry-instrumentation-kafka-python's own wrapper around another."""
    wrapper = getattr(function, "_self_wrapper", None)
    return str(getattr(wrapper, "__module__", "")).startswith(_NEIGHBOUR)


def without_neighbour(function: Any) -> Any:
    """Return what that wrapper calls; anybody else's stay."""
    while is_neighbours(function):
        function = function.__wrapped__
    return function
