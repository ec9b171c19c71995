"""Facts that a kafka-python client has and does not offer: the one module that reads its private attributes.

Every read may fail, with another release of kafka-python or with a client that is a fake, and then the fact is left
out.
"""

from collections.abc import Mapping
from typing import Any

import kafka
from kafka import TopicPartition

from otelkafka._clients.client_facts import (
    MINIMUM_VERSION_WITH_HEADERS,
    bootstrap_of,
    fact,
    hosts_of,
    reference_to,
    text_or_none,
)
from otelkafka._clients.errors import kafka_python_name
from otelkafka._protocols import Server
from otelkafka.headers import are_like_sendable

_COMMIT_CALLBACK = "default_offset_commit_callback"
_TAKES_SUBCLASSES = not kafka.__version__.startswith("2.0.")
"""Whether `send()` takes subclasses of list, tuple, str and bytes in headers, as kafka-python does since 2.1."""


class KafkaPythonClient:
    """A `KafkaProducer` or `KafkaConsumer` as the engine sees it.

    The client itself is held weakly: a cycle would delay its end.

    Args:
        client: the producer or the consumer.

    Attributes:
        get: returns the client; None where it has been dropped.
    """

    def __init__(self, client: Any) -> None:
        self.get = reference_to(client)
        self._config: dict[str, Any] = _config(client) or {}
        self._cluster = _cluster_of_producer(client) or _cluster_of_consumer(client)
        self.client_id: str | None = text_or_none(self._config.get("client_id"))
        self.group: str | None = text_or_none(self._config.get("group_id"))
        self._bootstrap: Server | None = bootstrap_of(self._config.get("bootstrap_servers"))
        self.bootstrap_servers: list[str] = hosts_of(self._config.get("bootstrap_servers")) or []

    @property
    def takes_headers(self) -> bool:
        """Whether the broker's message format has headers."""
        version = self._config.get("api_version")
        return not isinstance(version, tuple) or version >= MINIMUM_VERSION_WITH_HEADERS

    @staticmethod
    def can_send(headers: object) -> bool:
        """Return whether `send()` takes headers that are not of the plain types."""
        return _TAKES_SUBCLASSES and are_like_sendable(headers)

    @property
    def is_transactional(self) -> bool:
        """Whether a producer has transactions; also where it is a fake without a configuration."""
        return not self._config or self._config.get("transactional_id") is not None

    @property
    def cluster_id(self) -> str | None:
        """The id of the cluster, which kafka-python knows since 2.1."""
        return text_or_none(getattr(self._cluster, "cluster_id", None))

    def server(self, topic: str | None, partition: int | None) -> Server | None:
        """Return the leader of the partition if it is known, else the first bootstrap server."""
        if topic is None or partition is None or self._cluster is None:
            return self._bootstrap
        return _leader(self._cluster, topic, partition) or self._bootstrap

    def highwater(self, topic: str, partition: int) -> int | None:
        """Return the offset of the next record that will be written to the partition, as the client knows it."""
        try:
            mark = self.get().highwater(TopicPartition(topic, partition))
        except Exception:  # noqa: BLE001 (once a record: in one call)
            return None
        return mark if isinstance(mark, int) else None

    def assignment(self) -> set[tuple[str, int]] | None:
        """Return the partitions that the consumer is assigned now."""
        return _assignment(self.get())

    def consumed(self) -> Mapping[Any, Any] | None:
        """Return the offsets, by partition, that a commit without offsets would commit now."""
        return _consumed(self.get())

    def topics(self) -> set[str] | None:
        """Return the topics that the consumer is subscribed to or assigned partitions of."""
        return _topics(self.get())

    error_name = staticmethod(kafka_python_name)


@fact
def _assignment(consumer: Any) -> set[tuple[str, int]]:
    return {(each.topic, each.partition) for each in consumer.assignment()}


@fact
def _consumed(consumer: Any) -> Mapping[Any, Any]:
    consumed: Mapping[Any, Any] = consumer._subscription.all_consumed_offsets()
    return consumed


@fact
def _topics(consumer: Any) -> set[str]:
    return set(consumer.subscription() or {each.topic for each in consumer.assignment()})


@fact
def has_group_subscription(consumer: Any) -> bool:
    """Return whether partitions are assigned to the consumer by its group."""
    return bool(consumer._subscription.partitions_auto_assigned())


@fact
def rebalance_listener(consumer: Any) -> object:
    """Return the listener of the consumer's subscription; None where there is none."""
    return getattr(consumer._subscription, _listener_attribute(consumer))


@fact
def replace_rebalance_listener(consumer: Any, listener: object) -> bool:
    """Put `listener` in the place of the one that the subscription has; True where that was possible."""
    setattr(consumer._subscription, _listener_attribute(consumer), listener)
    return True


@fact
def commit_callback(consumer: Any) -> Any:
    """Return the callback of a consumer for commits that have no callback of their own, automatic ones for example."""
    return consumer._coordinator.config[_COMMIT_CALLBACK]


@fact
def replace_commit_callback(consumer: Any, callback: object) -> bool:
    """Put `callback` in its place; True where that was possible."""
    consumer._coordinator.config[_COMMIT_CALLBACK] = callback
    return True


@fact
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


@fact
def _config(client: Any) -> dict[str, Any]:
    config = client.config
    return config if isinstance(config, dict) else {}


@fact
def _cluster_of_producer(client: Any) -> Any:
    return client._metadata


@fact
def _cluster_of_consumer(client: Any) -> Any:
    cluster = getattr(client, "_cluster", None)
    return client._client.cluster if cluster is None else cluster


@fact
def _leader(cluster: Any, topic: str, partition: int) -> Server | None:
    broker = cluster.broker_metadata(cluster.leader_for_partition(TopicPartition(topic, partition)))
    return Server(broker.host, broker.port)
