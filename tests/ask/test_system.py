"""The running demo: the shape of its traces, its pages, and what it says to bad input."""

import json
import subprocess

import pytest

from examples.ask.__main__ import NOT_SAMPLED, QUESTIONS
from examples.ask.system import Question
from examples.ask.waterfall import SLACK, Waterfall
from tests.ask.user import fetch
from tests.support.needs import need
from tests.support.waiting import wait_until

NAMES = [question.question for question in QUESTIONS]


@pytest.fixture
def traces(system):
    """The traces of the four questions, in the order in which they were asked."""
    asked = sorted(system.traces.all(), key=lambda trace: trace.start)
    return [trace for trace in asked if trace.question in NAMES]


def test_each_question_is_one_trace_of_the_shape_of_the_talk(traces):
    """HTTP and send in one service, process, print, mark, tweet and commit in the other."""
    assert [trace.question for trace in traces] == NAMES
    for trace in (trace for trace in traces if not trace.reason):
        named = {span.name: span for span in trace.spans}
        parents = {
            name: next((p.name for p in trace.spans if p.span_id == s.parent_id), None) for name, s in named.items()
        }
        assert parents == {
            "POST /questions": None,
            "send questions": "POST /questions",
            "process questions": "send questions",
            "print message": "process questions",
            "mark": "process questions",
            "tweet": "process questions",
            "commit questions": "process questions",
        }
        assert trace.services == {"kafka-producer": 2, "kafka-consumer": 5}
        assert {span.trace_id for span in trace.spans} == {trace.trace_id}


def test_one_was_not_sampled_and_waited_too_long(system, traces):
    """It is there from its process span on, with all below, and its wait is drawn before that."""
    (trace,) = (trace for trace in traces if trace.reason)
    assert trace.question == NOT_SAMPLED.question
    assert trace.reason == "waited too long"
    assert trace.services == {"kafka-consumer": 5}
    assert trace.root.parent_id
    rows = Waterfall(trace, system.traces.get).rows
    assert [row.label for row in rows[:2]] == ["waits in questions", "process questions"]
    assert rows[0].start == pytest.approx(0, abs=1e-6)
    assert rows[1].start == pytest.approx(trace.root.waited, abs=1e-6)


def test_time_to_glass_is_that_of_every_record(get, system):
    """Sampled or not; what was recorded nevertheless is shown beside it, with the reason."""
    counted = lambda: sum(topic.count for topic in system.metrics.glass.topics())
    wait_until(lambda: counted() >= len(QUESTIONS), "all questions in the time to glass", counted)
    (topic,) = system.metrics.glass.topics()
    assert topic.topic == "questions"
    assert sum(bar.count for bar in topic.bars) == topic.count
    assert max(bar.share for bar in topic.bars) == 1
    assert 0 < topic.mean <= topic.longest
    exemplars = [bar.trace_id for bar in topic.bars if bar.trace_id]
    assert exemplars
    there = lambda: [trace_id for trace_id in exemplars if system.traces.get(trace_id)]
    wait_until(lambda: there() == exemplars, f"the traces {exemplars}, whose spans come by themselves", there)
    status, page = get("/glass")
    assert status == 200
    assert "otelkafka.pipeline.duration" in page
    assert ">a trace</a>" in page
    assert NOT_SAMPLED.question in page
    assert "waited too long" in page


def test_it_says_why_it_is_there(get, traces):
    """In the list and above the trace."""
    (trace,) = (trace for trace in traces if trace.reason)
    assert get("/traces")[1].count("not sampled, but it waited too long") == 1
    assert "but recorded: it waited too long." in get(f"/traces/{trace.trace_id}")[1]


def test_the_last_waits_for_those_before_it(system, traces):
    """Its wait names the three questions before it in their order, and leads to their traces."""
    (wait,) = [row for row in Waterfall(traces[-1], system.traces.get).rows if row.segments]
    busy = [part for part in wait.segments if part.kind == "busy"]
    assert [part.label for part in busy] == [f"consumer busy with «{name}»" for name in NAMES[:3]]
    assert [part.trace_id for part in busy] == [trace.trace_id for trace in traces[:3]]
    assert sum(part.duration for part in wait.segments) == pytest.approx(wait.duration, rel=SLACK)


