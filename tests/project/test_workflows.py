"""GitHub runs what `.ci/run` runs, with actions that nobody can exchange."""

import re
from pathlib import Path

import pytest

from docs.lanes import Lanes

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
GATE = (ROOT / ".github" / "workflows" / "ci.yml").read_text()


def test_each_environment_of_the_gate_is_a_job():
    """All of tox.ini's list and the demo, each on the Python that it names."""
    jobs = dict(re.findall(r'env: ([\w-]+), python: "([\d.]+)"', GATE))
    lanes = Lanes()
    assert list(jobs) == [*lanes.environments, "demo"], "let ci.yml have what tox.ini has, in its order"
    assert {lane: jobs[lane] for lane in lanes.names if lanes.python(lane)} == {
        lane: lanes.python(lane) for lane in lanes.names if lanes.python(lane)
    }


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned(workflow):
    """By the whole hash of a commit, with the version that it is said to be."""
    for line in re.findall(r"uses: (.+)", workflow.read_text()):
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_only_who_publishes_can_say_who_it_is():
    """The permission for trusted publishing is given once, in the job with the environment."""
    told = [workflow.read_text() for workflow in WORKFLOWS]
    assert sum(text.count("id-token: write") for text in told) == 1
    (release,) = [text for text in told if "id-token" in text]
    publish = release[release.index("  publish:") :]
    assert "environment: pypi" in publish
    assert "id-token: write" in publish
