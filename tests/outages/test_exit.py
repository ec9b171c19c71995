"""Programs that end while Kafka is gone, with work unfinished: bare and traced ones alike."""

import json
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from benchmarks.soak.libraries import LIBRARIES
from benchmarks.soak.sides import FACES
from tests.outages.programs import RECORDS
from tests.support.waiting import PATIENCE

_ADDRESS = re.compile(r"0x[0-9a-f]+")


class Ended:
    """What a program has left behind.

    Args:
        code: its exit code.
        printed: its last line on stdout.
        logged: what it printed on stderr; the lines that are of no frame are compared.
    """

    def __init__(self, code, printed, logged):
        self.code = code
        self.counted = json.loads(printed)
        self.errors = {_ADDRESS.sub("", line) for line in logged.splitlines() if not line.startswith(" ")}


@pytest.fixture(scope="module")
def ended(kafka):
    """Run each program with each face until it is ready, kill the broker, have all end, and start it again."""
    running = {}
    for library in LIBRARIES:
        for face in FACES:
            topic = f"e-{uuid.uuid4().hex}"
            kafka.create_topic(topic)
            command = [sys.executable, "-m", "tests.outages.programs", "ends_in_an_outage"]
            running[library.name, face] = subprocess.Popen(
                [*command, kafka.bootstrap_servers, topic, library.name, face],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
    try:
        assert [process.stdout.readline() for process in running.values()] == ["ready\n"] * len(running)
        kafka.kill()
        try:
            ended = {}
            for each, process in running.items():
                printed, logged = process.communicate("\n", timeout=PATIENCE)
                ended[each] = Ended(process.returncode, printed.splitlines()[-1], logged)
        finally:
            kafka.restart()
    finally:
        for process in running.values():
            process.kill()
            process.communicate()
    return ended


@pytest.mark.parametrize("face", FACES[1:])
@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_program_ends_in_an_outage_as_a_bare_one(library, face, ended):
    """With the same exit code, and nothing more on stderr; what was in flight was not acknowledged, once."""
    bare, traced = ended[library.name, "bare"], ended[library.name, face]
    assert (traced.code, traced.errors) == (bare.code, bare.errors)
    assert traced.counted == {
        "spans": 2 * RECORDS + 1,
        "unended": 0,
        "ended twice": 0,
        "failures of telemetry": 0,
        "errors": {"None": RECORDS + 1, "NotAcknowledgedError": RECORDS},
    }
