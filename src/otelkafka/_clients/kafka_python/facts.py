"""Facts of a kafka-python client that its public names do not give: the one module that reads its private attributes.

Every read may fail, with another release of kafka-python or with a fake client. Then the fact is left out.
"""

from collections.abc import Mapping
from typing import Any

import kafka
from kafka import TopicPartition

from otelkafka._clients.client_facts import MINIMUM_VERSION_WITH_HEADERS, ClientFacts, fact
from otelkafka._clients.errors import kafka_python_name
from otelkafka.headers import are_like_sendable

_COMMIT_CALLBACK = "default_offset_commit_callback"
_TAKES_SUBCLASSES = not kafka.__version__.startswith("2.0.")
"""Whether `send()` takes subclasses of list, tuple, str and bytes in headers, as kafka-python does since 2.1."""


class KafkaPythonClient(ClientFacts):
    """A `KafkaProducer` or `KafkaConsumer` as the engine sees it.

    Args:
        client: the producer or the consumer.
    """

    partition_of = TopicPartition

    def __init__(self, client: Any) -> None:
        self._config: dict[str, Any] = _config(client) or {}
        cluster = _cluster_of_producer(client) or _cluster_of_consumer(client)
        named = (self._config.get(name) for name in ("client_id", "group_id", "bootstrap_servers"))
        super().__init__(client, cluster, *named)

    @property
    def takes_headers(self) -> bool:
        """Whether the broker's message format has headers."""
        version = self._config.get("api_version")
        return not isinstance(version, tuple) or version >= MINIMUM_VERSION_WITH_HEADERS

    @staticmethod
    def can_send(headers: object) -> bool:
        """Return whether `send()` takes headers of other types than the plain ones."""
        return _TAKES_SUBCLASSES and are_like_sendable(headers)

    @property
    def is_transactional(self) -> bool:
        """Whether a producer has transactions. A fake without a configuration may have them, too."""
        return not self._config or self._config.get("transactional_id") is not None

    def consumed(self) -> Mapping[Any, Any] | None:
        """Return the offsets that a commit without offsets would commit now, by partition."""
        return _consumed(self.get())

    error_name = staticmethod(kafka_python_name)


@fact
def _consumed(consumer: Any) -> Mapping[Any, Any]:
    consumed: Mapping[Any, Any] = consumer._subscription.all_consumed_offsets()
    return consumed


@fact
def has_group_subscription(consumer: Any) -> bool:
    """Return whether a group assigns partitions to the consumer."""
    return bool(consumer._subscription.partitions_auto_assigned())


@fact
def rebalance_listener(consumer: Any) -> object:
    """Return the listener of the consumer's subscription; None where there is none."""
    return getattr(consumer._subscription, _listener_attribute(consumer))


@fact
def replace_rebalance_listener(consumer: Any, listener: object) -> bool:
    """Replace the listener of the subscription by `listener`; True if that was possible."""
    setattr(consumer._subscription, _listener_attribute(consumer), listener)
    return True


@fact
def commit_callback(consumer: Any) -> Any:
    """Return the callback of a consumer for commits without a callback, for example automatic ones."""
    return consumer._coordinator.config[_COMMIT_CALLBACK]


@fact
def replace_commit_callback(consumer: Any, callback: object) -> bool:
    """Replace that callback by `callback`; True if that was possible."""
    consumer._coordinator.config[_COMMIT_CALLBACK] = callback
    return True


@fact
def batch_index(future: Any) -> int:
    """Return the index of a future's record in its batch; -1 if the client refused the record."""
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
