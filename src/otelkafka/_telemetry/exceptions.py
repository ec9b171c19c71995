"""The texts of exceptions, which may be anything: absent, or what no exporter can encode."""

from collections.abc import Iterator
from traceback import format_exception
from typing import Any

from otelkafka._telemetry.attributes import Attributes, encodable, is_encodable

_MOST_LINKED = 100


def is_plain(error: BaseException) -> bool:
    """Return whether an SDK can record an exception unchanged: it and its causes have texts that can be exported."""
    try:
        return all(map(is_encodable, _texts_of(error)))
    except Exception:  # noqa: BLE001 (an exception may raise where it is asked for its text)
        return False


def message_of(error: BaseException) -> str:
    """Return the text of an exception in a form that can be exported; without a text, the name of its class."""
    try:
        return encodable(str(error))
    except Exception:  # noqa: BLE001 (likewise)
        return encodable(type(error).__name__)


def attributes_of(error: BaseException) -> Attributes:
    """Return the attributes of the event of an exception that is not plain.

    Source: semantic conventions v1.44, exceptions on spans.
    """
    module, name = type(error).__module__, type(error).__qualname__
    return {
        "exception.type": encodable(name if module in {None, "builtins"} else f"{module}.{name}"),
        "exception.message": message_of(error),
        "exception.stacktrace": encodable("".join(format_exception(error))),
    }


def _texts_of(error: BaseException) -> Iterator[str]:
    """Yield the texts of an exception, its notes and its causes, in the order of a traceback."""
    waiting: list[Any] = [error]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_LINKED:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield str(each)
        yield from map(str, getattr(each, "__notes__", ()) or ())
        waiting += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
