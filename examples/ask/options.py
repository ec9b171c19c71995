"""What can be asked of the demo on its command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

DESCRIPTION = "Asks four questions at once through Kafka and shows why the last one had to wait."


@dataclass(frozen=True)
class Options:
    """What the demo does; see `parse` for what each means."""

    serve: bool = False
    port: int | None = None
    work: float = 0.35
    fail_every: int = 4
    consumers: int = 1
    bootstrap_servers: str | None = None
    topic: str = "questions"
    zipkin: bool = False
    prometheus: bool = False


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line."""
    default = Options()
    parser = argparse.ArgumentParser("tox run -e demo --", description=DESCRIPTION)
    parser.add_argument("--serve", action="store_true", help="stay up for a browser, until Ctrl-C")
    parser.add_argument("--port", type=_port, help="of the page; left out, a free one")
    parser.add_argument(
        "--work", type=_seconds, default=default.work, help="seconds that printing takes; 35 in the talk"
    )
    parser.add_argument(
        "--fail-every", type=_count, default=default.fail_every, help="of so many tweets one fails; 0: none"
    )
    parser.add_argument(
        "--consumers", type=_positive, default=default.consumers, help="so many share the work, each with a partition"
    )
    parser.add_argument("--bootstrap-servers", help="a Kafka of your own, as host:port; left out, one is started")
    parser.add_argument("--topic", default=default.topic, help="of the questions; made if it is not there")
    parser.add_argument("--zipkin", action="store_true", help="start a Zipkin too, and link each trace to it")
    parser.add_argument(
        "--prometheus", action="store_true", help="let a Prometheus scrape the services, and say where it finds them"
    )
    return Options(**vars(parser.parse_args(arguments)))


def _number(text: str, kind: type, least: float, what: str) -> float:
    try:
        number = kind(text)
    except ValueError:
        number = None
    if number is None or not least <= number < float("inf"):
        msg = f"{text!r} is no {what}"
        raise argparse.ArgumentTypeError(msg)
    return number  # type: ignore[no-any-return]


def _port(text: str) -> int:
    number = int(_number(text, int, 1, "port: give a number from 1 to 65535"))
    if number > 65535:  # noqa: PLR2004 - said in the message
        msg = f"{text!r} is no port: give a number from 1 to 65535"
        raise argparse.ArgumentTypeError(msg)
    return number


def _seconds(text: str) -> float:
    return _number(text, float, 0, "time: give seconds, as 0.35")


def _count(text: str) -> int:
    return int(_number(text, int, 0, "count: give 0 or more"))


def _positive(text: str) -> int:
    return int(_number(text, int, 1, "count: give 1 or more"))
