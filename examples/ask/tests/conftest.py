"""One running system that most tests share, and what they need of the machine."""

import os
import shutil
import urllib.error
import urllib.request

import pytest

from examples.ask.__main__ import QUESTIONS, ask_all
from examples.ask.options import Options
from examples.ask.system import System

DEMANDED = "OTELKAFKA_DEMO_TOOLS"


def need(*tools):
    """Skip without the tools, and fail where they are demanded."""
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        reason = f"not installed: {', '.join(missing)}; apt install chromium chromium-driver kcat"
        (pytest.fail if os.environ.get(DEMANDED) else pytest.skip)(reason)


@pytest.fixture(autouse=True, scope="session")
def _no_settings_of_the_developer():
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        del os.environ[name]


@pytest.fixture(scope="session")
def system():
    """The demo on Apache Kafka, with its four questions answered."""
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
