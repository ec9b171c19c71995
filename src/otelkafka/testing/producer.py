"""A producer without a broker."""

from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

import kafka
from kafka import KafkaProducer
from kafka.errors import KafkaError
from kafka.partitioner.default import murmur2
from kafka.structs import TopicPartition

from otelkafka.testing.cluster import FakeCluster, fake_record
from otelkafka.testing.configuration import apply, configured
from otelkafka.testing.future import FakeFuture

_POSITIVE = 0x7FFFFFFF


def _check_headers(headers: Any) -> None:
    """Refuse what kafka-python refuses."""
    if headers is None:
        return
    if not (_is_a(list, headers) and all(map(_is_pair, headers))):
        refusal = TypeError if int(kafka.__version__.partition(".")[0]) >= 3 else AssertionError  # noqa: PLR2004
        msg = "give headers as a list of (str, bytes) tuples"
        raise refusal(msg)


def _is_pair(header: Any) -> bool:
    if not _is_a(tuple, header) or len(header) != 2:  # noqa: PLR2004 (key and value)
        return False
    return _is_a(str, header[0]) and _is_a(bytes, header[1])


def _is_a(kind: type, value: Any) -> bool:
    return type(value) is kind if kafka.__version__.startswith("2.0.") else isinstance(value, kind)


class FakeSend(NamedTuple):
    """A send that has no acknowledgement yet."""

    record: Any
    future: FakeFuture


class FakeProducer(KafkaProducer):  # type: ignore[misc]
    """Stores the records that it is asked to send, and acknowledges them at once or on demand.

    It is used as a `KafkaProducer`, and passes `isinstance` as one.

    Args:
        cluster: stores its records, for a `FakeConsumer` with the same cluster; None for a new one.
        auto_complete: False to resolve each send by `complete_next()` or `error_next()`.
        config: as a `KafkaProducer` takes it; serializers are applied.

    Attributes:
        cluster: stores its records.
        history: the records that it was asked to send, in order.
        config: the configuration of the client.
    """

    def __init__(self, cluster: FakeCluster | None = None, *, auto_complete: bool = True, **config: Any) -> None:
        self.cluster = FakeCluster() if cluster is None else cluster
        self.history: list[Any] = []
        self.config = configured(KafkaProducer, config, client_id="fake-producer")
        self._auto_complete = auto_complete
        self._waiting: list[FakeSend] = []
        self._turns = count()
        self._transaction: list[tuple[TopicPartition, int]] | None = None
        self._offsets: list[tuple[Any, dict[TopicPartition, Any]]] = []
        self._is_closed = False

    def send(
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        headers: Sequence[tuple[str, bytes]] | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> FakeFuture:
        """Keep a record, and return the future of its acknowledgement.

        Raises:
            KafkaError: the producer is closed.
            TypeError: what the serializers made of key or value is neither bytes nor None; headers that kafka-python
                refuses (before its release 3 by an AssertionError, as it does).
        """
        self._check_open()
        _check_headers(headers)
        raw_key = self._serialized("key_serializer", topic, headers, key)
        raw_value = self._serialized("value_serializer", topic, headers, value)
        place = TopicPartition(topic, self._choose(topic, raw_key) if partition is None else partition)
        record = fake_record(
            topic,
            raw_value,
            key=raw_key,
            headers=list(headers or ()),
            partition=place.partition,
            offset=-1,
            timestamp=timestamp_ms,
        )
        self.history.append(record)
        future = FakeFuture(*place)
        self._waiting.append(FakeSend(record, future))
        if self._auto_complete:
            self.flush()
        return future

    def complete_next(self) -> bool:
        """Acknowledge the send that has waited longest. Return False if none waits."""
        try:
            record, future = self._waiting.pop(0)
        except IndexError:  # not asked before: another thread may have been first
            return False
        place = TopicPartition(record.topic, record.partition)
        written = record._replace(offset=self.cluster.end_of(place))
        self.cluster.write(written, visible=self._transaction is None)
        if self._transaction is not None:
            self._transaction.append((place, written.offset))
        future.acknowledge(written.offset, written.timestamp)
        return True

    def error_next(self, error: Exception) -> bool:
        """Fail the send that has waited longest. Return False if none waits."""
        try:
            _, future = self._waiting.pop(0)
        except IndexError:
            return False
        future.fail(error)
        return True

    def flush(self, timeout: float | None = None) -> None:  # noqa: ARG002 (kafka-python's signature)
        """Acknowledge every send that waits."""
        while self.complete_next():
            pass

    def close(self, timeout: float | None = None, **_: Any) -> None:  # noqa: ARG002
        """Close the producer. Sends that wait are never resolved, as if the broker was gone."""
        self._is_closed = True

    def partitions_for(self, topic: str) -> set[int]:
        """Return the partitions of a topic."""
        return {each.partition for each in self.cluster.partitions_of(topic)}

    def metrics(self, raw: bool = False) -> dict[str, Any]:  # noqa: ARG002, FBT001, FBT002
        """Return no metrics."""
        return {}

    def bootstrap_connected(self) -> bool:
        """Return that it is connected."""
        return True

    def init_transactions(self) -> None:
        """Prepare for transactions."""
        self._check_open()

    def begin_transaction(self) -> None:
        """Begin a transaction: its records cannot be read before it is committed."""
        self._check_open()
        self._transaction, self._offsets = [], []

    def send_offsets_to_transaction(
        self, offsets: dict[TopicPartition, Any], group_metadata: Any = None, consumer_group_id: str | None = None
    ) -> None:
        """Commit these offsets of a group with the transaction; before kafka-python 3 it is `consumer_group_id`."""
        group = consumer_group_id or getattr(group_metadata, "group_id", group_metadata)
        self._offsets.append((group, offsets))

    def commit_transaction(self) -> None:
        """Commit the transaction: its records can be read."""
        self.flush()
        for group, offsets in self._offsets:
            self.cluster.commit(group, offsets)
        self._end_transaction(committed=True)

    def abort_transaction(self) -> None:
        """Abort the transaction: its records will never be read, and sends that wait fail."""
        while self.error_next(KafkaError("the transaction was aborted")):
            pass
        self._end_transaction(committed=False)

    def _end_transaction(self, *, committed: bool) -> None:
        self.cluster.end_transaction(self._transaction or (), committed=committed)
        self._transaction = None

    def _check_open(self) -> None:
        if self._is_closed:
            msg = "this producer is closed: make another"
            raise KafkaError(msg)

    def _serialized(self, name: str, topic: str, headers: Any, part: Any) -> bytes | None:
        raw = apply(self.config.get(name), "serialize", topic, headers, part)
        if raw is None or isinstance(raw, bytes):
            return raw
        msg = f"{name.partition('_')[0]} is {type(raw).__name__}: give bytes, or a {name} that makes some"
        raise TypeError(msg)

    def _choose(self, topic: str, key: bytes | None) -> int:
        """Choose a partition: that of the key, as Kafka does, else each in turn."""
        self.cluster.log_of(TopicPartition(topic, 0))
        partitions = len(self.cluster.partitions_of(topic))
        number: int = next(self._turns) if key is None else murmur2(key) & _POSITIVE
        return number % partitions

    def __enter__(self) -> "FakeProducer":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def __del__(self) -> None:
        """Do nothing: there is nothing to close."""
