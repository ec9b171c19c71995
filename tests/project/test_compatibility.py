"""What the documentation says of versions is what tox's lanes have."""

import importlib.metadata
import json
import os
import platform
import sysconfig
from pathlib import Path

import pytest

import otelkafka
from docs.generate.lanes import COLUMNS, NEWEST, PAGE, TABLE, Lanes

LANES = Lanes()
LANE = os.environ.get("TOX_ENV_NAME", "")


def test_the_page_has_every_lane_with_its_versions():
    """The table on the page is made from tox.ini; `python -m docs.generate.lanes` writes it again."""
    assert TABLE.search(PAGE.read_text()).group() == LANES.table()


ONLY_IN_A_LANE = pytest.mark.skipif(LANE not in LANES.names, reason="only a lane of tox has versions to hold")


@ONLY_IN_A_LANE
def test_this_lane_tests_the_wheel():
    """What is imported is what a wheel has installed, and not the source."""
    installed = json.loads(importlib.metadata.distribution("otelkafka").read_text("direct_url.json"))
    assert installed["url"].endswith(".whl")
    assert Path(otelkafka.__file__).parents[1] == Path(sysconfig.get_path("purelib"))


@ONLY_IN_A_LANE
def test_this_lane_has_the_versions_that_it_names():
    """What is installed is what the lane's row says."""
    pins = LANES.pins(LANE)
    assert {name: importlib.metadata.version(name) for name in pins} == pins
    python = LANES.python(LANE)
    assert python is None or platform.python_version().startswith(f"{python}.")


def test_every_release_is_in_a_lane():
    """Each value of each factor has a lane: kafka-python's releases, Pythons, OpenTelemetry's floor, middle and newest."""
    rows = {lane: LANES.pins(lane) for lane in LANES.names}
    values = {name: {pins.get(name, NEWEST) for pins in rows.values()} for name in COLUMNS}
    assert {version.rpartition(".")[0] for version in values["kafka-python"]} == {"2.0", "2.1", "2.2", "2.3", "3.0"}
    assert len(values["opentelemetry-sdk"]) == 3
    assert values["aiokafka"] == {"0.10.0", "0.12.0", NEWEST}
    assert values["wrapt"] >= {"1.16.0", NEWEST}
    assert {LANES.python(lane) for lane in rows} >= {"3.10", "3.11", "3.12", "3.13", "3.14"}


def test_what_depends_on_one_part_runs_with_each_of_its_releases():
    """Kafka's releases with each of kafka-python's, faults and bounds with each of OpenTelemetry's."""
    rows = {lane: LANES.pins(lane) for lane in LANES.names}
    runs = {
        factor: [pins for lane, pins in rows.items() if factor in lane]
        for factor in ("client", "instrumented", "telemetry", "tests")
    }
    for factor, newest, name in (
        ("client", "instrumented", "kafka-python"),
        ("telemetry", "tests", "opentelemetry-sdk"),
    ):
        run_with = {pins.get(name, NEWEST) for pins in (*runs[factor], *runs[newest])}
        assert run_with == {pins.get(name, NEWEST) for pins in rows.values()}
