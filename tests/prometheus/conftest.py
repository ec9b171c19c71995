"""One burst of questions under the eyes of a real Prometheus, which all tests share."""

import pytest
from kafka import KafkaProducer

from examples.ask.options import Options
from examples.ask.producer import client_config
from examples.ask.system import System
from examples.prometheus.burst import burst
from examples.prometheus.server import PROMETHEUS, Prometheus
from tests.prometheus.watched import Watched
from tests.support.needs import forget_settings, need
from tests.support.waiting import PATIENCE


@pytest.fixture(autouse=True, scope="session")
def _no_settings_of_the_developer():
    forget_settings()


@pytest.fixture(scope="session")
def watched():
    """A burst of questions to a consumer that is too slow, from before its first to after its alert is gone."""
    need(PROMETHEUS)
    with System(Options(work=0.25, prometheus=True)) as system, Prometheus(system.targets_url) as prometheus:
        with KafkaProducer(**client_config(system.kafka.client_options)) as nobody_instrumented_this:
            nobody_instrumented_this.send("questions", b"Who am I?").get(PATIENCE)
            life = burst(system, prometheus)
            nobody_instrumented_this.send("questions", b"Who am I?").get(PATIENCE)
        yield Watched(system, prometheus, life)
