"""Consumers that take turns: each new span starts where the consumer's previous one did, not inside the other's."""

from itertools import zip_longest

import pytest

from tests.support.face import process_of
from tests.support.fakes import ambient_of, consumer_of, current, is_nothing_current, record


def consumers(recorder, count, records=4, **options):
    """So many consumers, of a topic each, whose records carry no context."""
    return [
        consumer_of(recorder, *(record(at, topic=topic, headers=[]) for at in range(records)), **options)
        for topic in "abc"[:count]
    ]


def parents(recorder):
    """The parents' topics and offsets, by the topic and offset of each span; None for none."""
    place = lambda span: (span.attributes["messaging.destination.name"], span.attributes["messaging.kafka.offset"])
    by_id = {span.context.span_id: place(span) for span in recorder.spans}
    return {place(span): span.parent and by_id.get(span.parent.span_id, "else") for span in recorder.spans}


def pairs(inner, outer="a", count=4):
    return {(inner, at): (outer, at) for at in range(count)}


@pytest.mark.parametrize("way", ["next", "zip", "poll", "lists"])
def test_two_consumers_in_turn_make_pairs(recorder, way):
    """The reply that is read inside the loop over requests is inside its request, and each request on its own."""
    one, other = consumers(recorder, 2)
    if way == "next":
        for _ in one:
            next(other)
    elif way == "zip":
        for _ in zip_longest(one, other):
            pass
    elif way == "poll":
        while polled := one.poll(max_records=1):
            for records in polled.values():
                for _ in records:
                    next(other)
    else:
        for _ in zip(*(next(iter(each.poll().values())) for each in (one, other)), strict=True):
            pass
    one.close()
    other.close()
    assert is_nothing_current()
    assert parents(recorder) == {**{("a", at): None for at in range(4)}, **pairs("b")}


def test_three_consumers_in_turn_nest_once(recorder):
    """Each inside the one before it, and the first on its own."""
    together = consumers(recorder, 3)
    for _ in zip(*together, strict=True):
        pass
    for each in together:
        each.close()
    assert is_nothing_current()
    assert parents(recorder) == {**{("a", at): None for at in range(4)}, **pairs("b"), **pairs("c", "b")}


def test_turns_inside_a_span_of_the_application_stay_inside_it(recorder):
    """The span around the loop is where each pair starts."""
    one, other = consumers(recorder, 2)
    with ambient_of(recorder) as around:
        for _ in one:
            next(other)
        one.close()
        other.close()
        assert current() == around.get_span_context()
    assert parents_of_topic(recorder, "a") == {around.get_span_context().span_id}


def parents_of_topic(recorder, topic):
    spans = [span for span in recorder.spans if (span.attributes or {}).get("messaging.destination.name") == topic]
    return {span.parent.span_id for span in spans}


def test_block_or_span_of_the_application_in_between_is_kept(recorder):
    """What is around the call by the application's own wish is around the new span, too."""
    one, other = consumers(recorder, 2)
    next(one)
    with process_of(other, record(0, topic="b", headers=[])) as block:
        next(one)
        assert parents_while_open(recorder, one) == block.get_span_context().span_id
    next(one)
    with ambient_of(recorder) as own:
        next(one)
        assert parents_while_open(recorder, one) == own.get_span_context().span_id
    one.close()
    assert is_nothing_current()


def parents_while_open(recorder, consumer):
    """The parent of the span that is current."""
    from opentelemetry import trace

    return trace.get_current_span().parent.span_id
