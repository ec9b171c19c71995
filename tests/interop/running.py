"""Runs a program to its end, and reads the spans and records that it prints."""

import json
import time

from testbroker.supervised import SupervisedProcess

PATIENCE = 300.0  # a first build in Go takes its time


class Missing(Exception):
    """A tool that a peer needs is not there; the message names it and what to do."""


def output_of(*arguments: str, stdin: str | None = None) -> str:
    """Return what a program prints; it ends with this process, however this one ends.

    Raises:
        RuntimeError: it failed, or did not end in time; the message has the end of its output.
    """
    process = SupervisedProcess()
    try:
        if stdin is not None:
            (process.directory / "stdin").write_text(stdin)
            arguments = ("sh", "-c", 'exec "$0" "$@" <stdin', *arguments)
        process.start(list(arguments))
        _wait(process, arguments)
        return process.output()
    finally:
        process.stop()


def _wait(process: SupervisedProcess, arguments: tuple[str, ...]) -> None:
    until = time.monotonic() + PATIENCE
    while (code := process.returncode()) is None and time.monotonic() < until:
        time.sleep(0.02)
    if code != 0:
        how = f"did not end within {PATIENCE:.0f} s" if code is None else f"ended with {code}"
        msg = f"{' '.join(arguments)} {how}; it printed:\n{process.output_tail()}"
        raise RuntimeError(msg)


class Seen:
    """What a peer has printed.

    Attributes:
        spans: those that ended, with name, kind, trace_id, span_id, parent_id, links and tracestate.
        headers: of the record that it took, in their order.
    """

    def __init__(self, spans: list[dict], headers: list[tuple[str, str]]) -> None:
        self.spans = spans
        self.headers = headers

    @classmethod
    def of_lines(cls, output: str) -> "Seen":
        """Read lines of {"span": ...} and {"record": ...}."""
        lines = [json.loads(line) for line in output.splitlines() if line.startswith('{"')]
        records = [line["record"] for line in lines if "record" in line]
        headers = [(name, value) for record in records for name, value in record["headers"]]
        return cls([line["span"] for line in lines if "span" in line], headers)

    def span(self, name: str) -> dict:
        """Return the one span of that name."""
        (found,) = [span for span in self.spans if span["name"] == name]
        return found
