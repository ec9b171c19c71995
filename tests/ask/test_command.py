"""The command line: what it prints, how it exits, and that nothing is left of it."""

import configparser
import fcntl
import os
import signal
import socket
import subprocess
import sys
import termios
import time
import uuid
from pathlib import Path

import pytest

from examples.ask.lifeline import ROOT
from testbroker import start_broker
from tests.support.waiting import PATIENCE, wait_until

STARTER = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]])"
PATIENCE_TO_END = 30


class Demo:
    """A run of the command, whose processes all carry a mark in their environment.

    Args:
        under: a program that starts it.
        stdin: the terminal that it has; None: none.
    """

    def __init__(self, *arguments, under=None, stdin=None, **environment):
        self.mark = f"ASK_TEST_MARK={uuid.uuid4().hex}"
        name, value = self.mark.split("=")
        self.process = subprocess.Popen(
            [sys.executable, *(["-c", under] if under else []), "-m", "examples.ask", "--work", "0.3", *arguments],
            cwd=ROOT,
            env={**os.environ, name: value, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            preexec_fn=_obey_ctrl_c if stdin is None else _own_terminal,  # no thread of the tests holds a lock here
        )

    def finish(self):
        """Return its exit code and what it printed."""
        try:
            printed, _ = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            printed, _ = self.process.communicate()
            pytest.fail(f"waited {PATIENCE:.0f} s for the end of the demo; it printed: {printed}")
        return self.process.returncode, " ".join(printed.split())

    def read_until(self, text):
        """Return the first line that has a text in it."""
        printed = []
        for line in self.process.stdout:
            printed.append(line)
            if text in line:
                return line
        pytest.fail(f"the demo ended before it printed {text!r}; it printed: {''.join(printed)}")

    def living(self):
        """Return the processes that are left."""
        return [place.parent.name for place in Path("/proc").glob("[0-9]*/environ") if self.mark in _read(place)]


def _obey_ctrl_c():
    """What a shell starts in the background ignores it, and so would all that the tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _own_terminal():
    """What a terminal emulator does: standard input is the terminal of a session of its own."""
    _obey_ctrl_c()
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _read(place):
    try:
        return place.read_text(errors="replace")
    except OSError:
        return ""


@pytest.fixture
def demo():
    """Run the command; what a failed test leaves is ended."""
    runs = []

    def run(*arguments, **environment):
        runs.append(Demo(*arguments, **environment))
        return runs[-1]

    yield run
    for each in runs:
        each.process.kill()
        each.process.communicate()


def test_it_shows_why_the_last_had_to_wait_and_leaves_nothing(demo):
    """The list, the waterfall, exit code 0, no process."""
    run = demo()
    code, printed = run.finish()
    assert code == 0, printed
    assert "POST /questions" in printed
    assert "kafka-producer 2, kafka-consumer 5" in printed
    assert printed.count("no: waited too long kafka-consumer 5") == 1
    assert "The slowest" in printed
    assert "consumer busy with «Who kept the consumer busy?»" in printed
    for name in ("send questions", "Kafka", "process questions", "print message", "tweet", "commit questions"):
        assert name in printed
    assert "tweet failed: TweetError" in printed
    assert run.living() == []


@pytest.mark.usefixtures("kafka_itself")
def test_three_consumers_cure_the_wait(demo):
    """Each has a partition, so that the fourth question waits for one other only."""
    code, printed = demo("--consumers", "3", "--work", "1", OTELKAFKA_BROKER="kafka").finish()
    assert code == 0, printed
    assert printed.count("consumer busy with") == 1


def test_without_sampled_traces(demo):
    """The questions are answered, and it says why there is nothing to see."""
    code, printed = demo(OTEL_TRACES_SAMPLER="always_off").finish()
    assert code == 0, printed
    assert "All questions are answered. There is no trace to show:" in printed
    assert "OTEL_TRACES_SAMPLER=always_off" in printed


def test_what_waits_too_long_has_a_trace_though_nothing_is_sampled(demo):
    """Where the sampler follows its parent."""
    code, printed = demo(OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG="0").finish()
    assert code == 0, printed
    assert "The slowest" in printed
    assert "What is happening?" in printed
    assert "no: waited too long" in printed


def test_on_the_embedded_broker(demo):
    """Where Kafka cannot be had, all works the same."""
    code, printed = demo(OTELKAFKA_BROKER="embedded").finish()
    assert code == 0, printed
    assert "consumer busy with «Who kept the consumer busy?»" in printed


def test_three_consumers_need_kafka_itself(demo):
    """The embedded broker has no groups: it says so."""
    code, printed = demo("--consumers", "3", OTELKAFKA_BROKER="embedded").finish()
    assert code == 1
    assert "--consumers needs Apache Kafka itself" in printed


def test_a_port_in_use(demo):
    """It says so, before it starts anything."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, printed = demo("--port", str(port)).finish()
    assert code == 1
    assert f"ask: port {port} of 127.0.0.1 cannot be had" in printed
    assert "--port" in printed


def test_no_kafka_where_it_was_said_to_be(demo):
    """It says what to do."""
    code, printed = demo("--bootstrap-servers", "127.0.0.1:1").finish()
    assert code == 1
    assert "no Kafka broker answers at 127.0.0.1:1" in printed
    assert "correct --bootstrap-servers" in printed


@pytest.mark.usefixtures("kafka_itself")
def test_a_kafka_of_ones_own(demo):
    """It is used and left as it was, twice over; a topic that does not fit is reported."""
    with start_broker("kafka") as kafka:
        given = "--bootstrap-servers", kafka.bootstrap_servers
        for _ in range(2):
            code, printed = demo(*given).finish()
            assert code == 0, printed
            assert "consumer busy with «Who kept the consumer busy?»" in printed
        code, printed = demo(*given, "--consumers", "3").finish()
    assert code == 1
    assert "choose --consumers 1, or another --topic" in printed


@pytest.mark.parametrize(
    ("option", "value"), [("--port", "0"), ("--port", "x"), ("--work", "-1"), ("--consumers", "0")]
)
def test_numbers_that_are_none(demo, option, value):
    """A wrong option is reported, with the ones that exist."""
    code, printed = demo(option, value).finish()
    assert code == 2
    assert f"argument {option}: '{value}' is no" in printed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signal_that_ends_it_ends_all_of_it(demo, number):
    """Ctrl-C, a polite and an impolite end alike leave no process."""
    run = demo("--serve")
    run.read_until("Look at http://127.0.0.1:")
    assert len(run.living()) >= 3  # with a Kafka of its own process, more
    run.process.send_signal(number)
    code, _ = run.finish()
    assert code == (-number if number == signal.SIGKILL else 0)
    wait_until(lambda: run.living() == [], "the end of all processes", run.living)


def test_a_second_ctrl_c_does_not_cut_the_end_short(demo):
    """A terminal sends Ctrl-C to the demo and to tox, and tox sends it to the demo once more."""
    run = demo("--serve")
    run.read_until("Look at http://127.0.0.1:")
    run.process.send_signal(signal.SIGINT)
    while run.process.poll() is None:
        run.process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    code, printed = run.finish()
    assert (code, "Traceback" in printed) == (0, False), printed
    wait_until(lambda: run.living() == [], "the end of all processes", run.living)


def test_enter_ends_it_at_a_terminal(demo):
    """Ctrl-C does, too, but then tox calls the run a failure."""
    keyboard, terminal = os.openpty()
    run = demo("--serve", stdin=terminal)
    assert "end with the Enter key" in run.read_until("Look at http://127.0.0.1:")
    os.write(keyboard, b"\n")
    assert run.finish()[0] == 0
    wait_until(lambda: run.living() == [], "the end of all processes", run.living)
    os.close(keyboard)
    os.close(terminal)


def test_it_ends_with_the_tox_that_runs_it(demo):
    """Who ends tox by SIGTERM ends tox alone: the demo finds its parent gone."""
    run = demo("--serve", under=STARTER, TOX_ENV_NAME="demo")
    run.read_until("Look at http://127.0.0.1:")
    run.process.terminate()
    wait_until(lambda: run.living() == [], "the end of all processes", run.living)


def test_tox_gives_the_demo_the_time_to_end():
    """Its default, half a second, ends in SIGKILL."""
    tox = configparser.RawConfigParser()
    tox.read(ROOT / "tox.ini")
    assert float(tox["testenv:demo"]["interrupt_timeout"]) >= PATIENCE_TO_END
