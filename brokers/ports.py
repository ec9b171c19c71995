"""Ports of 127.0.0.1 that nobody uses."""

from __future__ import annotations

import random
import socket

# Below the ports that operating systems give to outgoing connections: one of those, made while the broker is down,
# would take its port away, and a client that retries can even connect to itself.
FIRST, LAST = 20_000, 32_000
TRIES = 100


def free_port() -> int:
    """Return a port that was free a moment ago; whoever binds it must be ready to find it taken."""
    for _ in range(TRIES):
        port = random.randint(FIRST, LAST)  # no secret
        if _is_free(port):
            return port
    msg = f"no free port of 127.0.0.1 between {FIRST} and {LAST}: end some of the processes that listen there"
    raise RuntimeError(msg)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
