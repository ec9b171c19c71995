"""The command line: `otelkafka inspect TOPIC` shows whether a live topic's records carry contexts, and which."""

import argparse
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from kafka import errors

from otelkafka._cli import properties
from otelkafka._cli.finding import Finding, Summary, finding_of, printable
from otelkafka._cli.reader import Bystander, start_of
from otelkafka._telemetry.scope import VERSION

PROGRAM = "otelkafka"
LIMIT = 1000
NOTICE_SECONDS = 2.0
"""After how long without an answer of Kafka a line on stderr says that the command waits for it."""
INTERRUPTED = 130
"""The exit status of a program that Ctrl-C has ended, by convention of shells."""


class Output(Protocol):
    """Where findings go."""

    def expect(self, count: int | None) -> None:
        """Note how many records there will be at most; None where that is not known."""

    def show(self, found: Finding) -> None:
        """Show one more."""

    def end(self, summary: Summary) -> None:
        """Show what they have in common."""


class JsonLines:
    """Prints a line of JSON for each record, and one for the summary.

    Args:
        records: whether it prints the lines of the records.
    """

    def __init__(self, *, records: bool = True) -> None:
        self._records = records

    def expect(self, count: int | None) -> None:
        """Do nothing: a pipe wants no progress."""

    def show(self, found: Finding) -> None:
        """Print it."""
        if self._records:
            sys.stdout.write(json.dumps(asdict(found)) + "\n")
            sys.stdout.flush()

    def end(self, summary: Summary) -> None:
        """Print it, under a name that no record has."""
        sys.stdout.write(json.dumps({"summary": summary.as_json()}) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for.

    Args:
        arguments: the arguments of the command line; None for the process's own.

    Returns:
        The exit status: 0; 1 where Kafka does not answer or refuses; 130 where Ctrl-C ended it before it had connected.
        A wrong argument ends the process with 2.
    """
    logging.getLogger("kafka").addHandler(logging.NullHandler())  # a failure is written once, below
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        start, config = start_of(given.start), _config(given)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    try:
        _inspect(given, start, config)
    except (errors.KafkaError, LookupError) as error:
        sys.stderr.write(f"{PROGRAM}: {printable(_message_of(error))}\n")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(PROGRAM, description="Tools for traces through Kafka.")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True)
    inspect = commands.add_parser(
        "inspect",
        help="show the trace contexts of the records of a topic",
        description="Reads records of a live topic, without a group and without commits, and shows their contexts.",
    )
    inspect.add_argument("topic")
    inspect.add_argument("--bootstrap-servers", help="host:port, several by commas; localhost:9092 by default")
    inspect.add_argument("--config", type=Path, help="a properties file of the client, for SASL and SSL")
    inspect.add_argument(
        "--from",
        dest="start",
        default="100",
        help="beginning, end, the number of last records of each partition (100), or a UTC time as 2026-11-25T10:00",
    )
    inspect.add_argument("--limit", type=_count, help=f"the number of records; default {LIMIT}, with --follow no limit")
    inspect.add_argument("--follow", action="store_true", help="wait for new records, until Ctrl-C")
    inspect.add_argument(
        "--header", action="append", default=[], help="show the values of this header; may be repeated"
    )
    inspect.add_argument("--json", action="store_true", help="print a line of JSON for each record, as in a pipe")
    inspect.add_argument("--summary", action="store_true", help="print the summary only, without the records")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        msg = "give 1 or more"
        raise argparse.ArgumentTypeError(msg)
    return number


def _config(given: argparse.Namespace) -> dict[str, Any]:
    settings: dict[str, Any] = {"bootstrap_servers": "localhost:9092"}
    if given.config is not None:
        found, unknown = properties.read(given.config)
        settings.update(found)
        if unknown:
            sys.stderr.write(f"{PROGRAM}: left out of {given.config.name}: {printable(', '.join(unknown))}\n")
    if given.bootstrap_servers:
        settings["bootstrap_servers"] = given.bootstrap_servers
    settings["bootstrap_servers"] = settings["bootstrap_servers"].split(",")
    return settings


def _inspect(given: argparse.Namespace, start: Any, config: dict[str, Any]) -> None:
    output, summary = _output(json_lines=given.json, records=not given.summary), Summary()
    with closing(_connected(given.topic, start, config)) as reader:
        there = reader.count
        limit = given.limit or (None if given.follow else LIMIT)
        output.expect(limit if given.follow or limit is None else min(limit, there))
        try:
            for record, found in _findings(reader, limit, given):
                summary.add(found, record.key)
                output.show(found)
        except KeyboardInterrupt:
            pass  # the summary is of what was read until then
    output.end(summary)


def _connected(topic: str, start: Any, config: dict[str, Any]) -> Bystander:
    with _notice(f"waiting for Kafka at {','.join(config['bootstrap_servers'])}; Ctrl-C ends it"):
        return Bystander(config, topic, start)


@contextmanager
def _notice(text: str) -> Iterator[None]:
    """Print a line on stderr if what is done inside takes longer than a user waits without one."""
    timer = threading.Timer(NOTICE_SECONDS, sys.stderr.write, [f"{PROGRAM}: {printable(text)}\n"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _findings(reader: Bystander, limit: int | None, given: argparse.Namespace) -> Iterator[tuple[Any, Finding]]:
    for record in islice(reader.records(follow=given.follow), limit):
        yield record, finding_of(record, time.time(), given.header)


def _output(*, json_lines: bool, records: bool) -> Output:
    if json_lines or not sys.stdout.isatty():
        return JsonLines(records=records)
    try:
        from otelkafka._cli.console import Console  # noqa: PLC0415 (rich is not there unless it was asked for)
    except ImportError:
        sys.stderr.write(f"{PROGRAM}: for tables instead of JSON: pip install 'otelkafka[inspect]'\n")
        return JsonLines(records=records)
    return Console(records=records)


_ADVICE = {  # by name, since releases of kafka-python differ in which they have
    "NoBrokersAvailable": "no broker answered: check --bootstrap-servers, and security.protocol in --config",
    "KafkaTimeoutError": "Kafka did not answer in time: check --bootstrap-servers, and security.protocol in --config",
    "TopicAuthorizationFailedError": "this user may not read the topic: grant it READ and DESCRIBE",
    "SaslAuthenticationFailedError": "Kafka refused the credentials: check user, password and mechanism in --config",
}


def _message_of(error: BaseException) -> str:
    if isinstance(error, LookupError):
        return str(error.args[0])
    name = type(error).__name__
    return f"{_ADVICE[name]} ({error})" if name in _ADVICE else f"{name}: {error}"
