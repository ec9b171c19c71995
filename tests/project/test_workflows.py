"""GitHub runs what `.ci/run` runs, with actions that nobody can exchange."""

import re
from itertools import chain
from pathlib import Path

import pytest

from docs.generate.lanes import Lanes

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LANES = Lanes()
GATE = (ROOT / ".github" / "workflows" / "ci.yml").read_text()


def test_each_environment_of_the_gate_is_a_job():
    """All of tox.ini's gate, and what is run there alone, each on the Python that it names."""
    jobs = dict(re.findall(r'env: ([\w-]+), python: "([\d.]+)"', GATE))
    named = [*LANES.labels["gate"], *LANES.labels["github"]]
    assert list(jobs) == named, "let ci.yml have what tox.ini's gate has, and then its label github, in their order"
    assert {lane: jobs[lane] for lane in LANES.names if LANES.python(lane)} == {
        lane: LANES.python(lane) for lane in LANES.names if LANES.python(lane)
    }


def test_labels_have_the_gate_in_parts():
    """What `tox run` runs, and what its last line names for the rest, are the gate; each environment has a label."""
    tox = (ROOT / "tox.ini").read_text()
    (rest,) = re.findall(r"The rest of the gate: tox run -m ([\w ]+),", tox)
    parts = [LANES.default, *(LANES.labels[label] for label in rest.split())]
    assert sorted(chain.from_iterable(parts)) == sorted(LANES.labels["gate"])
    labelled = {*LANES.labels["gate"], *LANES.labels["slow"]}
    assert {*re.findall(r"^\[testenv:([\w-]+)\]", tox, re.MULTILINE)} <= labelled


def test_labels_are_in_the_table_for_contributors():
    """With their environments; those of the versions are in a table of their own."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    for label, environments in LANES.labels.items():
        if label not in {"gate", "versions"}:
            assert f"| `{label}` | {', '.join(f'`{each}`' for each in environments)} |" in page
    assert f"| none: `tox run` | {', '.join(f'`{each}`' for each in LANES.default)} |" in page


def test_gate_begins_with_the_command_of_the_readme():
    """`.ci/run` runs what a reader of the README runs, then the other labels, and skips nothing."""
    commands = re.findall(r'^"\$venv/bin/tox" (.+)', (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert commands[0] == "run"
    assert "pip install tox && tox run\n" in (ROOT / "README.md").read_text()
    run = [label for command in commands for label in re.findall(r"(?<=-m ).+", command)]
    assert {label for labels in run for label in labels.split()} == {*LANES.labels} - {"gate", "github", "slow"}
    assert all("--skip-missing-interpreters false" in command for command in commands[1:])


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned(workflow):
    """By the whole hash of a commit, with the version that it is said to be."""
    for line in re.findall(r"uses: (.+)", workflow.read_text()):
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_only_who_publishes_can_say_who_it_is():
    """The permission for trusted publishing is given once, in the job with the environment."""
    shown = [workflow.read_text() for workflow in WORKFLOWS]
    assert sum(text.count("id-token: write") for text in shown) == 1
    (release,) = [text for text in shown if "id-token" in text]
    publish = release[release.index("  publish:") :]
    assert "environment: pypi" in publish
    assert "id-token: write" in publish
