"""Writing contexts into headers, and reading them from headers."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from opentelemetry import baggage, trace
from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext

from otelkafka._context import traceparent
from otelkafka._context.fastpath import FastPath, fast_path_of
from otelkafka._context.origin import begin, is_possible, origin_in
from otelkafka._context.sdk import quick_tracer, records_roots
from otelkafka._protocols import Record, record_of
from otelkafka._telemetry import lifetime, semconv
from otelkafka._telemetry.api import PROVIDER, TRACE
from otelkafka._telemetry.telemetry import LOGGED_OF_UNKNOWN, Telemetry
from otelkafka.headers import AskedGetter, Carrier, CarrierGetter, CarrierSetter, Headers, are_sendable
from otelkafka.options import Options, for_either

_GETTER = CarrierGetter()
_SETTER = CarrierSetter()


def inject(headers: Headers | None = None, context: Context | None = None, options: Options | None = None) -> Headers:
    """Return headers that carry a context, for a producer that is not wrapped.

    Args:
        headers: the headers of the record; this list is not changed.
        context: the context to write; None for the current one. Entries of baggage that only the headers have are kept.
        options: which propagator and carrier to use.

    Returns:
        The headers as a new list. The given context replaces the one that was in them. If the propagator fails, the
        context in them is unchanged.

    Raises:
        TypeError: `headers` are no list or tuple, or `options` are none.
    """
    _check_headers(headers)
    contexts = _contexts_of(options)
    given = list(headers or ())
    current = context_api.get_current() if context is None else context
    taken = contexts.take(given)
    if taken is None:
        return given
    incoming, rest = taken
    carried = merge(current, under=incoming)
    if contexts.options.pipeline_time:
        carried = begin(carried, current, incoming, contexts.telemetry.now(), contexts.telemetry.drop)
    injected = contexts.put(rest, carried)
    return given if injected is None else injected


def extract(record_or_headers: Record | Iterable[Any] | None, options: Options | None = None) -> Context:
    """Return the context that a record carries, without anything of the caller's current context.

    Args:
        record_or_headers: a consumed record, or its headers.
        options: which propagator and carrier to use.

    Returns:
        The context; empty if the record carries none, or a broken one.

    Raises:
        TypeError: it has no headers and is no list or tuple of them, or `options` are none.
    """
    found = record_of(record_or_headers)
    headers = getattr(found, "headers", found)
    _check_headers(headers)
    return _contexts_of(options).read(headers)


class Contexts:
    """Reads contexts from the headers of one client's records, and writes contexts into headers that it sends.

    Args:
        telemetry: the telemetry of the client.

    Attributes:
        telemetry: the telemetry of the client.
        options: the options of the client.
        fast_path: the fast path, valid while it `holds()`; None if contexts are not in the W3C format.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self.telemetry = telemetry
        self.options = telemetry.options
        self.fast_path: FastPath | None = None
        self._provider: object = None
        self._records_roots = False
        telemetry.on_refresh(self._refresh)

    def _refresh(self) -> None:
        self.fast_path = self.telemetry.guard.call("fast_path", None, fast_path_of, self.options)
        self.telemetry.tracer = quick_tracer(self.telemetry.tracer)
        used = self.options.tracer_provider or trace.get_tracer_provider()
        self._records_roots = self.telemetry.guard.call("sampler", False, records_roots, used)
        provider = TRACE.get(PROVIDER)
        if provider is not self._provider:
            self._provider = provider
            lifetime.end_before_providers()

    def is_likely_recorded(self, context: Context) -> bool:
        """Return whether a span that starts in a context will probably be recorded."""
        parent = trace.get_current_span(context).get_span_context()
        return parent.trace_flags.sampled if parent.is_valid else self._records_roots

    @property
    def _is_w3c(self) -> bool:
        """Whether contexts are certain to travel in the W3C's format."""
        return self.fast_path is not None and self.fast_path.holds()

    def read(self, headers: object, *, again: bool = False) -> Context:
        """Return the context in `headers`; empty where they hold none, or the propagator fails.

        Args:
            headers: the headers of a record.
            again: whether they have been read before, so that what is left out was counted.
        """
        if not headers:
            return Context()
        fast_path = self.fast_path
        context = traceparent.read(headers) if fast_path is not None and fast_path.holds() else None
        if context is None:
            context = self.telemetry.guard.call("extract", Context(), self._read, headers, _GETTER, again=again)
        return context

    def creation_context(self, record: Record, *, again: bool = False) -> SpanContext:
        """Return the creation context of a record; not valid where it carries none. `again`: as for `read()`."""
        headers = self._without_origin(record.headers)[0]
        return trace.get_current_span(self.read(headers, again=again)).get_span_context()

    def is_without_context(self, record: Record) -> bool:
        """Return whether a record carries no valid context."""
        parent = traceparent.traceparent_of(self._without_origin(record.headers)[0]) if self._is_w3c else None
        return not (self.creation_context(record).is_valid if parent is None else parent)

    def origin_of(self, record: Record, now: int) -> int | None:
        """Return the origin that a record carries, in Unix milliseconds; None where it carries no possible one."""
        origin = self._without_origin(record.headers)[1]
        if origin is not None and is_possible(origin, now):
            return origin
        return origin_in(self.read(record.headers, again=True), now, self.telemetry.drop)

    def _without_origin(self, headers: Any) -> tuple[Any, int | None]:
        fast_path = self.fast_path
        return (headers, None) if fast_path is None or not fast_path.holds() else fast_path.without_origin(headers)

    def take(self, headers: Headers) -> tuple[Context, Headers] | None:
        """Return the context in `headers`, and the headers without it; None where the propagator fails."""
        return self.telemetry.guard.call("extract", None, self._take, headers) if headers else (Context(), headers)

    def put(self, headers: Headers, context: Context) -> Headers | None:
        """Return `headers`, which carry none, with `context`; None where the propagator fails."""
        return self.telemetry.guard.call("inject", None, self._put, headers, context)

    def _read(self, headers: Any, getter: CarrierGetter, *, again: bool) -> Context:
        carrier = self.options.carrier(headers)
        context = self.telemetry.propagator.extract(carrier, Context(), getter)
        unreadable = getattr(carrier, "unreadable", 0)
        if unreadable and not again:
            self.telemetry.drop(semconv.DROPPED_HEADER, unreadable)
        if not isinstance(context, Context):
            msg = f"the propagator extracted {type(context).__name__}: return a Context"
            raise TypeError(msg)
        return context

    def _take(self, headers: Headers) -> tuple[Context, Headers]:
        getter = AskedGetter()
        context = self._read(headers, getter, again=False)
        # Not only the fields that will be written: a header that any reader would take for the context must not stay.
        names = _header_names(self.options.carrier, frozenset(getter.asked | self.telemetry.propagator.fields))
        return context, [
            header for header in headers if not (isinstance(header, tuple) and header and header[0] in names)
        ]

    def _put(self, headers: Headers, context: Context) -> Headers:
        header = traceparent.write(context) if self._is_w3c else None
        if header is not None:
            return [*headers, header]
        carrier = self.options.carrier(headers)
        self.telemetry.propagator.inject(carrier, context, _SETTER)
        injected = carrier.headers
        can_send = are_sendable(injected) or self.telemetry.client.can_send(injected)
        if injected is None or not can_send or not _keeps(injected, headers):
            msg = "the carrier's headers cannot be sent: they must be a list of (str, bytes) tuples with all given ones"
            raise TypeError(msg)
        return injected


