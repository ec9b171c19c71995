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
    """Return one link, or none if the context is not valid."""
    return [Link(context, attributes.of_link(kind))] if context.is_valid else []


def links_between(ambient: Context, incoming: Context) -> list[Link]:
    """Return a link to the context in the headers, if it belongs to another trace than the ambient span."""
    here = trace.get_current_span(ambient).get_span_context()
    there = trace.get_current_span(incoming).get_span_context()
    return link_to(there, semconv.LINK_CREATION) if here.is_valid and here.trace_id != there.trace_id else []


class Described(NamedTuple):
    """The attributes and links of one recorded span, in addition to those of every span of its operation.

    Attributes:
        attributes: the attributes of the span.
        links: the links of the span.
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
    """Return the links to the creation contexts of records. If there are too many, sampled ones are preferred.

    A link has the attributes in which its record differs from the others. For a single record the span has them, too.

    Args:
        telemetry: the telemetry of the client.
        records: the batch.
        created: their creation contexts.
        room: the maximum number of links.
        attributes_of: returns the attributes of the link for the record at an index, without its partition.
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
