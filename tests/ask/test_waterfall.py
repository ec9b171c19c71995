"""How a trace becomes rows, where the real system cannot be made to show it on cue."""

import pytest
from rich.console import Console

from examples.ask.telemetry import exported_elsewhere, samples_all, sampling
from examples.ask.terminal import print_waterfall
from examples.ask.traces import Link, Span, Trace
from examples.ask.waterfall import Waterfall, seconds, shortened

SECOND = 1_000_000_000


def process(trace_id, start, end, *, link=None, queue=(0.0, 0.0, 0.0), **attributes):
    """A process span from second to second, which waited in all, while busy, and for Kafka."""
    names = ("duration", "busy_duration", "fetch_duration")
    waited = {f"otelkafka.queue.{name}": value for name, value in zip(names, queue, strict=True)}
    return Span(
        service="kafka-consumer",
        trace_id=trace_id,
        span_id=f"{trace_id}-span",
        parent_id="",
        name="process questions",
        kind="consumer",
        start=int(start * SECOND),
        end=int(end * SECOND),
        attributes={**waited, **attributes},
        links=(link,) if link else (),
    )


def predecessor(trace_id, took, **place):
    return Link(
        trace_id,
        f"{trace_id}-span",
        {"otelkafka.link.type": "predecessor", "otelkafka.process.duration": took, **place},
    )


def parts(waterfall):
    (row,) = [row for row in waterfall.rows if row.segments]
    return [(part.kind, part.label, round(part.duration, 6), part.trace_id) for part in row.segments]


def test_a_predecessor_that_was_not_sampled_is_named_by_its_place():
    """The link alone tells which record it was, and stands for all of the busy time."""
    place = {
        "messaging.destination.name": "questions",
        "messaging.destination.partition.id": "2",
        "messaging.kafka.offset": 7,
    }
    span = process("b", 13, 14, link=predecessor("a", 2.0, **place), queue=(3.0, 2.5, 0.5))
    waterfall = Waterfall(Trace("b", [span]), {}.get)
    assert parts(waterfall) == [
        ("kafka", "Kafka", 0.5, None),
        ("busy", "consumer busy with questions-2@7", 2.5, None),
    ]


def test_a_backlog_is_neither_busy_nor_kafka():
    """What lies before there was a consumer is a part of its own."""
    span = process("b", 20, 21, queue=(10.0, 1.0, 2.0))
    assert parts(Waterfall(Trace("b", [span]), {}.get)) == [
        ("before", "before there was a consumer for it", 7.0, None),
        ("kafka", "Kafka", 2.0, None),
        ("busy", "consumer busy", 1.0, None),
    ]


def test_predecessors_are_followed_as_far_as_the_busy_time_goes():
    """The one before the one before is found through its trace; a little left over is nobody's else."""
    first = Trace("a", [process("a", 8, 10, **{"ask.question": "first"})])
    second = Trace("b", [process("b", 10, 12, link=predecessor("a", 2.0), **{"ask.question": "second"})])
    third = Trace("c", [process("c", 12.01, 13, link=predecessor("b", 2.0), queue=(3.02, 3.01, 0.01))])
    known = {"a": first, "b": second}
    assert parts(Waterfall(third, known.get)) == [
        ("kafka", "Kafka", 0.01, None),
        ("busy", "consumer busy with «first»", 1.01, "a"),
        ("busy", "consumer busy with «second»", 2.0, "b"),
    ]


def test_no_wait_no_row():
    """A wait that nobody could see is not drawn."""
    waterfall = Waterfall(Trace("a", [process("a", 1, 2, queue=(0.0005, 0.0, 0.0005))]), {}.get)
    assert [row.label for row in waterfall.rows] == ["process questions"]


@pytest.mark.parametrize("width", [80, 110, 200])
def test_the_terminal_is_never_too_narrow(width):
    """No line is longer than the terminal, however long the question."""
    longest = "long " * 40
    before = Trace("a", [process("a", 8, 10, **{"ask.question": longest})])
    span = process("b", 10, 12, link=predecessor("a", 2.0), queue=(2.0, 2.0, 0.0), **{"ask.question": longest})
    console = Console(width=width, record=True, file=None, quiet=False)
    with console.capture() as capture:
        print_waterfall(console, Waterfall(Trace("b", [span]), {"a": before}.get))
    assert max(map(len, capture.get().splitlines())) <= width
    assert "consumer busy with «long" in capture.get()


def test_axis_has_round_moments():
    """A few of them, none at the very end."""
    trace = Trace("a", [process("a", 0, 1.79)])
    assert [words for _, words in Waterfall(trace, {}.get).ticks] == ["0 s", "0.5 s", "1 s", "1.5 s"]


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (0.000367, "367 µs"),
        (0.0063, "6.3 ms"),
        (0.0126, "13 ms"),
        (0.95, "950 ms"),
        (1.786, "1.79 s"),
        (110.4, "110 s"),
    ],
)
def test_durations_read_as_a_person_would_write_them(duration, words):
    """Three digits are enough."""
    assert seconds(duration) == words


def test_long_texts_are_shortened():
    """With a mark that something is missing."""
    assert shortened("a" * 100, 10) == "a" * 9 + "…"


@pytest.mark.parametrize(
    ("environment", "sentence", "everything"),
    [
        ({}, "Every trace that begins here is sampled (OTEL_TRACES_SAMPLER is not set).", True),
        (
            {"OTEL_TRACES_SAMPLER": "always_on"},
            "Every trace that begins here is sampled (OTEL_TRACES_SAMPLER=always_on).",
            True,
        ),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, "No trace is sampled (OTEL_TRACES_SAMPLER=always_off).", False),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
            "25% of the traces are sampled (OTEL_TRACES_SAMPLER=traceidratio, OTEL_TRACES_SAMPLER_ARG=0.25).",
            False,
        ),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "lots"},
            "100% of the traces are sampled (OTEL_TRACES_SAMPLER=traceidratio, OTEL_TRACES_SAMPLER_ARG=lots).",
            False,
        ),
        (
            {"OTEL_TRACES_SAMPLER": "mine"},
            "A sampler of its own decides which traces are sampled (OTEL_TRACES_SAMPLER=mine).",
            False,
        ),
    ],
)
def test_sampling_is_told_in_words(environment, sentence, everything):
    """As the SDK reads the variables: an argument that is no number counts as 1."""
    assert sampling(environment) == sentence
    assert samples_all(environment) is everything


def test_where_spans_go_instead():
    """The variable for traces alone wins over that for all signals."""
    told = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b"}
    assert exported_elsewhere(told) == "http://b"
    assert exported_elsewhere({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}) == "http://a"
    assert exported_elsewhere({}) is None
