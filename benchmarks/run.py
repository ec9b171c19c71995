"""Runs the programs that measure, one process at a time, those of different faces in turns."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, cast

from benchmarks import end_to_end
from benchmarks.faces import ACTIONS, TRACED_BY_CONTRIB
from benchmarks.memory import TOPIC
from benchmarks.modes import MODES, OF_AIOKAFKA
from testbroker import start_broker

ROOT = Path(__file__).parents[1]
LIMIT_SECONDS = 900
END_SECONDS = 20
MEMORY_FACES = ("bare", "wrapped", "instrumented")


def program(name: str, *arguments: object, kafka: Path | None = None, compiled: Path | None = None) -> Any:
    """Run one program of this package, and return what it prints.

    Args:
        name: the name of its module.
        arguments: the arguments of its command line.
        kafka: a directory with another release of kafka-python; None for the one that is installed.
        compiled: a directory for compiled modules, as an installation has them; None for where this machine has them.
    """
    command, environment = _command(name, arguments), _environment(kafka)
    if compiled:
        environment = {**environment, "PYTHONPYCACHEPREFIX": str(compiled), "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, timeout=LIMIT_SECONDS)
    return json.loads(done.stdout)


@contextmanager
def rounds_of(name: str, *arguments: object) -> Iterator[Callable[[], Any]]:
    """Yield what lets one program of this package do a round, and returns what it prints; it ends with the context."""
    pipe = subprocess.PIPE
    with subprocess.Popen(_command(name, arguments), env=_environment(), stdin=pipe, stdout=pipe) as process:
        asked, answered = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)

        def next_round() -> Any:
            asked.write(b"\n")
            asked.flush()
            return json.loads(answered.readline())

        try:
            yield next_round
            asked.close()  # it reads to the end
            process.wait(END_SECONDS)
        finally:
            process.kill()


def _command(name: str, arguments: Iterable[object]) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", f"benchmarks.{name}", *map(str, arguments)]


def _environment(kafka: Path | None = None) -> dict[str, str]:
    path = (kafka, ROOT, os.environ.get("PYTHONPATH"))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(each) for each in path if each)}


def about() -> dict[str, Any]:
    """Return what the figures were taken with."""
    packages = ("kafka-python", "aiokafka", "opentelemetry-sdk", "opentelemetry-instrumentation-kafka-python", "crc32c")
    found = {name: version(name) for name in packages}
    return {"python": sys.version.split()[0], "cores": os.cpu_count(), **found}


def own(turns: int, rounds: int, releases: list[Path | None]) -> dict[str, Any]:
    """Return the nanoseconds a record of every face of every case, one figure a turn, by release of kafka-python."""
    found: dict[str, Any] = {}
    for _, action, mode, kafka in product(range(turns), ACTIONS, MODES, releases):
        taken = program("own_cost", action, mode, f"--rounds={rounds}", kafka=kafka)
        faces = found.setdefault(taken.pop("kafka-python"), {}).setdefault(f"{action} {mode}", {})
        for face, nanoseconds in taken.items():
            faces.setdefault(face, []).append(nanoseconds)
        _say(f"own cost: {action} {mode}")
    return found


def throughput(rounds: int, share: int) -> dict[str, Any]:
    """Return the records a second of every face of every case on a real Kafka, one figure a round, taken in turns.

    Args:
        rounds: the rounds of each face.
        share: which part of the usual number of records a round has.
    """
    found: dict[str, Any] = {}
    with start_broker(kind="kafka") as broker:
        end_to_end.fill(broker)
        for action, mode in product(end_to_end.ACTIONS, MODES):
            _say(f"end to end: {action} {mode}")
            where = (f"--servers={broker.bootstrap_servers}", f"--count={end_to_end.COUNTS[action] // share}")
            found[f"{action} {mode}"] = _in_turns(rounds, action, mode, where)
    return found


def _in_turns(rounds: int, action: str, mode: str, where: Iterable[str]) -> dict[str, list[float]]:
    contrib = ("contrib",) if action in TRACED_BY_CONTRIB else ()
    with ExitStack() as stack:
        faces = {
            face: stack.enter_context(rounds_of("end_to_end", action, mode, face, *where))
            for face in ("bare", "minimum", "wrapped", *contrib)
        }
        taken = [{face: each() for face, each in faces.items()} for _ in range(rounds + 1)]
    return {face: [each[face] for each in taken[1:]] for face in faces}  # the first one warms up


def awaited(turns: int, rounds: int) -> dict[str, Any]:
    """Return the nanoseconds a record of every face of aiokafka's clients, one figure a turn."""
    found: dict[str, Any] = {}
    for _, action, mode in product(range(turns), OF_AIOKAFKA, MODES):
        faces = found.setdefault(f"{action} {mode}", {})
        for face, nanoseconds in program("awaited", action, mode, f"--rounds={rounds}").items():
            faces.setdefault(face, []).append(nanoseconds)
        _say(f"aiokafka: {action} {mode}")
    return found


def awaited_throughput(rounds: int, share: int) -> dict[str, Any]:
    """Return the records a second of every face of aiokafka's clients on a real Kafka, one figure a round, in turns."""
    found: dict[str, Any] = {}
    with start_broker(kind="kafka") as broker:
        end_to_end.fill(broker)
        for action, mode in product(OF_AIOKAFKA, MODES):
            _say(f"aiokafka, end to end: {action} {mode}")
            consumed = end_to_end.SAMPLED if mode == "always" else end_to_end.UNSAMPLED
            where = (
                f"--servers={broker.bootstrap_servers}",
                f"--topic={end_to_end.SENT if action == 'send' else consumed}",
                f"--count={OF_AIOKAFKA[action] // share}",
            )
            with ExitStack() as stack:
                faces = {
                    face: stack.enter_context(rounds_of("awaited", action, mode, f"--face={face}", *where))
                    for face in ("bare", "minimum", "wrapped", "contrib")
                }
                taken = [{face: each() for face, each in faces.items()} for _ in range(rounds + 1)]
            found[f"{action} {mode}"] = {face: [each[face] for each in taken[1:]] for face in faces}
    return found


def memory(count: int) -> dict[str, Any]:
    """Return what each face leaves in memory after so many records sent and consumed on a real Kafka."""
    with start_broker(kind="kafka") as broker, ThreadPoolExecutor() as pool:
        for face in MEMORY_FACES:
            broker.create_topic(f"{TOPIC}-{face}")
        where = (f"--servers={broker.bootstrap_servers}", f"--count={count}")
        found = list(pool.map(lambda face: program("memory", face, *where), MEMORY_FACES))
    _say("memory")
    return {"records": count, **dict(zip(MEMORY_FACES, found, strict=True))}


def imports(turns: int) -> list[float]:
    """Return the milliseconds that importing takes, one figure a process."""
    with TemporaryDirectory() as compiled:
        taken = [program("import_time", compiled=Path(compiled)) for _ in range(turns + 1)]
    return taken[1:]  # the first one compiles


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