def merge(over: Context, *, under: Context) -> Context:
    """Return both contexts merged, baggage entry by entry. Where both have an entry, that of `over` is used."""
    if not under:
        return over
    merged = Context({**under, **over})
    ours = baggage.get_all(over)
    for name, value in baggage.get_all(under).items():
        if traceparent.BAGGAGE_KEY in over and name not in ours:
            merged = baggage.set_baggage(name, value, merged)
    return merged


def shared_contexts(options: Options) -> Contexts:
    """Return the contexts for calls without a client."""
    try:
        return _cached_contexts(options)
    except TypeError:  # a propagator or provider of the user's that cannot be hashed
        return Contexts(Telemetry(options, logged=LOGGED_OF_UNKNOWN))


@lru_cache(maxsize=64)
def _cached_contexts(options: Options) -> Contexts:
    return Contexts(Telemetry(options))


def _contexts_of(options: Options | None) -> Contexts:
    contexts = shared_contexts(for_either(options))
    contexts.telemetry.refresh(contexts.telemetry.now())
    return contexts


@lru_cache(maxsize=64)
def _header_names(carrier: type[Carrier], keys: frozenset[str]) -> set[str]:
    """Return the header names under which a carrier writes `keys`. A user's carrier may, for example, add a prefix."""
    probe = carrier()
    for key in keys:
        probe.set(key, "-")
    return {name for name, _ in probe.headers}


def _keeps(injected: Headers, headers: Headers) -> bool:
    """Return whether all `headers` are among the injected ones, in their order."""
    at = 0
    for header in injected:
        if at < len(headers) and header == headers[at]:
            at += 1
    return at == len(headers)


def _check_headers(headers: object) -> None:
    if headers is not None and not isinstance(headers, list | tuple):
        msg = f"headers={type(headers).__name__}: give a list of (str, bytes) tuples, or a record that has them"
        raise TypeError(msg)
