"""The context that the tests give, and what they ask of the ones that come back."""

from opentelemetry import baggage, propagate
from opentelemetry.context import Context

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
STATE = "vendor=one,other=t61rcWkgMzE"
TENANTS, BAGGAGE = {"tenant": "blue", "city": "Kraków,PL"}, "tenant=blue,city=Krak%C3%B3w%2CPL"
CONTEXT = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": STATE, "baggage": BAGGAGE}


def ids(shown):
    return {name: shown[name] for name in ("trace_id", "span_id")}


def ids_of(context):
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def baggage_of(headers):
    """What the headers say, in whatever order and writing."""
    return dict(baggage.get_all(propagate.extract(headers, Context())))


def related(peer, span):
    """Which span a peer's is a child of, or links."""
    if peer.links:
        (link,) = span["links"]
        return ids(link)
    return {"trace_id": span["trace_id"], "span_id": span["parent_id"]}


def names(headers):
    return sorted(name for name, _ in headers)
