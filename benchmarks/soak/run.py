"""Runs the soak: both sides at once on one Kafka, which is killed and restarted meanwhile."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

from benchmarks.soak.load import SIDES, STYLES, topic_of
from testbroker import Broker, start_broker

ROOT = Path(__file__).parents[2]
DOWN_SECONDS = 5
KILLED_AT = (0.25, 0.5, 0.75)  # of the soak's time
SMALL_LOG = {"retention.bytes": "50000000", "segment.bytes": "10000000", "file.delete.delay.ms": "1000"}
PROPERTIES = {"log.retention.check.interval.ms": "5000"}


def soak(seconds: float) -> dict[str, Any]:
    """Return how both sides fared through so many seconds: the samples, what was counted, when Kafka was gone."""
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker("kafka", properties=PROPERTIES))
        for side in SIDES:
            for style in (*STYLES, "visit"):
                broker.create_topic(topic_of(side, style), config=SMALL_LOG)
        outputs = {side: stack.enter_context(_running(side, broker.bootstrap_servers, seconds)) for side in SIDES}
        readers = stack.enter_context(ThreadPoolExecutor(len(SIDES)))
        read = {side: readers.submit(_read, side, output) for side, output in outputs.items()}
        gone = list(_outages(broker, seconds))
        return {"seconds": seconds, "gone": gone, **{side: each.result() for side, each in read.items()}}


@contextmanager
def _running(side: str, servers: str, seconds: float) -> Iterator[IO[str]]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.soak.load", side]
    command += [f"--servers={servers}", f"--seconds={seconds}"]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": path}, stdin=pipe, stdout=pipe, text=True
    ) as process:
        try:
            yield cast("IO[str]", process.stdout)
        finally:
            process.kill()


def _read(side: str, output: IO[str]) -> dict[str, Any]:
    lines = []
    for line in output:
        lines.append(json.loads(line))
        say(f"soak, {side}: {line.strip()}")
    return {"samples": lines[:-1], "counted": lines[-1]}


def _outages(broker: Broker, seconds: float) -> Iterator[tuple[float, float]]:
    """Kill the broker and restart it, a few times; yield from when to when it was gone."""
    started = time.monotonic()
    for share in KILLED_AT:
        time.sleep(max(0.0, started + share * seconds - time.monotonic()))
        broker.kill()
        killed = time.monotonic() - started
        time.sleep(DOWN_SECONDS)
        broker.restart()
        yield round(killed, 1), round(time.monotonic() - started, 1)


def say(text: str) -> None:
    """Report the progress."""
    print(text, file=sys.stderr, flush=True)
