"""The Kafka of the demo: a given one, or one of its own; its topic; and a watch that reports when it is gone."""

import threading
from contextlib import suppress

from examples.ask.options import Options
from testbroker import Broker, start_broker, wire
from testbroker.given import GivenBroker

WATCH_SECONDS = 1.0


class NotPossibleError(Exception):
    """What was asked for cannot be done; the message says what can."""


def start_kafka(options: Options) -> Broker:
    """Start or find the Kafka that the options ask for.

    Raises:
        BrokerUnavailable: there is none.
    """
    if options.bootstrap_servers:
        return GivenBroker(options.bootstrap_servers, "--bootstrap-servers")
    return start_broker()


def make_topic(broker: Broker, options: Options) -> None:
    """Make the topic if it is not there.

    Raises:
        NotPossibleError: there cannot be one with a partition for each consumer.
    """
    if broker.kind == "embedded" and options.consumers > 1:
        msg = (
            "--consumers needs Apache Kafka itself, which cannot be had: connect to the network, or --bootstrap-servers"
        )
        raise NotPossibleError(msg)
    with suppress(RuntimeError):  # it is there already
        broker.create_topic(options.topic, options.consumers)
    found = len(wire.metadata(broker.bootstrap_servers, options.topic).leaders)
    if found != options.consumers:
        msg = (
            f"topic {options.topic!r} has {found} partitions, and {options.consumers} consumers want one each: "
            f"choose --consumers {found}, or another --topic"
        )
        raise NotPossibleError(msg)


class Watch:
    """Looks every second whether Kafka answers.

    Args:
        servers: its "host:port".
    """

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self.answers = True
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(WATCH_SECONDS):
            self.answers = self._ask()

    def _ask(self) -> bool:
        try:
            return bool(wire.metadata(self.servers, timeout=10.0).brokers)
        except (OSError, ValueError):
            return False

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()
