"""Time to glass: when a record's pipeline began, which its baggage says from its first traced send on."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry import baggage
from opentelemetry.context import Context

from otelkafka import semconv
from otelkafka.attributes import seconds
from otelkafka.rules import UNCERTAIN, Rules, Start
from otelkafka.w3c import BAGGAGE, BAGGAGE_KEY, Header, has_baggage
from otelkafka.wait import MILLISECOND

OLDEST: Final = 7 * 24 * 3600 * 1000 * MILLISECOND
"""How far back an origin may lie, in nanoseconds: as long as Kafka keeps its records unless it is told otherwise."""

_DIGITS: Final = re.compile(r"[0-9]{1,15}")
_ENTRY: Final = re.compile(rb"otelkafka\.origin=([0-9]{1,15})")


def is_possible(origin: object, now: int) -> bool:
    """Tell whether a pipeline may have begun then: neither in the future nor too long ago.

    Args:
        origin: Unix time in milliseconds; anything that is no whole number is impossible.
        now: Unix time in nanoseconds.
    """
    return type(origin) is int and 0 <= now - origin * MILLISECOND <= OLDEST


def origin_in(context: Context, now: int, drop: Callable[[str], None]) -> int | None:
    """Return the origin that a context's baggage says, in Unix milliseconds.

    Args:
        context: with the baggage.
        now: Unix time in nanoseconds.
        drop: called where it says what cannot be one, which is nothing to be trusted.

    Returns:
        None where there is none.
    """
    told = baggage.get_baggage(semconv.ORIGIN, context)
    if told is None:
        return None
    origin = int(told) if isinstance(told, str) and _DIGITS.fullmatch(told) else None
    if not is_possible(origin, now):
        drop(semconv.DROPPED_ORIGIN)
        return None
    return origin


def keep_earliest(context: Context, *origins: int | None) -> Context:
    """Return the context with the earliest of these origins, and with none where there is none."""
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
    """Return the context of a send with the earliest origin of where it is sent and of its headers, else its own.

    Args:
        context: what both come to.
        ambient: the current context.
        incoming: the one in the headers.
        now: Unix time in nanoseconds.
        drop: called for each that is nothing to be trusted.
        start: when the pipeline begins if it does so here, in Unix milliseconds; None for now.
    """
    found = origin_in(ambient, now, drop), origin_in(incoming, now, drop)
    if found != (None, None):
        return keep_earliest(context, *found)
    own = now // MILLISECOND if start is None else start
    if is_possible(own, now):
        return keep_earliest(context, own)
    drop(semconv.DROPPED_ORIGIN)
    return keep_earliest(context)


class WithOrigins(Rules):
    """What is certain where the only baggage is an origin, too.

    Args:
        rules: what is certain without baggage.
        carried: whether the propagator writes a `baggage` behind its `traceparent`, as the API's own.
    """

    def __init__(self, rules: Rules, *, carried: bool) -> None:
        self._rules = rules
        self._carried = carried

    def hold(self) -> bool:
        """Tell whether those hold."""
        return self._rules.hold()

    def tracer_for(self, drawn: int) -> Any:
        """Return what those do."""
        return self._rules.tracer_for(drawn)

    def start(self, ambient: Mapping[str, object], now: int) -> Start[list[Header]]:
        """Start the span of a send: it is the origin where the current context has none."""
        origin, around = now // MILLISECOND, ambient
        if has_baggage(ambient):
            told = _alone(ambient[BAGGAGE_KEY])
            origin, around = told or -1, {key: value for key, value in ambient.items() if key != BAGGAGE_KEY}
        if not self._carried or not is_possible(origin, now):
            return UNCERTAIN
        span, context, headers, drawn = self._rules.start(around, now)
        if span is None:
            return None, ambient, None, drawn
        return span, _with(context, origin), [*(headers or ()), (BAGGAGE, b"otelkafka.origin=%d" % origin)], None

    def continue_trace(self, headers: Any, ambient: Mapping[str, object], now: int) -> Start[int]:
        """Start the span of a record."""
        if has_baggage(ambient):
            return UNCERTAIN
        rest, origin = self.apart(headers)
        if origin is not None and not is_possible(origin, now):
            return UNCERTAIN
        span, context, _, drawn = self._rules.continue_trace(rest, ambient, now)
        if span is None or origin is None:
            return span, context, None, drawn
        return span, _with(context, origin), origin, None

    def apart(self, headers: Any) -> tuple[Any, int | None]:
        """Return the headers without a baggage that is an origin and nothing else, and that origin."""
        if self._carried and (type(headers) is list or type(headers) is tuple):
            found = [at for at, header in enumerate(headers) if type(header) is tuple and header[:1] == (BAGGAGE,)]
            entry = _origin_header(headers[found[0]]) if len(found) == 1 else None
            if entry is not None:
                return [*headers[: found[0]], *headers[found[0] + 1 :]], entry
        return headers, None


def _origin_header(header: tuple[Any, ...]) -> int | None:
    """Return the origin that a header of baggage is, where it is nothing else."""
    if len(header) != 2 or type(header[1]) is not bytes:  # noqa: PLR2004 (key and value)
        return None
    entry = _ENTRY.fullmatch(header[1])
    return None if entry is None else int(entry[1])


def _alone(entries: Any) -> int | None:
    """Return the origin, where nothing else is in a baggage."""
    told = entries.get(semconv.ORIGIN) if len(entries) == 1 else None
    return int(told) if type(told) is str and _DIGITS.fullmatch(told) else None


def since(origin: int, now: int) -> float:
    """Return how long a pipeline has gone on, in seconds.

    Args:
        origin: Unix time in milliseconds.
        now: Unix time in nanoseconds.
    """
    return seconds(max(0, now - origin * MILLISECOND))


def _with(context: Mapping[str, object], origin: int) -> Mapping[str, object]:
    return {**context, BAGGAGE_KEY: {semconv.ORIGIN: str(origin)}}
