"""A broker that runs elsewhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from testbroker import wire
from testbroker.broker import Broker, BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVERS_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"


class GivenBroker(Broker):
    """A broker without TLS or authentication; `stop()` leaves it alone.

    Args:
        servers: its "host:port"; None: the value of `KAFKA_BOOTSTRAP_SERVERS`.
        setting: the name of what the user has set, for messages.
    """

    kind = "given"

    def __init__(self, servers: str | None = None, setting: str = SERVERS_VARIABLE) -> None:
        """Check that it answers."""
        self.bootstrap_servers = servers or _servers()
        self.description = f"Kafka on {self.bootstrap_servers}"
        _check(self.bootstrap_servers, setting)

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


def _check(servers: str, setting: str) -> None:
    try:
        wire.metadata(servers)
    except (OSError, ValueError) as error:
        reason = f"no Kafka broker answers at {servers} ({error})"
        remedy = f"Start it, correct {setting}, or leave that out: then a broker is started."
        raise BrokerUnavailable(reason, remedy) from error
