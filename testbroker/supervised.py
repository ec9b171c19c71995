"""A program that ends with this process, however this one ends: the starter's side of `supervisor`."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from testbroker import supervisor

LOG_TAIL = 30


class SupervisedProcess:
    """Runs one program at a time, in a temporary directory that goes with it.

    Attributes:
        directory: where the program runs and what `stop()` removes.

    """

    def __init__(self) -> None:
        """Start the supervisor, with no program yet."""
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._supervisor = subprocess.Popen(  # our own file
            [sys.executable, "-I", "-S", supervisor.__file__, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._stdin = cast("IO[str]", self._supervisor.stdin)
        self._stdout = cast("IO[str]", self._supervisor.stdout)
        self.directory = Path(self._read())
        atexit.register(self.stop)

    def start(self, arguments: list[str]) -> None:
        """Run a program; one that still runs is killed first."""
        self._command({"start": arguments})

    def kill(self) -> None:
        """End the program at once, and return when it is gone."""
        self._command({"kill": None})

    def returncode(self) -> int | None:
        """Return what the program ended with, None while it runs."""
        code: int | None = self._command({"poll": None})["returncode"]
        return code

    def output(self) -> str:
        """Return what the program has printed so far."""
        log = self.directory / supervisor.LOG
        return log.read_text(errors="replace") if log.exists() else ""

    def output_tail(self) -> str:
        """Return the last lines of what the program has printed."""
        return "\n".join(self.output().splitlines()[-LOG_TAIL:])

    def stop(self) -> None:
        """End the program and remove the directory; a second call does nothing."""
        # A forked child of ours must not end its parent's broker.
        if self._owner != os.getpid():
            return
        atexit.unregister(self.stop)
        if self._stdin.closed:
            return
        # Closing the pipe would not do while a forked child holds it open too. A supervisor that is gone breaks it.
        with suppress(BrokenPipeError):
            self._send({"stop": None})
        with suppress(BrokenPipeError):
            self._stdin.close()
        self._supervisor.wait()
        self._stdout.close()

    def _command(self, command: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if self._stdin.closed:
                msg = "this broker is stopped: start another with start_broker()"
                raise RuntimeError(msg)
            with suppress(BrokenPipeError):  # the supervisor is gone: reading says so
                self._send(command)
            answer: dict[str, Any] = self._read()
            return answer

    def _send(self, command: dict[str, Any]) -> None:
        self._stdin.write(json.dumps(command) + "\n")
        self._stdin.flush()

    def _read(self) -> Any:  # whatever JSON holds
        line = self._stdout.readline()
        if not line:
            msg = "the broker's supervisor is gone, and the broker with it: start another with start_broker()"
            raise RuntimeError(msg)
        return json.loads(line)
