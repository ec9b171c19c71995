"""The common part of the traced producer and the traced consumer: the proxy of a client."""

import copy
import inspect
from collections.abc import Callable
from contextlib import suppress
from types import FunctionType
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import wrapt

from otelkafka._clients.calls import bare, is_patched, overriding, traced_methods
from otelkafka._clients.helpers import helpers
from otelkafka._telemetry.guard import warn

Client = TypeVar("Client", bound="TracedClient")


def check_client(call: str, client: object, wanted: str, method: str) -> None:
    """Raise TypeError for an object that is not a client that can be traced.

    Args:
        call: the function that was called.
        client: its argument.
        wanted: the class that is expected.
        method: the method that a client of another class must have.

    Raises:
        TypeError: the client is a class, or does not have the method.
    """
    if isinstance(client, type) or not callable(getattr(client, method, None)):
        msg = f"{call}({type(client).__name__}): give a {wanted}, or an object with its {method}()"
        raise TypeError(msg)


class TracedClient(wrapt.ObjectProxy):  # type: ignore[misc,type-arg,unused-ignore]
    """A proxy that is used like the client. Calls that are not traced pass through.

    Args:
        client: the client.
        options: the options of the client.
        wrap: called with a copy of the client, returns such a proxy.
        face: traces the calls of the client.
    """

    def __init__(self, client: Any, options: Any, wrap: Callable[[Any, Any], Any], face: Any) -> None:
        super().__init__(client)
        self._self_face = face
        self._self_options = options
        self._self_wrap = wrap

    def __dir__(self) -> list[str]:
        """Return the names of the client, and those that only the wrapper has."""
        return sorted({*dir(self.__wrapped__), *(name for name in dir(type(self)) if not name.startswith("_"))})

    def __repr__(self) -> str:
        """Return the client's own representation, and that it is traced."""
        return f"<{type(self).__name__} of {self.__wrapped__!r}>"

    def __copy__(self: Client) -> Client:
        """Copy the client as it copies itself, and trace the copy."""
        traced: Client = self._self_wrap(copy.copy(self.__wrapped__), self._self_options)
        return traced

    def __deepcopy__(self: Client, memo: dict[int, Any]) -> Client:
        """Copy the client as it copies itself, and trace the copy. Only fakes can be copied in this way."""
        traced: Client = self._self_wrap(copy.deepcopy(self.__wrapped__, memo), self._self_options)
        return traced

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle the client as it pickles itself. Only fakes can be pickled."""
        return self._self_wrap, (self.__wrapped__, self._self_options)


class ClosedClient(TracedClient):
    """A proxy of a client that is used with `with` and `close()`."""

    def close(self, *args: Any, **kwargs: Any) -> Any:
        """Close the client, and then end the spans that are open, also if closing raises."""
        return self._self_face.close(bare(self.__wrapped__, "close"), args, kwargs)

    def __enter__(self: Client) -> Client:
        """Return the traced client. The bare client need not be a context manager."""
        enter = getattr(self.__wrapped__, "__enter__", None)
        if enter is not None:
            enter()
        return self

    def __exit__(self, *raised: object) -> Any:
        """Close the client as its own `with` does, and then end the spans that are open."""
        leave = getattr(self.__wrapped__, "__exit__", None)
        try:
            if leave is None:
                return self.__wrapped__.close()
            return overriding(self.__wrapped__, "close", leave)(*raised)
        finally:
            self._self_face.end()


class StoppedClient(TracedClient):
    """A proxy of a client that is used with `async with` and `stop()`."""

    async def stop(self, *args: Any, **kwargs: Any) -> Any:
        """Stop the client, and then end the spans that are open, also if stopping raises."""
        return await self._self_face.close(bare(self.__wrapped__, "stop"), args, kwargs)

    async def __aenter__(self: Client) -> Client:
        """Start the client as its own `async with` does, and return the traced client."""
        await self.__wrapped__.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> Any:
        """Stop the client as its own `async with` does, and then end the spans that are open."""
        try:
            return await overriding(self.__wrapped__, "stop", self.__wrapped__.__aexit__)(*raised)
        finally:
            self._self_face.end()


class Wrappers(Generic[Client]):
    """The wrapper classes for client classes. Their methods have the signatures of the client.

    Args:
        traced: the base of the wrapper classes.
        face: traces the calls of a client.
        own_methods: returns the methods of a client class that take precedence over those of `traced`.
        instrumentor: the name of the instrumentor for zero code.
    """

    def __init__(
        self,
        traced: type[Client],
        face: type,
        own_methods: Callable[[type], dict[str, Any]] = lambda _: {},
        instrumentor: str = "KafkaInstrumentor",
    ) -> None:
        self._traced = traced
        self._calls = traced_methods(face).keys()
        self._own_methods = own_methods
        self._instrumentor = instrumentor
        self._made: WeakKeyDictionary[type, type[Client]] = WeakKeyDictionary()

    def of(self, client_class: type) -> type[Client]:
        """Return the wrapper class for a client class."""
        if client_class not in self._made:
            self._made[client_class] = self._make(client_class)
        return self._made[client_class]

    def _make(self, client_class: type) -> type[Client]:
        with suppress(Exception):  # whatever this class is, its clients are wrapped
            self._warn_of_helpers(client_class)
        traced = self._traced
        methods = self._own_methods(client_class)
        for name in dir(traced):
            with suppress(Exception):  # to evaluate annotations may raise anything; Python 3.14 does not before
                method, theirs = methods.get(name, getattr(traced, name)), getattr(client_class, name, None)
                if not name.startswith("_") and isinstance(method, FunctionType) and isinstance(theirs, FunctionType):
                    methods[name] = _with_signature(method, inspect.signature(theirs))
        return type(traced.__name__, (traced,), methods) if methods else traced

    def _warn_of_helpers(self, client_class: type) -> None:
        wrapped = [name for name in dir(self._traced) if not name.startswith("_")]
        found = {} if is_patched(client_class, self._calls) else helpers(client_class, self._calls, wrapped)
        if found:
            warn(
                "%s calls %s of the client itself, past the wrapper, so they are not traced: use zero code, "
                "otelkafka.instrumentor.%s().instrument().",
                ", ".join(f"{client_class.__name__}.{name}()" for name in found),
                ", ".join(f"{name}()" for name in dict.fromkeys(found.values())),
                self._instrumentor,
            )


def _with_signature(method: FunctionType, signature: inspect.Signature) -> Any:
    described: Any = FunctionType(
        method.__code__, method.__globals__, method.__name__, method.__defaults__, method.__closure__
    )
    described.__doc__, described.__qualname__ = method.__doc__, method.__qualname__
    described.__signature__ = signature
    return described
