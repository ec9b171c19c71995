"""Ports of 127.0.0.1 that are free."""

from __future__ import annotations

import os
import random
import socket
from itertools import islice

# Below the ports that operating systems give to outgoing connections: one of those, made while the broker is down,
# would take its port away, and a client that retries can even connect to itself.
FIRST, LAST = 20_000, 32_000
TRIES = 100
# Not the generator that tests seed: processes with one seed would choose the same ports.
RANDOM = random.SystemRandom()


def free_ports(count: int) -> list[int]:
    """Return different ports that were free a moment ago; a caller that binds them must be ready to find them taken."""
    ports = list(islice(filter(is_free, RANDOM.sample(range(FIRST, LAST), TRIES)), count))
    if len(ports) == count:
        return ports
    msg = f"no {count} free ports of 127.0.0.1 from {FIRST} to {LAST}: end some of the processes that listen there"
    raise RuntimeError(msg)


def is_free(port: int) -> bool:
    """Return whether a port of 127.0.0.1 can be bound."""
    with socket.socket() as probe:
        if os.name == "posix":  # as Java does: connections that were closed a minute ago are no obstacle
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
