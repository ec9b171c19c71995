"""The links of a span: creation contexts under a limit."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext

from otelkafka._telemetry import attributes, semconv
from otelkafka._telemetry.attributes import Attributes
from otelkafka._telemetry.telemetry import Telemetry


def link_to(context: SpanContext, kind: str) -> list[Link]:
    """Return one link, or none where the context is not valid."""
    return [Link(context, attributes.of_link(kind))] if context.is_valid else []


def links_between(ambient: Context, incoming: Context) -> list[Link]:
    """Return a link to the context that came in the headers, where it is of another trace than the ambient span."""
    here = trace.get_current_span(ambient).get_span_context()
    there = trace.get_current_span(incoming).get_span_context()
    return link_to(there, semconv.LINK_CREATION) if here.is_valid and here.trace_id != there.trace_id else []


class Described(NamedTuple):
    """What a span that is recorded says beyond what is known of every one of its kind.

    Attributes:
        attributes: of the span.
        links: of it.
        dropped: how many links were left out.
    """

    attributes: Attributes
    links: Sequence[Link] = ()
    dropped: int = 0


def describe_records(
    telemetry: Telemetry,
    records: Sequence[Any],
    created: Sequence[SpanContext],
    room: int,
    attributes_of: Callable[[int], Attributes],
) -> Described:
    """Return the links to the creation contexts of records, sampled ones first where there are too many.

    What differs from record to record stands on its link; where there is one record, on the span, too.

    Args:
        telemetry: of the client.
        records: the batch.
        created: their creation contexts.
        room: how many links there may be.
        attributes_of: returns what the link of the record at an index says of it, beside where it was read from.
    """
    found = attributes_of(0) if len(records) == 1 else {}
    is_mixed = len({record.topic for record in records}) > 1
    valid = [(context, index) for index, context in enumerate(created) if context.is_valid]
    dropped = max(0, len(valid) - max(0, room))
    if dropped:
        valid = sorted(valid, key=lambda each: not each[0].trace_flags.sampled)[: max(0, room)]
    links = []
    for context, index in valid:
        record = records[index]
        place = attributes.of_partition(record.partition)
        if is_mixed:
            place.update(telemetry.destinations[record.topic].attributes)
        links.append(Link(context, attributes.of_link(semconv.LINK_CREATION, {**place, **attributes_of(index)})))
    return Described(found, links, dropped)
