"""What is done with records again and again makes the traces that the documentation shows, on a real Kafka."""

import sys
from itertools import islice

import pytest

from examples.patterns import dead_letter, delayed_retry, replay
from examples.patterns.__main__ import ELSEWHERE, NAMES, PAGES, TRACE, main, page, play
from examples.patterns.stage import Stage
from examples.patterns.story import story
from tests.support.waiting import PATIENCE

pytestmark = [pytest.mark.real_kafka, pytest.mark.once]


@pytest.fixture
def stage(broker):
    with Stage(broker) as found:
        yield found


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_a_pattern_shows_the_trace_of_a_run(broker, name):
    """The trace on the page is that of a run; `python -m examples.patterns --write` puts a new one there."""
    shown = TRACE.search(page(name).read_text()).group().rstrip("\n")
    assert shown == story_of_a_group_that_joined_once(name, broker)


def story_of_a_group_that_joined_once(name, broker):
    """Of another run where Kafka had a member join twice, as it may on a busy machine: that is another story."""
    for _ in range(5):
        found = story(play(name, broker))
        if found.count("assign ") <= 1:
            break
    return found


def test_every_pattern_has_a_page_and_every_page_a_pattern():
    """The pages are those of the patterns, and the index."""
    assert {path.name for path in PAGES.glob("*.md")} == {
        "index.md",
        *(page(name).name for name in NAMES if name not in ELSEWHERE),
    }


def test_a_dead_letter_says_where_it_lay_and_what_failed_it(stage):
    """What is put aside is the record as it came, with two headers more, and one context."""
    orders, dead = stage.topic("orders"), stage.topic("orders.dead")
    producer = stage.producer()
    producer.send(orders, b"one", key=b"k", headers=[("tenant", b"a")]).get(PATIENCE)
    dead_letter.handle_or_bury(stage.consumer(orders, "stock"), producer, lambda record: int(record.value), dead, 1)
    (letter,) = islice(stage.consumer(dead, process="manual"), 1)
    assert (letter.key, letter.value) == (b"k", b"one")
    assert [key for key, _ in letter.headers] == ["tenant", "dead-letter.place", "dead-letter.error", "traceparent"]
    recorded = dict(letter.headers)
    assert recorded["dead-letter.place"] == f"{orders}/0/0".encode()
    assert recorded["dead-letter.error"].startswith(b"ValueError(")


def test_a_retry_that_succeeds_is_the_last(stage):
    """What fails once is handled again when it is due, in the same trace, and its wait is the consumer's own."""
    failures = [ConnectionError("not now")]

    def handle(_):
        if failures:
            raise failures.pop()

    orders, later = stage.topic("orders"), stage.topic("orders.retry")
    producer = stage.producer()
    failed = delayed_retry.Retries(producer, later, dead="unused")
    producer.send(orders, b"1", headers=[("tenant", b"a")]).get(PATIENCE)
    for topic, group, delay in ((orders, "stock", 0), (later, "stock.retry", delayed_retry.DELAY)):
        consumer = stage.consumer(topic, group, process="manual")
        delayed_retry.handle_or_retry(consumer, handle, failed, delay, count=1)
    (first,), (second,) = stage.recorder.named("process orders"), stage.recorder.named("process orders.retry")
    assert first.attributes["error.type"] == "ConnectionError"
    assert "error.type" not in second.attributes
    assert first.context.trace_id == second.context.trace_id
    assert second.attributes["otelkafka.queue.duration"] >= delayed_retry.DELAY - 0.001
    assert second.start_time - first.start_time >= (delayed_retry.DELAY - 0.001) * 1e9


def test_the_age_of_a_replayed_record_is_nobodys_slowness(broker):
    """A record of a week ago has waited for a week, of which neither busy nor fetch has a part."""
    spans = [span for span in play("replay", broker) if span.name == "process orders"]
    assert len(spans) == replay.ORDERS
    for span in spans:
        recorded = span.attributes
        parts = recorded["otelkafka.queue.busy_duration"] + recorded["otelkafka.queue.fetch_duration"]
        assert recorded["otelkafka.queue.duration"] > replay.WEEK
        assert parts < recorded["otelkafka.queue.duration"] - replay.WEEK + 0.01


def test_what_a_batch_sends_on_links_to_the_records_own_traces(stage):
    """With a record's headers, a send in a batch is a child of the batch's span, and links to the record's send."""
    readings, checked = stage.topic("readings"), stage.topic("checked")
    producer = stage.producer()
    for value in (b"1", b"2"):
        producer.send(readings, value).get(PATIENCE)
    consumer, count = stage.consumer(readings), 0
    while count < 2:
        polled = consumer.poll(timeout_ms=500)
        with consumer.process_batch(polled):
            for record in [each for records in polled.values() for each in records]:
                producer.send(checked, record.value, headers=record.headers).get(PATIENCE)
                count += 1
    sent = stage.recorder.wait_for("send readings", 2, PATIENCE)
    batches = {span.context.span_id for span in stage.recorder.named("process readings")}
    passed_on = stage.recorder.wait_for("send checked", 2, PATIENCE)
    assert {span.parent.span_id for span in passed_on} <= batches
    linked = [[link.context.span_id for link in span.links] for span in passed_on]
    assert linked == [[span.context.span_id] for span in sent]


def test_a_name_that_is_no_pattern_is_refused_with_those_that_are(monkeypatch, capsys):
    """Before a broker is started."""
    monkeypatch.setattr(sys, "argv", ["examples.patterns", "nonsense"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "there is no pattern nonsense: choose from relay, batches" in capsys.readouterr().err
