"""The contexts in the headers of records, decoded for people to read."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import TraceFlags, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otelkafka._context.propagation import extract
from otelkafka._context.traceparent import RANDOM, TRACEPARENT
from otelkafka.headers import HeaderCarrier
from otelkafka.options import Options

NO_CONTEXT = "no context"
DUPLICATES = "more than one traceparent"
BROKEN = "broken traceparent"
OTHER_FORMAT = "context in another format"
NO_PREFIX = "(no key)"
LONGEST_PREFIX = 20

_W3C = Options(propagator=CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()]))
_OTHER_FORMATS = frozenset(("b3", "x-b3-traceid", "uber-trace-id", "ot-tracer-traceid", "x-amzn-trace-id"))


@dataclass(frozen=True)
class Finding:
    """What one record carries.

    Args:
        partition: the partition of the record.
        offset: the offset of the record.
        age: how many seconds ago it was written, by its timestamp, if it has one.
        version: the first part of its traceparent. Like the next three, None if it has no traceparent, or a broken one.
        trace_id: the trace id.
        parent_id: the id of the span that sent it.
        sampled: whether its sender recorded it.
        random: whether the trace id is known to be random.
        tracestate: the entries of its tracestate.
        baggage: its keys, without their values.
        problems: what is wrong with the context.
        headers: the requested headers, by name.
    """

    partition: int
    offset: int
    age: float | None
    version: str | None = None
    trace_id: str | None = None
    parent_id: str | None = None
    sampled: bool | None = None
    random: bool | None = None
    tracestate: str = ""
    baggage: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    headers: dict[str, list[str]] = field(default_factory=dict)


def finding_of(record: Any, now: float, wanted: Sequence[str] = ()) -> Finding:
    """Return what a record carries.

    Args:
        record: a consumed record.
        now: Unix time in seconds.
        wanted: names of headers whose values are asked for.
    """
    headers = [header for header in record.headers or () if isinstance(header, tuple)]
    context = extract(headers, _W3C)
    carried, text = get_current_span(context).get_span_context(), HeaderCarrier(headers).get(TRACEPARENT)
    timestamp = record.timestamp
    found: dict[str, Any] = {
        "partition": record.partition,
        "offset": record.offset,
        "age": None if timestamp is None or timestamp < 0 else round(now - timestamp / 1000, 3),
        "baggage": tuple(baggage.get_all(context)),
        "problems": tuple(_problems(headers, is_valid=carried.is_valid)),
        "headers": _asked(headers, wanted),
    }
    if carried.is_valid and text is not None:
        flags = carried.trace_flags
        found.update(
            version=text.strip()[:2],
            trace_id=f"{carried.trace_id:032x}",
            parent_id=f"{carried.span_id:016x}",
            sampled=bool(flags & TraceFlags.SAMPLED),
            random=bool(flags & RANDOM),
            tracestate=carried.trace_state.to_header(),
        )
    return Finding(**found)


def printable(text: str) -> str:
    r"""Return a text that a terminal shows as it is: what would command the terminal is escaped, as `\x1b`."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def prefix_of(key: object) -> str:
    """Return the first word of a record's key, by which the summary groups records."""
    text = key.decode(errors="replace") if isinstance(key, bytes) else "" if key is None else str(key)
    word = "".join(letter if letter.isalnum() else " " for letter in text).split(" ")[0]
    return word[:LONGEST_PREFIX] or (NO_PREFIX if key is None else "(other)")


@dataclass
class Share:
    """How many of some records carry a context, and of how many of these the sender was recorded."""

    records: int = 0
    with_context: int = 0
    sampled: int = 0

    def add(self, found: Finding) -> None:
        """Count one more."""
        self.records += 1
        self.with_context += found.trace_id is not None
        self.sampled += found.sampled is True


class Summary:
    """What many records carry, by partition and by the first word of their keys."""

    def __init__(self) -> None:
        self.all = Share()
        self.partitions: dict[int, Share] = defaultdict(Share)
        self.prefixes: dict[str, Share] = defaultdict(Share)
        self.problems: Counter[str] = Counter()

    def add(self, found: Finding, key: object) -> None:
        """Count one more."""
        for share in (self.all, self.partitions[found.partition], self.prefixes[prefix_of(key)]):
            share.add(found)
        self.problems.update(found.problems)

    def as_json(self) -> dict[str, Any]:
        """Return the summary for JSON."""
        return {
            **asdict(self.all),
            "partitions": {str(name): asdict(share) for name, share in sorted(self.partitions.items())},
            "key_prefixes": {name: asdict(share) for name, share in sorted(self.prefixes.items())},
            "problems": dict(self.problems),
        }


def _problems(headers: Iterable[Any], *, is_valid: bool) -> Iterable[str]:
    names = [name for name, _ in headers]
    if names.count(TRACEPARENT) > 1:
        yield DUPLICATES
    if is_valid:
        return
    if TRACEPARENT in names:
        yield BROKEN
    elif any(isinstance(name, str) and name.lower() in _OTHER_FORMATS for name in names):
        yield OTHER_FORMAT
    else:
        yield NO_CONTEXT


def _asked(headers: Iterable[Any], wanted: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in headers:
        if name in wanted:
            text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else repr(value)
            found.setdefault(name, []).append(text)
    return found
