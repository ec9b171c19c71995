"""Facts that a kafka-python client has and does not offer: the one module that touches its private attributes.

Every read may fail, with another release of kafka-python or with a client that is a fake, and then what it would have
told is left out.
"""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar
from urllib.parse import urlsplit

from kafka import TopicPartition

P = ParamSpec("P")
T = TypeVar("T")

_COMMIT_CALLBACK = "default_offset_commit_callback"
MINIMUM_VERSION_WITH_HEADERS = (0, 11)


class Record(Protocol):
    """What is needed of kafka-python's `ConsumerRecord`, whose fields differ by release."""

    @property
    def topic(self) -> str:
        """As kafka-python has it."""

    @property
    def partition(self) -> int:
        """As kafka-python has it."""

    @property
    def offset(self) -> int:
        """As kafka-python has it."""

    @property
    def headers(self) -> Iterable[Any]:
        """As kafka-python has it."""


class Server(NamedTuple):
    """Where a broker listens."""

    address: str
    port: int | None


def _fact(read: Callable[P, T]) -> Callable[P, T | None]:
    @wraps(read)
    def fact(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return read(*args, **kwargs)
        except Exception:  # noqa: BLE001 (a client that does not tell this is no failure)
            return None

    return fact


class ClientFacts:
    """What is known of one client without asking the network.

    It holds the client's configuration and its view of the cluster, never the client: so it makes no cycle that would
    delay the client's end.

    Args:
        client: a `KafkaProducer` or `KafkaConsumer`, or None where there is none.
    """

    def __init__(self, client: object = None) -> None:
        self._config: dict[str, Any] = _config(client) or {}
        self._cluster = _cluster_of_producer(client) or _cluster_of_consumer(client)
        self.client_id: str | None = _text(self._config.get("client_id"))
        self.group: str | None = _text(self._config.get("group_id"))
        self._bootstrap: Server | None = _bootstrap(self._config)
        self.bootstrap_servers: list[str] = _hosts(self._config) or []

    @property
    def takes_headers(self) -> bool:
        """Whether the broker's message format has headers."""
        version = self._config.get("api_version")
        return not isinstance(version, tuple) or version >= MINIMUM_VERSION_WITH_HEADERS

    @property
    def is_transactional(self) -> bool:
        """Whether a producer has transactions; also where it is a fake without a configuration."""
        return not self._config or self._config.get("transactional_id") is not None

    @property
    def cluster_id(self) -> str | None:
        """The cluster's id, which kafka-python knows since 2.1."""
        return _text(getattr(self._cluster, "cluster_id", None))

    def server(self, topic: str | None, partition: int | None) -> Server | None:
        """Return the leader of the partition if it is known, else the first bootstrap server."""
        if topic is None or partition is None or self._cluster is None:
            return self._bootstrap
        return _leader(self._cluster, topic, partition) or self._bootstrap


@_fact
def highwater(consumer: Any, topic: str, partition: int) -> int | None:
    """Return the offset of the next record that will be written to the partition, as the client knows it."""
    mark = consumer.highwater(TopicPartition(topic, partition))
    return mark if isinstance(mark, int) else None


@_fact
def topics(consumer: Any) -> set[str]:
    """Return the topics that the consumer is subscribed or assigned to."""
    return set(consumer.subscription() or {each.topic for each in consumer.assignment()})


@_fact
def assignment(consumer: Any) -> set[tuple[str, int]]:
    """Return the partitions that the consumer is assigned now."""
    return {(each.topic, each.partition) for each in consumer.assignment()}


@_fact
def has_group_subscription(consumer: Any) -> bool:
    """Tell whether partitions are assigned to the consumer by its group."""
    return bool(consumer._subscription.partitions_auto_assigned())


@_fact
def rebalance_listener(consumer: Any) -> object:
    """Return the listener of the consumer's subscription; None where there is none."""
    return getattr(consumer._subscription, _listener_attribute(consumer))


@_fact
def replace_rebalance_listener(consumer: Any, listener: object) -> bool:
    """Put `listener` in the place of the one that the subscription has; True where that was possible."""
    setattr(consumer._subscription, _listener_attribute(consumer), listener)
    return True


@_fact
def commit_callback(consumer: Any) -> Any:
    """Return what a consumer calls when offsets were committed and nobody else asked to hear of it."""
    return consumer._coordinator.config[_COMMIT_CALLBACK]


@_fact
def replace_commit_callback(consumer: Any, callback: object) -> bool:
    """Put `callback` in its place; True where that was possible."""
    consumer._coordinator.config[_COMMIT_CALLBACK] = callback
    return True


@_fact
def batch_index(future: Any) -> int:
    """Return where in its batch the record of a future lies; -1 where the client itself refused it."""
    index: int = future.args[0]
    return index


def _listener_attribute(consumer: Any) -> str:
    for name in ("rebalance_listener", "listener"):
        if hasattr(consumer._subscription, name):
            return name
    msg = "this release of kafka-python keeps the rebalance listener elsewhere"
    raise AttributeError(msg)


@_fact
def _config(client: Any) -> dict[str, Any]:
    config = client.config
    return config if isinstance(config, dict) else {}


@_fact
def _cluster_of_producer(client: Any) -> Any:
    return client._metadata


@_fact
def _cluster_of_consumer(client: Any) -> Any:
    cluster = getattr(client, "_cluster", None)
    return client._client.cluster if cluster is None else cluster


@_fact
def _leader(cluster: Any, topic: str, partition: int) -> Server | None:
    broker = cluster.broker_metadata(cluster.leader_for_partition(TopicPartition(topic, partition)))
    return Server(broker.host, broker.port)


@_fact
def _bootstrap(config: dict[str, Any]) -> Server | None:
    return _parse(_bootstrap_servers(config)[0])


@_fact
def _hosts(config: dict[str, Any]) -> list[str]:
    servers = [_parse(each) for each in _bootstrap_servers(config)]
    return [f"{each.address}:{each.port}" if each.port else each.address for each in servers if each is not None]


def _bootstrap_servers(config: dict[str, Any]) -> list[str]:
    servers = config["bootstrap_servers"]
    return servers.split(",") if isinstance(servers, str) else list(servers)


def _parse(server: str) -> Server | None:
    # A scheme or credentials in the URL must not get into the telemetry, whatever a password is made of.
    parts = urlsplit("//" + server.strip().rpartition("://")[2].rpartition("@")[2])
    return Server(parts.hostname, parts.port) if parts.hostname else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
