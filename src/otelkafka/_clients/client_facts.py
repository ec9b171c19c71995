"""What the facts about clients of all libraries have in common."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar
from urllib.parse import urlsplit
from weakref import ref

from otelkafka._protocols import Server

P = ParamSpec("P")
T = TypeVar("T")

MINIMUM_VERSION_WITH_HEADERS: Final = (0, 11)


def fact(read: Callable[P, T]) -> Callable[P, T | None]:
    """Return a function that reads a fact, and returns None where that fails."""

    @wraps(read)
    def read_or_none(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return read(*args, **kwargs)
        except Exception:  # noqa: BLE001 (a client that does not have this is no failure)
            return None

    return read_or_none


def reference_to(client: Any) -> Callable[[], Any]:
    """Return what returns a client, weakly where that is possible."""
    try:
        return ref(client)
    except TypeError:  # a fake whose slots leave no room for a weak reference
        return lambda: client


def text_or_none(value: object) -> str | None:
    """Return a text that is not empty; None for anything else."""
    return value if isinstance(value, str) and value else None


@fact
def bootstrap_of(servers: Any) -> Server | None:
    """Return the first bootstrap server of those that a client was configured with."""
    return _parse(_listed(servers)[0])


@fact
def hosts_of(servers: Any) -> list[str]:
    """Return the bootstrap servers that a client was configured with as `host:port`."""
    parsed = [_parse(each) for each in _listed(servers)]
    return [f"{each.address}:{each.port}" if each.port else each.address for each in parsed if each is not None]


def _listed(servers: Any) -> list[str]:
    return servers.split(",") if isinstance(servers, str) else list(servers)


def _parse(server: str) -> Server | None:
    # A scheme or credentials in the URL must not get into the telemetry, whatever a password is made of.
    parts = urlsplit("//" + server.strip().rpartition("://")[2].rpartition("@")[2])
    return Server(parts.hostname, parts.port) if parts.hostname else None
