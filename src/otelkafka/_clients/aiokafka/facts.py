"""Facts of an aiokafka client that its public names do not give: the one module that reads its private attributes.

Every read may fail, with another release of aiokafka or with a fake client. Then the fact is left out.
"""

from collections.abc import Mapping
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from otelkafka._clients.client_facts import MINIMUM_VERSION_WITH_HEADERS, ClientFacts, fact
from otelkafka._clients.errors import aiokafka_name

_TAKES_ANY_PAIRS: Final = "_crecords" not in DefaultRecordBatchBuilder.__module__
"""Whether headers may be of any types that can be iterated: aiokafka runs without its compiled extension."""
_MISSING: Final = object()


class AIOKafkaFacts(ClientFacts):
    """An `AIOKafkaProducer` or `AIOKafkaConsumer` as the engine sees it. No release up to 0.14 keeps the cluster id.

    Args:
        client: the producer or the consumer.
    """

    partition_of = TopicPartition

    def __init__(self, client: Any) -> None:
        self._network = network = _network(client)
        super().__init__(
            client,
            getattr(network, "cluster", None),
            getattr(network, "_client_id", None),
            getattr(client, "_group_id", None),
            getattr(network, "_bootstrap_servers", None),
        )
        self._transactions = getattr(client, "_txn_manager", _MISSING)

    @property
    def takes_headers(self) -> bool:
        """Whether the broker's message format has headers. Releases since 0.13 know no other brokers."""
        version = getattr(self._network, "_api_version", None)
        return not isinstance(version, tuple) or version >= MINIMUM_VERSION_WITH_HEADERS

    @staticmethod
    def can_send(headers: object) -> bool:
        """Return whether `send()` takes headers that are not of the plain types: a value may be None."""
        return type(headers) is list and all(map(_is_header, headers))

    @property
    def is_transactional(self) -> bool:
        """Whether a producer has transactions. A fake without a configuration may have them, too."""
        if self._transactions is _MISSING:
            return True
        return getattr(self._transactions, "transactional_id", None) is not None

    def consumed(self) -> Mapping[Any, Any] | None:
        """Return the offsets that a commit without offsets would commit now, by partition."""
        return _consumed(self.get())

    error_name = staticmethod(aiokafka_name)


def _is_header(header: Any) -> bool:
    return (
        type(header) is tuple
        and len(header) == 2  # noqa: PLR2004 (key and value)
        and type(header[0]) is str
        and (header[1] is None or type(header[1]) is bytes)
    )


def plain_headers(headers: Any) -> Any:
    """Return headers that `send()` takes as a list, to which a context can be added; anything else unchanged.

    Without its compiled extension aiokafka takes any sequence of pairs.
    """
    if type(headers) is list or headers is None or not _TAKES_ANY_PAIRS or not isinstance(headers, list | tuple):
        return headers
    return [tuple(header) if isinstance(header, list) else header for header in headers]


@fact
def _network(client: Any) -> Any:
    return client.client if hasattr(client, "client") else client._client


def sender_of(producer: Any) -> object:
    """Return the sender of a producer, which continues in the event loop when the producer is dropped."""
    sender: object = _sender(producer)
    return producer if sender is None else sender


@fact
def _sender(producer: Any) -> Any:
    return producer._sender


@fact
def _consumed(consumer: Any) -> Mapping[Any, Any]:
    consumed: Mapping[Any, Any] = consumer._subscription.subscription.assignment.all_consumed_offsets()
    return consumed


@fact
def has_group_subscription(consumer: Any) -> bool:
    """Return whether a group assigns partitions to the consumer. Without a group, no listener is called."""
    return consumer._group_id is not None and bool(consumer._subscription.partitions_auto_assigned())


@fact
def rebalance_listener(consumer: Any) -> object:
    """Return the listener of the consumer's subscription; None where there is none."""
    return consumer._subscription._listener


@fact
def replace_rebalance_listener(consumer: Any, listener: object) -> bool:
    """Replace the listener of the subscription by `listener`; True if that was possible."""
    consumer._subscription._listener  # noqa: B018 (AttributeError, where another release keeps it elsewhere)
    consumer._subscription._listener = listener
    return True


def read_again(consumer: Any, record: Any) -> None:
    """Make the consumer return a record again that the application did not get."""
    consumer.seek(TopicPartition(record.topic, record.partition), record.offset)


@fact
def record_count(batch: Any) -> int:
    """Return how many records a batch has."""
    count: int = batch.record_count()
    return count
