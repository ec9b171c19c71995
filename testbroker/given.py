"""A broker that somebody else runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from testbroker import wire
from testbroker.broker import Broker, BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVERS_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"


class GivenBroker(Broker):
    """The broker at `KAFKA_BOOTSTRAP_SERVERS`, without TLS or authentication; `stop()` leaves it alone."""

    kind = "given"

    def __init__(self) -> None:
        """Check that it answers."""
        self.bootstrap_servers = _servers()
        self.description = f"Kafka on {self.bootstrap_servers}"
        _check(self.bootstrap_servers)

    def stop(self) -> None:
        """Do nothing: it is not ours."""

    def _make_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        wire.create_topic(self.bootstrap_servers, name, partitions, config)


def _servers() -> str:
    servers = os.environ.get(SERVERS_VARIABLE, "").strip()
    if servers:
        return servers
    reason = "no broker is given"
    raise BrokerUnavailable(reason, f"Set {SERVERS_VARIABLE} to its host:port, or ask for another kind of broker.")


def _check(servers: str) -> None:
    try:
        wire.metadata(servers)
    except (OSError, ValueError) as error:
        reason = f"no Kafka broker answers at {servers} ({error})"
        remedy = f"Start it, correct {SERVERS_VARIABLE}, or unset it to have a broker of our own."
        raise BrokerUnavailable(reason, remedy) from error
