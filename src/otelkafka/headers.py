"""The header carrier: how a propagator reads and writes the headers of a Kafka record."""

from collections.abc import Iterable
from typing import Any, Final, Protocol, TypeAlias

from opentelemetry.propagators.textmap import Getter, Setter

Headers: TypeAlias = list[tuple[str, bytes]]
"""Headers as `KafkaProducer.send()` takes them."""

LONGEST_VALUE: Final = 8192
"""Of what a propagator is given to read: W3C's limit for a baggage, beyond which OpenTelemetry logs all of it."""


class Carrier(Protocol):
    """What a class must offer as the option `carrier`. The default is `HeaderCarrier`.

    It is constructed with the headers of a record (a list, a tuple or None), which it must not change.
    """

    def __init__(self, headers: Iterable[Any] | None = None) -> None: ...

    @property
    def headers(self) -> Headers:
        """The resulting headers, as a list for `send()`."""

    def set(self, key: str, value: str) -> None:
        """Set the value of `key`, and remove earlier values."""

    def get(self, key: str) -> str | None:
        """Return the value of `key`, or None."""

    def keys(self) -> list[str]:
        """Return the keys, each once."""


class HeaderCarrier:
    """Reads and writes a context in the headers of a record, as UTF-8 with the propagator's own keys.

    It works on a copy, and never changes the list that it was given.

    Args:
        headers: the headers of a record: a list or tuple of `(key, value)`, or None for no headers.

    Attributes:
        unreadable: how many values were ignored because they are not UTF-8, or too long for a propagator.
    """

    __slots__ = ("_headers", "unreadable")

    def __init__(self, headers: Iterable[Any] | None = None) -> None:
        self.unreadable = 0
        self._headers: list[Any] = [] if headers is None else list(headers)

    @property
    def headers(self) -> Headers:
        """The resulting headers. Those that were not set keep their order, duplicates and bytes."""
        return self._headers

    def set(self, key: str, value: str) -> None:
        """Remove every header with this key, and append one."""
        encoded = value.encode()
        if self._headers:
            self._headers = [header for header in self._headers if not _is_of(header, key)]
        self._headers.append((key, encoded))

    def get(self, key: str) -> str | None:
        """Return the last value of this key, as Kafka's `lastHeader` does.

        A value that is None, not UTF-8 or malformed counts as absent.
        """
        for header in reversed(self._headers):
            if _is_of(header, key):
                text = _text(header[1])
                if text is not None:
                    return text
                self.unreadable += 1
        return None

    def keys(self) -> list[str]:
        """Return the keys, each once, in the order of their first header."""
        return list(dict.fromkeys(header[0] for header in self._headers if _is_header(header)))


class CarrierGetter(Getter[Carrier]):
    """Lets a propagator read from a carrier."""

    def get(self, carrier: Carrier, key: str) -> list[str] | None:
        """Return the value of `key` as the list that propagators expect. A value that is too long counts as absent."""
        value = carrier.get(key)
        if value is None or len(value) <= LONGEST_VALUE:
            return None if value is None else [value]
        if isinstance(carrier, HeaderCarrier):
            carrier.unreadable += 1
        return None

    def keys(self, carrier: Carrier) -> list[str]:
        """Return the carrier's keys."""
        return carrier.keys()


class AskedGetter(CarrierGetter):
    """Remembers which keys a propagator has asked for."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def get(self, carrier: Carrier, key: str) -> list[str] | None:
        """Return the value of `key`, and remember the key."""
        self.asked.add(key)
        return super().get(carrier, key)


class CarrierSetter(Setter[Carrier]):
    """Lets a propagator write to a carrier."""

    def set(self, carrier: Carrier, key: str, value: str) -> None:
        """Write `value` under `key`."""
        carrier.set(key, value)


def are_sendable(headers: object) -> bool:
    """Return whether every `send()` takes these headers: None, or a list of (str, bytes) tuples, without subclasses."""
    if headers is None:
        return True
    return type(headers) is list and all(
        type(header) is tuple
        and len(header) == 2  # noqa: PLR2004 (key and value)
        and type(header[0]) is str
        and type(header[1]) is bytes
        for header in headers
    )


def are_like_sendable(headers: object) -> bool:
    """Return whether every `send()` takes these headers, if subclasses count, too."""
    if headers is None:
        return True
    return isinstance(headers, list) and all(_is_header(header) and isinstance(header[1], bytes) for header in headers)


def _is_of(header: object, key: str) -> bool:
    return _is_header(header) and header[0] == key  # type: ignore[index]


def _is_header(header: object) -> bool:
    return isinstance(header, tuple) and len(header) == 2 and isinstance(header[0], str)  # noqa: PLR2004


def _text(value: object) -> str | None:
    if not isinstance(value, bytes | bytearray | memoryview):
        return None
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        return None
