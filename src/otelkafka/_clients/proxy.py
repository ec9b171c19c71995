"""What the traced producer and the traced consumer have in common as proxies of their clients."""

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import wrapt

from otelkafka._clients.calls import bare, overriding

Client = TypeVar("Client", bound="TracedClient")


class TracedClient(wrapt.ObjectProxy):  # type: ignore[misc,type-arg,unused-ignore]
    """A proxy that is used as the client itself: what is not traced passes through.

    Args:
        client: the client.
        options: its options.
        wrap: makes such a proxy of a copy of the client.
        face: traces the client's calls.
    """

    def __init__(self, client: Any, options: Any, wrap: Callable[[Any, Any], Any], face: Any) -> None:
        super().__init__(client)
        self._self_face = face
        self._self_options = options
        self._self_wrap = wrap

    def close(self, *args: Any, **kwargs: Any) -> Any:
        """Close the client, then end the spans that are still open, also where closing raises."""
        return self._self_face.close(bare(self.__wrapped__, "close"), args, kwargs)

    def __enter__(self: Client) -> Client:
        """Return the traced client, not the bare one; also where the bare one is no context manager."""
        enter = getattr(self.__wrapped__, "__enter__", None)
        if enter is not None:
            enter()
        return self

    def __exit__(self, *raised: object) -> Any:
        """Close the client as its own `with` would; then end the spans that are still open."""
        leave = getattr(self.__wrapped__, "__exit__", None)
        try:
            if leave is None:
                return self.__wrapped__.close()
            return overriding(self.__wrapped__, "close", leave)(*raised)
        finally:
            self._self_face.end()

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
        """Copy the client as it copies itself, and trace the copy; a client of kafka-python cannot be copied so."""
        traced: Client = self._self_wrap(copy.deepcopy(self.__wrapped__, memo), self._self_options)
        return traced

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle the client as it pickles itself; a client of kafka-python cannot be pickled."""
        return self._self_wrap, (self.__wrapped__, self._self_options)
