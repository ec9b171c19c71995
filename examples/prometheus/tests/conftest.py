"""One burst of questions under the eyes of a real Prometheus, which all tests share."""

import time
from dataclasses import dataclass

import pytest
from kafka import KafkaProducer

from examples.ask.options import Options
from examples.ask.producer import client_config
from examples.ask.system import System
from examples.needs import forget_settings, need
from examples.prometheus.burst import Life, burst
from examples.prometheus.server import PROMETHEUS, Prometheus

STEP = 0.25


@dataclass(frozen=True)
class Watched:
    """The demo and the Prometheus that scrapes it, after a burst."""

    system: System
    prometheus: Prometheus
    life: Life

    def values(self, expression):
        """Return each number that an expression has come to since the burst began."""
        found = self.prometheus.query_range(expression, self.life.began, time.time(), STEP)
        numbers = (float(value) for series in found for _, value in series["values"])
        return [number for number in numbers if number == number]  # noqa: PLR0124 (NaN is not)


@pytest.fixture(autouse=True, scope="session")
def _no_settings_of_the_developer():
    forget_settings()


@pytest.fixture(scope="session")
def watched():
    """A burst of questions to a consumer that is too slow, from before its first to after its alert is gone."""
    need(PROMETHEUS)
    with System(Options(work=0.25, prometheus=True)) as system, Prometheus(system.targets_url) as prometheus:
        with KafkaProducer(**client_config(system.kafka.client_options)) as nobody_instrumented_this:
            nobody_instrumented_this.send("questions", b"Who am I?").get(30)
            life = burst(system, prometheus)
            nobody_instrumented_this.send("questions", b"Who am I?").get(30)
        yield Watched(system, prometheus, life)
