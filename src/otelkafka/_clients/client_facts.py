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


class ClientFacts:
    """What the engine may ask of a client of any library.

    The client itself is held weakly: a cycle would delay its end.

    Args:
        client: the producer or the consumer.
        cluster: what it knows of its cluster.
        client_id: as it was configured with, like the next two.
        group: its consumer group; None for a producer.
        servers: its bootstrap servers.

    Attributes:
        get: returns the client; None where it has been dropped.
        partition_of: the library's `TopicPartition`.
    """

    partition_of: type[Any]

    def __init__(self, client: Any, cluster: Any, client_id: object, group: object, servers: object) -> None:
        self.get = reference_to(client)
        self.client_id = text_or_none(client_id)
        self.group = text_or_none(group)
        self.bootstrap_servers: list[str] = hosts_of(servers) or []
        self._bootstrap = bootstrap_of(servers)
        self._cluster = cluster

    @property
    def cluster_id(self) -> str | None:
        """The id of the cluster, where the client knows it."""
        return text_or_none(getattr(self._cluster, "cluster_id", None))

    def server(self, topic: str | None, partition: int | None) -> Server | None:
        """Return the leader of the partition if it is known, else the first bootstrap server."""
        if topic is None or partition is None or self._cluster is None:
            return self._bootstrap
        return _leader(self._cluster, self.partition_of(topic, partition)) or self._bootstrap

    def highwater(self, topic: str, partition: int) -> int | None:
        """Return the offset of the next record that will be written to the partition, as the client knows it."""
        try:
            mark = self.get().highwater(self.partition_of(topic, partition))
        except Exception:  # noqa: BLE001 (once a record: in one call)
            return None
        return mark if isinstance(mark, int) else None

    def assignment(self) -> set[tuple[str, int]] | None:
        """Return the partitions that the consumer is assigned now."""
        return _assignment(self.get())

    def topics(self) -> set[str] | None:
        """Return the topics that the consumer is subscribed to or assigned partitions of."""
        return _topics(self.get())


@fact
def _leader(cluster: Any, partition: Any) -> Server | None:
    broker = cluster.broker_metadata(cluster.leader_for_partition(partition))
    return Server(broker.host, broker.port)


@fact
def _assignment(consumer: Any) -> set[tuple[str, int]]:
    return {(each.topic, each.partition) for each in consumer.assignment()}


@fact
def _topics(consumer: Any) -> set[str]:
    return set(consumer.subscription() or {each.topic for each in consumer.assignment()})
