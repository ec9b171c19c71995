"""Time to glass: the time of the first traced send of a record's pipeline, which travels in the baggage."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry import baggage
from opentelemetry.context import Context

from otelkafka._context.traceparent import BAGGAGE, BAGGAGE_KEY, Header
from otelkafka._telemetry import semconv
from otelkafka._telemetry.clock import MILLISECOND, seconds

OLDEST: Final = 7 * 24 * 3600 * 1000 * MILLISECOND
"""How far back an origin may lie, in nanoseconds: as long as Kafka keeps records by default."""

_DIGITS: Final = re.compile(r"[0-9]{1,15}")
_ENTRY: Final = re.compile(re.escape(semconv.ORIGIN.encode()) + rb"=([0-9]{1,15})")


def is_possible(origin: object, now: int) -> bool:
    """Return whether a pipeline may have begun then: neither in the future nor too long ago.

    Args:
        origin: Unix time in milliseconds; anything that is no whole number is impossible.
        now: Unix time in nanoseconds.
    """
    return type(origin) is int and 0 <= now - origin * MILLISECOND <= OLDEST


def origin_in(context: Context, now: int, drop: Callable[[str], None]) -> int | None:
    """Return the origin in the baggage of a context, in Unix milliseconds.

    Args:
        context: with the baggage.
        now: Unix time in nanoseconds.
        drop: called if the entry is not a possible origin, which is ignored.

    Returns:
        The origin; None if there is none.
    """
    entry = baggage.get_baggage(semconv.ORIGIN, context)
    if entry is None:
        return None
    origin = int(entry) if isinstance(entry, str) and _DIGITS.fullmatch(entry) else None
    if not is_possible(origin, now):
        drop(semconv.DROPPED_ORIGIN)
        return None
    return origin


def keep_earliest(context: Context, *origins: int | None) -> Context:
    """Return the context with the earliest of these origins, or without one."""
    known = [origin for origin in origins if origin is not None]
    if known:
        return baggage.set_baggage(semconv.ORIGIN, str(min(known)), context)
    if baggage.get_baggage(semconv.ORIGIN, context) is None:
        return context
    return baggage.remove_baggage(semconv.ORIGIN, context)


def begin(
    context: Context,
    ambient: Context,
    incoming: Context,
    now: int,
    drop: Callable[[str], None],
    start: int | None = None,
) -> Context:
    """Return the context of a send with the earliest origin of the current context and of its headers, or a new one.

    Args:
        context: the current context and that of the headers, merged.
        ambient: the current context.
        incoming: the context in the headers.
        now: Unix time in nanoseconds.
        drop: called for each entry that is not a possible origin.
        start: the origin if the pipeline begins with this send, in Unix milliseconds; None for now.
    """
    found = origin_in(ambient, now, drop), origin_in(incoming, now, drop)
    if found != (None, None):
        return keep_earliest(context, *found)
    own = now // MILLISECOND if start is None else start
    if is_possible(own, now):
        return keep_earliest(context, own)
    drop(semconv.DROPPED_ORIGIN)
    return keep_earliest(context)


def since(origin: int, now: int) -> float:
    """Return the time since the origin of a pipeline, in seconds.

    Args:
        origin: Unix time in milliseconds.
        now: Unix time in nanoseconds.
    """
    return seconds(max(0, now - origin * MILLISECOND))


def only_origin(entries: Any) -> int | None:
    """Return the origin, if the baggage has no other entry."""
    entry = entries.get(semconv.ORIGIN) if len(entries) == 1 else None
    return int(entry) if type(entry) is str and _DIGITS.fullmatch(entry) else None


def without_origin(headers: Any) -> tuple[Any, int | None]:
    """Return the headers without a baggage that has the origin as its one entry, and that origin, else None."""
    if type(headers) is list or type(headers) is tuple:
        found = [at for at, header in enumerate(headers) if type(header) is tuple and header[:1] == (BAGGAGE,)]
        origin = _origin_of_header(headers[found[0]]) if len(found) == 1 else None
        if origin is not None:
            return [*headers[: found[0]], *headers[found[0] + 1 :]], origin
    return headers, None


def header_of(origin: int) -> Header:
    """Return the header of a baggage that has the origin as its one entry."""
    return BAGGAGE, f"{semconv.ORIGIN}={origin}".encode()


def with_baggage(context: Mapping[str, object], origin: int) -> Context:
    """Return a context whose baggage has the origin as its one entry."""
    return Context({**context, BAGGAGE_KEY: {semconv.ORIGIN: str(origin)}})


def _origin_of_header(header: tuple[Any, ...]) -> int | None:
    if len(header) != 2 or type(header[1]) is not bytes:  # noqa: PLR2004 (key and value)
        return None
    entry = _ENTRY.fullmatch(header[1])
    return None if entry is None else int(entry[1])
