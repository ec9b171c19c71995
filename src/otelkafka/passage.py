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
    for each in _inside.clients:  # noqa: SIM110 (any() costs more than what most calls cost altogether)
        if each is client:
            return True
    return False


def through(client: object, method: Call) -> Call:
    """Return a method of a client's class, bound to it, and let `is_inside` tell while it runs."""

    def passing(*args: Any, **kwargs: Any) -> Any:
        clients = _inside.clients
        clients.append(client)
        try:
            return method(client, *args, **kwargs)
        finally:
            clients.pop()

    return passing


def bare(client: Any, name: str) -> Call:
    """Return a client's method as it is without instrumentation."""
    method: Any = getattr(client, name)
    if type(method) is not MethodType:
        method = without_neighbour(method)
    patched = type(method) is MethodType and getattr(method.__func__, MARK, None)
    return through(client, method.__func__.__wrapped__) if patched else method


def is_neighbours(function: object) -> bool:
    """Tell whether a function is opentelemetry-instrumentation-kafka-python's own wrapper around another."""
    wrapper = getattr(function, "_self_wrapper", None)
    return str(getattr(wrapper, "__module__", "")).startswith(_NEIGHBOUR)


def without_neighbour(function: Any) -> Any:
    """Return what that wrapper calls; anybody else's stay."""
    while is_neighbours(function):
        function = function.__wrapped__
    return function
