"""How a trace becomes rows, where the real system cannot be made to show it on cue."""

import pytest
from rich.console import Console

from examples.ask.telemetry import exported_elsewhere, samples_all, sampling
from examples.ask.terminal import print_waterfall
from examples.ask.traces import Link, Span, Trace
from examples.ask.waterfall import Waterfall, seconds, shortened

SECOND = 1_000_000_000


def process(trace_id, start, end, *, links=(), queue=(0.0, 0.0, 0.0), busy_count=None, **attributes):
    """A process span from second to second, which waited in all, while busy, and for Kafka."""
    names = ("duration", "busy_duration", "fetch_duration")
    count = {} if busy_count is None else {"otelkafka.queue.busy_count": busy_count}
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
        attributes={**waited, **count, **attributes},
        links=tuple(links),
    )


def busy(trace_id, took, offset=0, **attributes):
    """A link to what kept the consumer busy."""
    place = {
        "messaging.destination.name": "questions",
        "messaging.destination.partition.id": "2",
        "messaging.kafka.offset": offset,
    }
    kind = {"otelkafka.link.type": "busy", "otelkafka.process.duration": took}
    return Link(trace_id, f"{trace_id}-span", {**kind, **(attributes or place)})


def parts(waterfall):
    (row,) = [row for row in waterfall.rows if row.segments]
    return [(part.kind, part.label, round(part.duration, 6), part.trace_id) for part in row.segments]


def test_what_was_not_sampled_is_named_by_its_place():
    """The link alone says which record it was, and how long it took."""
    span = process("b", 13, 14, links=[busy("a", 2.0, 7)], queue=(3.0, 2.5, 0.5), busy_count=1)
    waterfall = Waterfall(Trace("b", [span]), {}.get)
    assert parts(waterfall) == [
        ("kafka", "Kafka", 0.5, None),
        ("busy", "consumer busy with questions-2@7", 2.0, None),
        ("busy", "consumer busy", 0.5, None),
    ]


def test_a_backlog_is_neither_busy_nor_kafka():
    """What lies before there was a consumer is a part of its own."""
    span = process("b", 20, 21, queue=(10.0, 1.0, 2.0))
    assert parts(Waterfall(Trace("b", [span]), {}.get)) == [
        ("before", "before there was a consumer for it", 7.0, None),
        ("kafka", "Kafka", 2.0, None),
        ("busy", "consumer busy", 1.0, None),
    ]


def test_three_busy_bars_in_the_order_of_their_offsets_and_how_many_more_there_are():
    """What took longest is whole, what began before the wait is shortened, and the rest is counted."""
    asked = {name: Trace(name, [process(name, 8, 9, **{"ask.question": name})]) for name in ("first", "second")}
    links = [busy("third", 2.0, 3), busy("second", 1.0, 2), busy("first", 4.0, 1)]
    span = process("b", 13, 14, links=links, queue=(5.0, 4.5, 0.5), busy_count=10)
    assert parts(Waterfall(Trace("b", [span]), asked.get)) == [
        ("kafka", "Kafka", 0.5, None),
        ("busy", "consumer busy with «first»", 1.5, "first"),
        ("busy", "consumer busy with «second»", 1.0, "second"),
        ("busy", "consumer busy with questions-2@3", 2.0, None),
    ]
    fast = process("b", 13, 14, links=[busy("second", 1.0, 2)], queue=(2.0, 2.0, 0.0), busy_count=10)
    waterfall = Waterfall(Trace("b", [fast]), asked.get)
    assert parts(waterfall) == [
        ("busy", "consumer busy with «second»", 1.0, "second"),
        ("busy", "consumer busy with 9 more", 1.0, None),
    ]
    (wait,) = (row for row in waterfall.rows if row.segments)
    assert wait.why == "Waited 2.00 s: 1.00 s consumer busy with «second», 1.00 s consumer busy with 9 more."


def test_only_the_links_of_the_span_itself_are_drawn():
    """What kept the consumer busy before the linked record is no part of this wait."""
    before = process("a", 8, 10, links=[busy("z", 5.0)], queue=(5.0, 5.0, 0.0), busy_count=1)
    span = process("b", 10.01, 11, links=[busy("a", 2.0, 1)], queue=(2.01, 2.01, 0.0), busy_count=1)
    waterfall = Waterfall(Trace("b", [span]), {"a": Trace("a", [before])}.get)
    assert parts(waterfall) == [("busy", "consumer busy with questions-2@1", 2.0, "a")]


@pytest.mark.parametrize(("count", "label"), [(0, ""), (1, " with 1 record"), (1000, " with 1000 records")])
def test_fast_records_are_counted_without_a_link(count, label):
    """A second spent on a thousand fast records is not a second spent on one slow record."""
    span = process("b", 13, 14, queue=(1.0, 1.0, 0.0), busy_count=count)
    assert parts(Waterfall(Trace("b", [span]), {}.get)) == [("busy", f"consumer busy{label}", 1.0, None)]


def test_a_batch_is_named_by_its_count_and_counts_as_its_records():
    """It has no offset."""
    batch = {"messaging.destination.name": "questions", "messaging.batch.message_count": 5}
    span = process("b", 13, 14, links=[busy("a", 1.0, **batch)], queue=(2.0, 2.0, 0.0), busy_count=7)
    assert parts(Waterfall(Trace("b", [span]), {}.get)) == [
        ("busy", "consumer busy with a batch of 5 from questions", 1.0, None),
        ("busy", "consumer busy with 2 more", 1.0, None),
    ]


def test_records_processed_side_by_side_fill_the_wait_once():
    """In several threads together they take longer than the wait: the longest is drawn."""
    links = [busy("a", 2.0, 1), busy("c", 1.5, 2)]
    span = process("b", 13, 14, links=links, queue=(2.0, 2.0, 0.0), busy_count=2)
    assert parts(Waterfall(Trace("b", [span]), {}.get)) == [("busy", "consumer busy with questions-2@1", 2.0, None)]


def test_no_wait_no_row():
    """A wait that nobody could see is not drawn."""
    waterfall = Waterfall(Trace("a", [process("a", 1, 2, queue=(0.0005, 0.0, 0.0005))]), {}.get)
    assert [row.label for row in waterfall.rows] == ["process questions"]


@pytest.mark.parametrize("width", [80, 110, 200])
def test_the_terminal_is_never_too_narrow(width):
    """No line is longer than the terminal, however long the question."""
    longest = "long " * 40
    before = Trace("a", [process("a", 8, 10, **{"ask.question": longest})])
    span = process("b", 10, 12, links=[busy("a", 2.0)], queue=(2.0, 2.0, 0.0), **{"ask.question": longest})
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
def test_sampling_is_described_in_words(environment, sentence, everything):
    """As the SDK reads the variables: an argument that is no number counts as 1."""
    assert sampling(environment) == sentence
    assert samples_all(environment) is everything


def test_where_spans_go_instead():
    """The variable for traces alone wins over that for all signals."""
    shown = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b"}
    assert exported_elsewhere(shown) == "http://b"
    assert exported_elsewhere({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}) == "http://a"
    assert exported_elsewhere({}) is None
