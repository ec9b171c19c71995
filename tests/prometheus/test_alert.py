"""A real Prometheus, the demo, and a consumer that is too slow for a while."""

import re
from urllib.request import Request, urlopen

from examples.prometheus.burst import ALERT, BUSY
from tests.prometheus.watched import STEP


def states(watched, alert):
    """Return when an alert was pending and when it fired."""
    found = {"pending": [], "firing": []}
    of_it = f'ALERTS{{alertname="{alert}"}}'
    for series in watched.prometheus.query_range(of_it, watched.life.began, watched.life.quiet, STEP):
        found[series["metric"]["alertstate"]] += [moment for moment, _ in series["values"]]
    return found["pending"], found["firing"]


def test_it_fires_while_questions_keep_coming_and_clears_when_they_cease(watched):
    """First it is pending, then it fires, and in the end it is gone, all in that order."""
    life = watched.life
    pending, firing = states(watched, ALERT)
    assert pending
    assert life.began < min(pending) < min(firing) <= life.fired + STEP
    assert life.fired < life.ceased < life.cleared
    assert max(firing) < life.cleared + STEP


def test_it_says_what_is_wrong(watched):
    """The summary names topic, group and wait."""
    assert re.fullmatch(
        r"Records of questions wait [\d.]+m?s \(p95\) for group wall, which is busy", watched.life.summary
    )


def test_nobody_blames_kafka(watched):
    """The other alert of a wait does not fire, although the rates know the wait for longer than the busy time."""
    assert states(watched, "KafkaFetchTooSlow")[1] == []
    assert max(watched.values(BUSY)) > 0.9


def test_each_rule_is_well(watched):
    """Prometheus could evaluate every one of them, on what it has scraped."""
    assert {rule["name"]: rule.get("lastError") for rule in watched.prometheus.rules() if rule["health"] != "ok"} == {}


def test_each_service_is_scraped_under_its_name(watched):
    """The demo names them to Prometheus."""
    up = watched.prometheus.query("up == 1")
    assert {series["metric"]["instance"] for series in up} == {"kafka-producer", "kafka-consumer-1"}


def test_the_exporter_carries_no_exemplars(watched):
    """As the documentation says; where this fails it carries them now, and the page is to say so."""
    for address in watched.system.targets.values():
        asked = Request(f"http://{address}/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
        with urlopen(asked) as answer:
            text = answer.read().decode()
        assert "otelkafka" in text
        assert "trace_id" not in text
