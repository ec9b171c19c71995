"""One running system that most tests share, and what they need of the machine."""

import pytest

from examples.ask.__main__ import QUESTIONS, ask_all
from examples.ask.options import Options
from examples.ask.system import System
from examples.ask.zipkin import PROGRAM
from testbroker.jars import KafkaNotInstallable, jars_of, kafka_jars
from tests.ask.user import fetch
from tests.support.needs import forget_settings, without
from tests.support.waiting import PATIENCE

KAFKA = "4.1.1"
WORK = 0.5  # seconds, for which a question is printed: the next ones are asked meanwhile, also by a busy machine


@pytest.fixture(autouse=True, scope="session")
def _no_settings_of_the_developer():
    forget_settings()


@pytest.fixture(scope="session")
def kafka_itself():
    """Apache Kafka can be had, which the embedded broker cannot replace."""
    try:
        kafka_jars(KAFKA)
    except KafkaNotInstallable as error:
        without(str(error))


@pytest.fixture(scope="session")
def zipkin_itself():
    """Zipkin can be had."""
    try:
        jars_of(PROGRAM)
    except KafkaNotInstallable as error:
        without(str(error))


@pytest.fixture(scope="session")
def system():
    """The demo, with its four questions answered."""
    with System(Options(work=WORK)) as running:
        ask_all(running)
        assert len(running.wait_for_traces(len(QUESTIONS), PATIENCE)) == len(QUESTIONS)
        yield running


@pytest.fixture
def get(system):
    """Get a page of it, and return its status and text."""
    return lambda path: fetch(system.page_url + path)
