"""One running system that most tests share, and what they need of the machine."""

import time
import urllib.error
import urllib.request

import pytest

from examples.ask.__main__ import QUESTIONS, ask_all
from examples.ask.options import Options
from examples.ask.system import System
from examples.ask.zipkin import PROGRAM
from examples.needs import forget_settings, without
from testbroker.jars import KafkaNotInstallable, jars_of, kafka_jars

KAFKA = "4.1.1"
PATIENCE = 60


def until(condition):
    """Return when a condition holds; fail if it never does."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.1)


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
    with System(Options(work=0.1)) as running:
        ask_all(running)
        assert len(running.wait_for_traces(len(QUESTIONS))) == len(QUESTIONS)
        yield running


@pytest.fixture
def get(system):
    """Get a page of it, and return its status and text."""
    return lambda path: fetch(system.page_url + path)


def fetch(url, body=None, content_type="text/plain"):
    request = urllib.request.Request(url, body, {"content-type": content_type})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()
