"""The command line: `tox run -e demo`, or `python -m examples.ask` with the packages of the extra `demo`."""

import os
import signal
import sys
import threading

from rich.console import Console

from examples.ask.kafka import NotPossibleError
from examples.ask.lifeline import end_with_parent
from examples.ask.options import Options, parse
from examples.ask.serving import PortInUseError
from examples.ask.system import Question, System
from examples.ask.telemetry import exported_elsewhere, samples_all, sampling
from examples.ask.terminal import print_traces, print_waterfall
from examples.ask.traces import Trace
from examples.ask.waterfall import Waterfall
from testbroker import BrokerUnavailable

QUESTIONS = (
    Question("Milena", "Why is Kafka called Kafka?"),
    Question("Felix", "Where does the time go?"),
    Question("Ottla", "Who kept the consumer busy?"),
    Question("Max", "What is happening?"),
)
NOT_SAMPLED = QUESTIONS[2]
ANSWER_SECONDS = 120.0


def main() -> int:
    """Run the demo; return 0 if all questions were answered."""
    options = parse()
    console = Console(soft_wrap=False, width=None if sys.stdout.isatty() else 110)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    if "TOX_ENV_NAME" in os.environ:
        end_with_parent()
    try:
        with System(options) as system:
            return _show(console, system, options)
    except (BrokerUnavailable, NotPossibleError, PortInUseError) as error:
        Console(stderr=True).print(f"ask: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 0 if options.serve else 130


def _interrupt(*_: object) -> None:
    # A second one while everything ends would cut that short: Ctrl-C reaches the demo from the terminal and from tox.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _show(console: Console, system: System, options: Options) -> int:
    console.print(f"On {system.kafka.description}. {sampling()}", highlight=False)
    if options.serve:
        console.print(f"The page: {system.page_url}", highlight=False, soft_wrap=True)
    if system.zipkin:
        console.print(f"Zipkin: {system.zipkin.url}", highlight=False, soft_wrap=True)
    if options.prometheus:
        console.print(f"For Prometheus: {system.targets_url}", highlight=False, soft_wrap=True)
    ask_all(system)
    if options.serve:
        _print(console, system, system.wait_for_traces(sum(entry.sampled for entry in system.wall.entries)))
        end = "the Enter key" if _has_keyboard() else "Ctrl-C"
        console.print(f"\nLook at {system.page_url}, and end with {end}.", highlight=False, soft_wrap=True)
        if not _has_keyboard():
            threading.Event().wait()
        sys.stdin.readline()
        return 0
    system.stop_services()
    return _print(console, system, [trace for trace in system.traces.all() if trace.processed])


def _has_keyboard() -> bool:
    try:
        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()  # else a read would stop it
    except (AttributeError, OSError):  # there is no standard input, or no terminal control
        return False


def ask_all(system: System) -> None:
    """Ask the four questions at once, one of them under a context that is not sampled; return when all are answered.

    Raises:
        NotPossibleError: one could not be asked, or was not answered in time.
    """
    places = [_ask(system, question) for question in QUESTIONS]
    patience = ANSWER_SECONDS + len(QUESTIONS) * system.options.work
    if not system.wall.wait_for_answers(places, patience):
        msg = f"after {patience:.0f} s not all questions are answered: look whether Kafka and the services run"
        raise NotPossibleError(msg)


def _ask(system: System, question: Question) -> tuple[int, int]:
    answer = system.ask(question, sampled=question is not NOT_SAMPLED)
    if "error" in answer:
        raise NotPossibleError(answer["error"])
    return answer["partition"], answer["offset"]


def _print(console: Console, system: System, traces: list[Trace]) -> int:
    if elsewhere := exported_elsewhere():
        console.print(
            f"All questions are answered; look at their traces where they were sent: {elsewhere}", soft_wrap=True
        )
        return 0
    if not traces:
        console.print(f"All questions are answered. There is no trace to show: {sampling()}", soft_wrap=True)
        return 1 if samples_all() else 0
    print_traces(console, traces)
    slowest = max(traces, key=lambda trace: trace.duration)
    print_waterfall(console, Waterfall(slowest, system.traces.get))
    return 0


if __name__ == "__main__":
    sys.exit(main())
