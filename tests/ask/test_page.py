"""What the pages say where the real system cannot be made to show it on cue."""

from pathlib import Path

import pytest

from examples.ask.metrics import Interval, Metrics
from examples.ask.page import Page
from examples.ask.page.charts import charts
from examples.ask.traces import Span, Trace, Traces
from examples.ask.wall import Wall

STYLE = Path(__file__).parents[2] / "examples" / "ask" / "page" / "static" / "ask.css"


class OneTrace(Traces):
    """Holds one trace of one span, which no exporter sent."""

    def __init__(self, kind):
        super().__init__()
        self._traces["a"] = Trace("a", [Span("s", "a", "a-1", "", "POST /questions", kind, 0, 1_000_000, {})])


@pytest.mark.parametrize(
    ("kind", "text"),
    [("server", "the question was refused"), ("internal", "of the consumer group, without a question")],
)
def test_a_trace_without_a_question_says_what_it_is(kind, text):
    page = Page(OneTrace(kind), Metrics(), Wall(), "http://127.0.0.1:1").app.test_client().get("/traces").text
    assert text in page


def test_a_minute_without_records_shows_none_of_them():
    """Records of an earlier minute are not in the picture, and the caption does not deny that there were any."""
    quiet = [Interval(moment=0.0, busy=0.1, lag=0, waited=2.0), Interval(moment=100.0, busy=0.0, lag=0, waited=None)]
    (queue, *_) = charts(quiet)
    assert (queue.latest, queue.dots) == ("no record", [])


def test_a_card_is_as_tall_as_what_it_says():
    """A tall neighbour does not stretch it."""
    (rule,) = [line for line in STYLE.read_text().splitlines() if line.startswith(".wall {")]
    assert "align-items: start" in rule
