"""The life of an alert: questions keep coming to a consumer that is too slow for them, and then they cease."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from examples.ask.system import Question, System
from examples.prometheus.server import Prometheus

ALERT = "KafkaConsumerTooSlow"
WAIT = "topic_group:otelkafka_queue_duration_seconds:p95"
BUSY = "group:otelkafka_consumer_time_seconds:busiest_share"
OPEN, MORE = 4, 8
PATIENCE, PAUSE = 300.0, 0.05


@dataclass(frozen=True)
class Life:
    """When it happened, in seconds since 1970.

    Attributes:
        began: the first question was asked, under the eyes of Prometheus.
        fired: the alert did.
        ceased: the last question was asked.
        cleared: the alert was gone.
        quiet: the rates, too, knew no wait any more.
        summary: what the alert said.
    """

    began: float
    fired: float
    ceased: float
    cleared: float
    quiet: float
    summary: str


def burst(system: System, prometheus: Prometheus) -> Life:
    """Keep the consumer waited for until the alert fires and a little longer, then let it rest until all is quiet.

    Raises:
        TimeoutError: it does not come to that.
    """
    questions = _Questions(system)
    _until(lambda: prometheus.query(BUSY), "the first figures of the consumer")
    began = time.time()
    _until(lambda: _firing(prometheus), f"{ALERT} to fire", questions.keep_coming)
    fired, summary, last = time.time(), _firing(prometheus)[0], questions.asked + MORE
    _until(lambda: questions.asked >= last, "the last question", questions.keep_coming)
    ceased = time.time()
    _until(lambda: not _firing(prometheus), f"{ALERT} to clear")
    cleared = time.time()
    _until(lambda: not prometheus.query(f"{WAIT} > 0"), "quiet")
    return Life(began, fired, ceased, cleared, time.time(), summary)


class _Questions:
    """Asks as soon as a few only are open, every other one under a context that is not sampled."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.asked = 0

    def keep_coming(self) -> None:
        if sum(not entry.done for entry in self._system.wall.entries) < OPEN:
            self.asked += 1
            question = Question("Franz", f"And what about {self.asked}?")
            self._system.ask(question, sampled=self.asked % 2 == 0)


def _firing(prometheus: Prometheus) -> list[str]:
    """Return what the alert says while it fires."""
    return [
        alert["annotations"]["summary"]
        for alert in prometheus.alerts()
        if alert["labels"]["alertname"] == ALERT and alert["state"] == "firing"
    ]


def _until(condition: Callable[[], object], what: str, meanwhile: Callable[[], None] = lambda: None) -> None:
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        meanwhile()
        if time.monotonic() > end:
            msg = f"waited {PATIENCE:.0f} s for {what}; seen: {found!r}: look at Prometheus's page of rules"
            raise TimeoutError(msg)
        time.sleep(PAUSE)
