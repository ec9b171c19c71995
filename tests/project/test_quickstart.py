"""The quickstart makes what its page shows, on a real Kafka."""

import re
import sys
import uuid
from pathlib import Path

import pytest

from examples import quickstart

pytestmark = [pytest.mark.real_kafka, pytest.mark.once]

PAGE = Path(__file__).parents[2] / "docs" / "quickstart.md"


def shape(text):
    """What is printed, without how long it took and without trailing space."""
    return re.sub(r"[ \d.]+(?= ms)", " 0", re.sub(r"offset \d+|[\d.]+ s", "0", text)).strip()


def test_page_shows_what_a_run_prints(broker, monkeypatch, capsys):
    """All but the numbers; a second run, whose group has been there before, prints the same."""
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    shown_topic = quickstart.TOPIC
    topic = f"q-{uuid.uuid4().hex}"
    broker.create_topic(topic)
    monkeypatch.setattr(quickstart, "TOPIC", topic)
    monkeypatch.setattr(sys, "argv", ["quickstart.py", broker.bootstrap_servers])
    for _ in range(2):
        quickstart.main()
        assert shape(shown) == shape(capsys.readouterr().out.replace(topic, shown_topic))