def test_a_failed_tweet_is_red_and_its_record_is_committed(traces):
    """The exception passes through the process span; the commit is there nevertheless."""
    failed = {span.name for span in traces[-1].spans if span.error}
    assert failed == {"tweet", "process questions"}
    assert not any(trace.failed for trace in traces[:-1])
    assert {"commit questions"} <= {span.name for span in traces[-1].spans}


def test_pages_show_it(get, traces):
    """The wall has the answers, the list has the traces, and a trace says who kept the consumer busy."""
    for name in NAMES:
        assert name in get("/")[1]
        assert name in get("/traces")[1]
    status, page = get(f"/traces/{traces[-1].trace_id}")
    assert status == 200
    assert f"consumer busy with «{NAMES[2]}»" in page
    assert f'href="/traces/{traces[2].trace_id}"' in page
    assert "Every trace that begins here is sampled (OTEL_TRACES_SAMPLER is not set)." in page


def test_metrics_that_matter_are_drawn(get, system):
    """The charts show queue time, busy share and lag."""
    wait_until(system.metrics.intervals, "the first metrics")
    system.ask(Question("Franz", "Are there figures?"))
    waited = lambda: any(interval.waited for interval in system.metrics.intervals())
    wait_until(waited, "a wait in the metrics", system.metrics.intervals)
    _, page = get("/metrics")
    for name in ("otelkafka.queue.duration", "otelkafka.consumer.time", "otelkafka.consumer.lag"):
        assert name in page
    assert all(0 <= interval.busy <= 1 for interval in system.metrics.intervals())


def test_a_trace_that_is_not_there(get):
    """The page says so and leads on."""
    status, page = get("/traces/0")
    assert status == 404
    assert "No such trace" in page


def test_an_empty_question(system, get):
    """It is refused in words, for people and programs alike, and is no record."""
    assert system.ask(Question("Franz", "  ")) == {"error": "Write a question first, of 280 characters at most."}
    status, page = fetch(f"{system.page_url}/questions", b"name=Franz&question=", "application/x-www-form-urlencoded")
    assert status == 400
    assert "Write a question first" in page
    assert 'value="Franz"' in page


def test_html_in_a_question_is_text(system, get):
    """It harms nobody who looks at the wall."""
    system.ask(Question("<b>", "<script>alert(1)</script>"))
    assert "<script>alert" not in get("/")[1]


@pytest.mark.parametrize(
    ("path", "body", "content_type", "status"),
    [
        ("/v1/traces", b"{}", "application/json", 415),
        ("/v1/traces", b"\xff", "application/x-protobuf", 400),
        ("/v1/metrics", b"\xff", "application/x-protobuf", 400),
        ("/v1/traces", b"", "application/x-protobuf", 200),
        ("/wall/entries", b"{}", "application/json", 400),
        ("/wall/members", b"[]", "application/json", 400),
    ],
)
def test_what_comes_in_is_checked(system, path, body, content_type, status):
    """What is no telemetry is refused as HTTP does it."""
    assert fetch(system.page_url + path, body, content_type)[0] == status


def test_kcat_reads_the_headers(system, traces):
    """The line of the documentation prints a traceparent with the trace's id and the send span's, and the origin."""
    need("kcat")
    line = ["kcat", "-C", "-q", "-e", "-c", "1", "-b", system.kafka.bootstrap_servers, "-t", "questions", "-f", "%h\n"]
    header = subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()
    send = next(span for span in traces[0].spans if span.name == "send questions")
    traceparent, origin = header.split(",")
    assert traceparent == f"traceparent=00-{send.trace_id}-{send.span_id}-{traceparent[-2:]}"
    assert int(traceparent[-2:], 16) & 1
    began = int(origin.removeprefix("baggage=otelkafka.origin=")) * 1_000_000
    assert began == pytest.approx(send.start, abs=10_000_000)


def test_the_value_is_what_was_asked(system):
    """Anybody can read the topic."""
    need("kcat")
    line = ["kcat", "-C", "-q", "-e", "-c", "1", "-b", system.kafka.bootstrap_servers, "-t", "questions", "-f", "%s"]
    shown = json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)
    assert shown == vars(QUESTIONS[0])
