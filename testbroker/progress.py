"""Shows the progress of a download on stderr: one line kept up to date on a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from typing_extensions import Self

TERMINAL_INTERVAL = 0.2
LOG_INTERVAL = 5.0
MEGABYTE = 1_000_000


class Progress:
    """A download of many files; a context manager that shows its progress from begin to end."""

    def __init__(self, title: str) -> None:
        """Begin with nothing downloaded of what `title` names."""
        self._title = title
        self._lock = threading.Lock()
        self._bytes = 0
        self._files = 0
        self._expected: int | None = None
        self._terminal = sys.stderr.isatty()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._begin = time.monotonic()

    def expect(self, jars: int) -> None:
        """Show how many files are to come, now that it is known."""
        with self._lock:
            self._files, self._expected = 0, jars

    @contextmanager
    def file(self, _name: str, _size: int) -> Iterator[Callable[[int], None]]:
        """Count a file; what is yielded takes the number of bytes of each part that came."""
        yield self._count_bytes
        with self._lock:
            self._files += 1

    def _count_bytes(self, count: int) -> None:
        with self._lock:
            self._bytes += count

    def __enter__(self) -> Self:
        """Show what begins."""
        self._write("downloading")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Show the result."""
        self._ended.set()
        self._thread.join()
        self._write("downloading failed" if error else "downloaded", "\n")

    def _run(self) -> None:
        while not self._ended.wait(TERMINAL_INTERVAL if self._terminal else LOG_INTERVAL):
            self._write("downloading")

    def _write(self, what: str, terminal_end: str = "") -> None:
        line = f"testbroker: {what} {self._title}: {self._state()}"
        sys.stderr.write(f"\r\x1b[K{line}{terminal_end}" if self._terminal else f"{line}\n")
        sys.stderr.flush()

    def _state(self) -> str:
        if self._expected is None:
            files = f"{self._files} descriptions of what it needs"
        else:
            files = f"{self._files} of {self._expected} jars"
        return f"{files}, {self._bytes / MEGABYTE:.1f} MB, {time.monotonic() - self._begin:.0f} s"
