"""Time to glass put together from the reports of several consumers, where the demo cannot be made to have it on cue."""

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Exemplar, HistogramDataPoint

from examples.ask.glass import TEMPLATE, TOPIC, Bar, Glass

BOUNDS = 0.1, 1, 5
TRACE = bytes(range(16))


def point(counts, total, longest, exemplars=(), **attributes):
    """What a consumer reports of one topic."""
    shown = {TOPIC: "questions"} if not attributes else {TEMPLATE: attributes["template"]}
    return HistogramDataPoint(
        attributes=[KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in shown.items()],
        explicit_bounds=BOUNDS,
        bucket_counts=counts,
        count=sum(counts),
        sum=total,
        max=longest,
        exemplars=[Exemplar(as_double=value, trace_id=TRACE) for value in exemplars],
    )


def test_consumers_are_put_together():
    """Partitions and members alike; the bars go from the first that is not empty to the last."""
    glass = Glass()
    glass.keep("a", [point([0, 1, 0, 0], 0.5, 0.5), point([0, 1, 0, 0], 0.7, 0.7)])
    glass.keep("b", [point([0, 2, 0, 1], 10.8, 9.0)])
    (topic,) = glass.topics()
    assert (topic.topic, topic.count, topic.longest) == ("questions", 5, 9.0)
    assert topic.mean == pytest.approx(2.4)
    assert topic.bars == [
        Bar("0.1 to 1 s", 4, 1.0, None),
        Bar("1 to 5 s", 0, 0.0, None),
        Bar("over 5 s", 1, 0.25, None),
    ]


def test_report_of_a_consumer_replaces_the_one_before():
    """They are totals; an exemplar is reported once and kept."""
    glass = Glass()
    glass.keep("a", [point([1, 0, 0, 0], 0.05, 0.05, exemplars=[0.05])])
    glass.keep("a", [point([2, 0, 0, 0], 0.15, 0.1)])
    (topic,) = glass.topics()
    assert topic.bars == [Bar("0 to 0.1 s", 2, 1.0, TRACE.hex())]


def test_an_exemplar_is_in_the_bucket_of_its_value():
    """A bound belongs to the bucket below it."""
    glass = Glass()
    glass.keep("a", [point([0, 1, 1, 0], 6.0, 5.0, exemplars=[5.0])])
    assert [bar.trace_id for bar in glass.topics()[0].bars] == [None, TRACE.hex()]


def test_topics_by_name_a_template_is_one():
    """As the metrics have them."""
    glass = Glass()
    glass.keep("a", [point([1, 0, 0, 0], 0.1, 0.1), point([1, 0, 0, 0], 0.1, 0.1, template="answers-{tenant}")])
    assert [topic.topic for topic in glass.topics()] == ["answers-{tenant}", "questions"]


def test_without_a_report_there_is_no_topic():
    """A consumer without records is none."""
    glass = Glass()
    glass.keep("a", [])
    assert glass.topics() == []
