"""The process between the one that started a broker and the broker's JVM.

It is run by its path, with the standard library only. It owns the JVM and the directory with its data, and ends both as
soon as its stdin ends, which the operating system sees to however the starter goes. It sits in a session of its own, so
that Ctrl-C in a terminal reaches the starter only.

Each line of stdin is a command, in JSON: {"start": [arguments]}, {"kill": null}, {"poll": null} or {"stop": null}. Each
but the last is answered by a line: {"returncode": number or null, "pid": number or null}. The first line of all is the
directory.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

LOG = "jvm.log"


class Child:
    """At most one child process, whose output goes to a file.

    Attributes:
        lock: who holds it knows that no process is being started.

    """

    def __init__(self, directory: Path) -> None:
        """Begin without a process."""
        self.lock = threading.RLock()
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, arguments: list[str]) -> None:
        """Run a program in place of the one before."""
        self.kill()
        with self.lock, (self._directory / LOG).open("ab") as log:
            self._process = subprocess.Popen(  # the arguments are the starter's own
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._directory
            )

    def kill(self) -> None:
        """End the program at once, and wait until it is gone."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def state(self) -> dict[str, int | None]:
        """Report the progress."""
        if self._process is None:
            return {"returncode": None, "pid": None}
        return {"returncode": self._process.poll(), "pid": self._process.pid}


def main() -> None:
    """Obey the starter until it is gone."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: sys.exit())
    directory = Path(tempfile.mkdtemp(prefix="otelkafka-broker-"))
    child = Child(directory)
    try:
        threading.Thread(target=_watch_starter, args=(int(sys.argv[1]), child, directory), daemon=True).start()
        _obey(child, directory)
    except BrokenPipeError:
        pass  # the starter is gone
    finally:
        _clean(child, directory)


def _obey(child: Child, directory: Path) -> None:
    _reply(str(directory))
    for line in sys.stdin:
        command = json.loads(line)
        if "stop" in command:
            return
        if "start" in command:
            child.start(command["start"])
        elif "kill" in command:
            child.kill()
        _reply(child.state())


def _reply(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _watch_starter(starter: int, child: Child, directory: Path) -> None:
    """Notice the starter's end also when a child that it forked holds our stdin open."""
    while os.name == "nt" or os.getppid() == starter:
        time.sleep(0.5)
    with child.lock:  # until the end, so that no process comes after the cleaning
        _clean(child, directory)
        os._exit(0)


def _clean(child: Child, directory: Path) -> None:
    child.kill()
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
