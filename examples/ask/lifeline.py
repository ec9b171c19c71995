"""What ties a service to the process that started it: its standard input, which ends however that one ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
PARENT_SECONDS = 0.5


class Child:
    """A service in a process of its own.

    Args:
        module: its module in this package.
        arguments: the arguments of its command line.
        environment: on top of this process's own.
    """

    def __init__(self, module: str, arguments: list[str], environment: Mapping[str, str]) -> None:
        self.module = module
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.{module}", *arguments],
            stdin=subprocess.PIPE,
            env={**os.environ, **environment, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the starter, which ends us in good order
        )

    @property
    def returncode(self) -> int | None:
        """What it ended with, None while it runs."""
        return self._process.poll()

    def release(self) -> None:
        """Ask it to end."""
        if self._process.stdin:
            self._process.stdin.close()

    def join(self) -> None:
        """Return when it has ended, by force if it does not end by itself."""
        self.release()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def end_with_parent() -> None:
    """End this process, as by SIGTERM, once the process that started it is gone."""
    parent = os.getppid()

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def when_released(end: Callable[[], object]) -> None:
    """Call `end` once the starter is gone or asks for it; what hangs then is ended by force."""

    def wait() -> None:
        sys.stdin.buffer.read()
        end()
        threading.Event().wait(PATIENCE)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
