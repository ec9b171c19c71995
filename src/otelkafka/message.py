"""The arguments of `send()`, by name."""

from typing import Any, NamedTuple

from otelkafka.headers import Headers


class Message(NamedTuple):
    """The arguments of `send()` as the caller gave them; handed to the hook `on_send`."""

    topic: str
    value: Any = None
    key: Any = None
    headers: Headers | None = None
    partition: int | None = None
    timestamp_ms: int | None = None


HEADERS, TIMESTAMP = map(Message._fields.index, ("headers", "timestamp_ms"))
"""Where `send()` has them among its positional arguments."""
_FIELDS = frozenset(Message._fields)


def message_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Message | None:
    """Return the arguments by name; None where `send()` will refuse them."""
    try:
        known = kwargs if kwargs.keys() <= _FIELDS else {name: kwargs[name] for name in kwargs if name in _FIELDS}
        message = Message(*args, **known)
    except TypeError:
        return None
    return message if isinstance(message.topic, str) else None
