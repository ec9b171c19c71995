"""The W3C's format of a context, read and written without a propagator where a record has just a `traceparent`.

The result is the same as from the API's propagators; where it would not be, it is None, and they are called.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from opentelemetry import baggage, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, Span, SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otelkafka._context.sdk import parts_of

Header: TypeAlias = tuple[str, bytes]

SAMPLED: Final = 1
SAMPLED_DIGITS: Final = b"13579bdf"
"""The last digits of a traceparent with this flag: to search them costs less than to make a number."""
RANDOM: Final = 2
RANDOM_DIGITS: Final = b"2367abef"
"""The last digits with this flag."""
FLAGS: Final = {b"%02x" % flags: TraceFlags(flags) for flags in range(256)}
"""By their digits."""
(SPAN_KEY,) = trace.set_span_in_context(INVALID_SPAN, Context())
"""The key of a context's span."""
(BAGGAGE_KEY,) = baggage.set_baggage("name", "value", Context())
"""The key of a context's baggage."""
TRACEPARENT: Final = "traceparent"
BAGGAGE: Final = "baggage"
_OTHERS: Final = frozenset(("tracestate", BAGGAGE))
VALID: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
CONTINUED: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][13579bdf]")
"""The traceparent of a trace that is sampled."""
UNSAMPLED: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][02468ace]")
_WHOLE = frozenset((TraceContextTextMapPropagator, W3CBaggagePropagator))


def is_w3c(propagator: Any) -> bool:
    """Return whether a propagator is exactly the API's own for trace contexts, with or without the one for baggage."""
    kinds = [type(part) for part in parts_of(propagator)]
    return kinds.count(TraceContextTextMapPropagator) == 1 and _WHOLE.issuperset(kinds)


def carries_baggage(propagator: Any) -> bool:
    """Return whether a propagator is exactly the API's own for trace contexts and then the one for baggage."""
    return [type(part) for part in parts_of(propagator)] == [TraceContextTextMapPropagator, W3CBaggagePropagator]


def traceparent_of(headers: Any) -> bytes | None:  # noqa: PLR0911 (each thing that is unclear ends it)
    """Return the one valid traceparent; empty where nothing is of a context, None where more is, or that is unclear."""
    if not headers:
        return b""
    if type(headers) is not list and type(headers) is not tuple:
        return None
    parent = b""
    for header in headers:
        if type(header) is not tuple:
            return None
        try:
            key, value = header
        except ValueError:
            return None
        if key == TRACEPARENT:
            if parent or type(value) is not bytes or VALID.fullmatch(value) is None:
                return None
            parent = value
        elif type(key) is not str or key in _OTHERS:
            return None
    return parent


def read(headers: Any) -> Context | None:
    """Return the context in headers that have a traceparent, and nothing else of one."""
    parent = traceparent_of(headers)
    if not parent:
        return None if parent is None else Context()
    flags = TraceFlags(int(parent[-2:], 16))
    context = SpanContext(int(parent[3:35], 16), int(parent[36:52], 16), is_remote=True, trace_flags=flags)
    return Context({SPAN_KEY: NonRecordingSpan(context)})


def write(context: Mapping[str, object]) -> Header | None:
    """Return the one header that carries a context whose span is valid, without tracestate and baggage."""
    span = context.get(SPAN_KEY)
    carried = span.get_span_context() if isinstance(span, Span) else None
    if carried is None or not carried.is_valid or carried.trace_state or BAGGAGE_KEY in context:
        return None
    return header(carried.trace_id, carried.span_id, carried.trace_flags)


def header(trace_id: int | bytes, span_id: int | bytes, flags: int) -> Header:
    """Return the traceparent with these ids, given as numbers or as hexadecimal digits."""
    if isinstance(trace_id, int) and isinstance(span_id, int):
        return TRACEPARENT, b"00-%032x-%016x-%02x" % (trace_id, span_id, flags)
    trace_digits = trace_id if isinstance(trace_id, bytes) else b"%032x" % trace_id
    span_digits = span_id if isinstance(span_id, bytes) else b"%016x" % span_id
    return TRACEPARENT, b"00-%b-%b-%02x" % (trace_digits, span_digits, flags)
