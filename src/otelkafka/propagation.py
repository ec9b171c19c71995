"""Contexts into headers and out of them."""

from collections.abc import Iterable
from functools import lru_cache
from time import time_ns
from typing import Any

from opentelemetry import baggage, trace
from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext

from otelkafka import semconv, w3c
from otelkafka.client import Record
from otelkafka.headers import AskedGetter, Carrier, CarrierGetter, CarrierSetter, Headers, are_sendable
from otelkafka.options import Options
from otelkafka.origins import begin, is_possible, origin_in
from otelkafka.telemetry import Telemetry, shared_telemetry

_GETTER = CarrierGetter()
_SETTER = CarrierSetter()


def inject(headers: Headers | None = None, context: Context | None = None, options: Options | None = None) -> Headers:
    """Return headers that carry a context, for a producer that is not wrapped.

    Args:
        headers: the headers of the record, which stay as they are.
        context: the context to carry; None for the current one. Baggage in the headers that it lacks is kept.
        options: which propagator and carrier to use.

    Returns:
        A new list: the headers without the context that was in them, and with the given one; as they were where the
        propagator fails.

    Raises:
        TypeError: `headers` are no list or tuple.
    """
    _check_headers(headers)
    telemetry = _telemetry_of(options)
    given = list(headers or ())
    current = context_api.get_current() if context is None else context
    taken = take(telemetry, given)
    if taken is None:
        return given
    incoming, rest = taken
    carried = merge(current, under=incoming)
    if telemetry.options.pipeline_time:
        carried = begin(carried, current, incoming, time_ns(), telemetry.drop)
    injected = put(telemetry, rest, carried)
    return given if injected is None else injected


def extract(record_or_headers: Record | Iterable[Any] | None, options: Options | None = None) -> Context:
    """Return the context that a record carries, on top of nothing: never the caller's own.

    Args:
        record_or_headers: a consumed record, or its headers.
        options: which propagator and carrier to use.

    Returns:
        The context; empty where the record carries none, or a broken one.

    Raises:
        TypeError: it has no headers and is no list or tuple of them.
    """
    headers = getattr(record_or_headers, "headers", record_or_headers)
    _check_headers(headers)
    return read(_telemetry_of(options), headers)


def _telemetry_of(options: Options | None) -> Telemetry:
    telemetry = shared_telemetry(options or Options())
    telemetry.look(time_ns())
    return telemetry


def read(telemetry: Telemetry, headers: object, *, again: bool = False) -> Context:
    """Return the context in `headers`; empty where they hold none, or the propagator fails.

    Args:
        telemetry: of the client.
        headers: of a record.
        again: whether they have been read before, so that what is left out was counted.
    """
    if not headers:
        return Context()
    context = w3c.read(headers) if telemetry.is_w3c else None
    if context is None:
        context = telemetry.guard.call("extract", Context(), _read, telemetry, headers, _GETTER, again)
    return context


def carries_context(telemetry: Telemetry, record: Record) -> bool:
    """Tell whether a record carries a valid context."""
    parent = w3c.traceparent_of(telemetry.apart(record.headers)[0]) if telemetry.is_w3c else None
    return context_in(telemetry, record).is_valid if parent is None else bool(parent)


def context_in(telemetry: Telemetry, record: Record, *, again: bool = False) -> SpanContext:
    """Return the creation context of a record; not valid where it carries none. `again`: as for `read()`."""
    return trace.get_current_span(read(telemetry, telemetry.apart(record.headers)[0], again=again)).get_span_context()


def origin_of(telemetry: Telemetry, record: Record, now: int) -> int | None:
    """Return the origin that a record of a batch carries, in Unix ms; None where it carries none that is possible."""
    origin = telemetry.apart(record.headers)[1]
    if origin is not None and is_possible(origin, now):
        return origin
    return origin_in(read(telemetry, record.headers, again=True), now, telemetry.drop)


def take(telemetry: Telemetry, headers: Headers) -> tuple[Context, Headers] | None:
    """Return the context in `headers`, and the headers without it; None where the propagator fails."""
    if not headers:
        return Context(), headers
    return telemetry.guard.call("extract", None, _take, telemetry, headers)


def put(telemetry: Telemetry, headers: Headers, context: Context) -> Headers | None:
    """Return `headers`, which carry none, with `context`; None where the propagator fails."""
    return telemetry.guard.call("inject", None, _put, telemetry, headers, context)


def merge(over: Context, *, under: Context) -> Context:
    """Return everything that is in either context, baggage entry by entry; where both have it, what is in `over`."""
    if not under:
        return over
    merged = Context({**under, **over})
    ours = baggage.get_all(over)
    for name, value in baggage.get_all(under).items():
        if w3c.has_baggage(over) and name not in ours:
            merged = baggage.set_baggage(name, value, merged)
    return merged


def _read(telemetry: Telemetry, headers: Any, getter: CarrierGetter, again: bool = False) -> Context:  # noqa: FBT001,FBT002
    carrier = telemetry.options.carrier(headers)
    context = telemetry.propagator.extract(carrier, Context(), getter)
    unreadable = getattr(carrier, "unreadable", 0)
    if unreadable and not again:
        telemetry.drop(semconv.DROPPED_HEADER, unreadable)
    if not isinstance(context, Context):
        msg = f"the propagator extracted {type(context).__name__}: return a Context"
        raise TypeError(msg)
    return context


def _take(telemetry: Telemetry, headers: Headers) -> tuple[Context, Headers]:
    getter = AskedGetter()
    context = _read(telemetry, headers, getter)
    # Not only the fields that will be written: a header that any reader would take for the context must not go stale.
    names = _header_names(telemetry.options.carrier, frozenset(getter.asked | telemetry.propagator.fields))
    return context, [header for header in headers if not (isinstance(header, tuple) and header and header[0] in names)]


@lru_cache(maxsize=64)
def _header_names(carrier: type[Carrier], keys: frozenset[str]) -> set[str]:
    """Return under which names a carrier writes `keys`: one of the user's may add a prefix, say."""
    probe = carrier()
    for key in keys:
        probe.set(key, "-")
    return {name for name, _ in probe.headers}


def _put(telemetry: Telemetry, headers: Headers, context: Context) -> Headers:
    header = w3c.write(context) if telemetry.is_w3c else None
    if header is not None:
        return [*headers, header]
    carrier = telemetry.options.carrier(headers)
    telemetry.propagator.inject(carrier, context, _SETTER)
    injected = carrier.headers
    remaining = iter(injected) if injected is not None and are_sendable(injected) else None
    if remaining is None or not all(header in remaining for header in headers):
        msg = "the carrier's headers cannot be sent: they must be a list of (str, bytes) tuples, with all it was given"
        raise TypeError(msg)
    return injected


def _check_headers(headers: object) -> None:
    if headers is not None and not isinstance(headers, list | tuple):
        msg = f"headers={type(headers).__name__}: give a list of (str, bytes) tuples, or a record that has them"
        raise TypeError(msg)
