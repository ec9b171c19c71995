"""A producer of confluent-kafka without a broker."""

from collections import deque
from collections.abc import Mapping
from itertools import count
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer
from kafka.partitioner.default import murmur2

from otelkafka.testing.cluster import FakeCluster, fake_record
from otelkafka.testing.confluent_message import FakeMessage
from otelkafka.testing.structs import TopicPartition

_POSITIVE = 0x7FFFFFFF
_ANY = -1


class ConfluentSend(NamedTuple):
    """A record that waits for the broker, and the callback for its delivery report."""

    record: Any
    callback: Any


class FakeConfluentProducer(Producer):  # type: ignore[misc]
    """A `Producer` of confluent-kafka that writes to a `FakeCluster`.

    It passes `isinstance`. Delivery reports wait for `poll()` or `flush()`, as those of librdkafka do.

    Args:
        config: the configuration of a `Producer`. Of it `on_delivery` and `queue.buffering.max.messages` are applied.
        cluster: stores its records; None for a new one.
        auto_complete: False to acknowledge each record by `complete_next()` or `error_next()`.

    Attributes:
        cluster: stores its records.
        config: the configuration of the client.
        history: the records that it was asked to send, in order.
    """

    def __init__(
        self, config: Mapping[str, Any] | None = None, *, cluster: FakeCluster | None = None, auto_complete: bool = True
    ) -> None:
        self.cluster = FakeCluster() if cluster is None else cluster
        self.config = {"bootstrap.servers": "localhost:9092", "client.id": "fake-producer", **(config or {})}
        self.history: list[Any] = []
        self._auto_complete = auto_complete
        self._waiting: deque[ConfluentSend] = deque()
        self._reports: deque[tuple[Any, KafkaError | None, FakeMessage]] = deque()
        self._turns = count()
        self._transaction: list[tuple[TopicPartition, int]] | None = None
        self._offsets: list[tuple[Any, dict[TopicPartition, Any]]] = []
        self._errors: list[Exception] = []
        self._is_closed = False

    def refuse_next(self, error: Exception) -> None:
        """Make the next `produce()` raise an error: BufferError, or a KafkaException."""
        self._errors.append(error)

    def produce(
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        partition: int = _ANY,
        callback: Any = None,
        on_delivery: Any = None,
        timestamp: int = 0,
        headers: Any = None,
    ) -> None:
        """Take a record; what was acknowledged is reported by `poll()` or `flush()`.

        Raises:
            BufferError: `queue.buffering.max.messages` wait already.
            RuntimeError: the producer is closed.
            TypeError: topic, headers, key or value are of a type that confluent-kafka does not take.
        """
        self._take(topic, value, key, partition, on_delivery if callback is None else callback, timestamp, headers)

    def _take(
        self, topic: str, value: Any, key: Any, partition: int, callback: Any, timestamp: int, headers: Any = None
    ) -> None:
        self._check_open()
        if not isinstance(topic, str):
            msg = f"argument 1 must be str, not {type(topic).__name__}"
            raise TypeError(msg)
        if self._errors:
            raise self._errors.pop(0)
        if len(self) >= int(self.config.get("queue.buffering.max.messages", 100_000)):
            msg = "Local: Queue full"
            raise BufferError(msg)
        raw_key, raw_value = _raw("key", key), _raw("value", value)
        number = self._choose(topic, raw_key) if partition == _ANY else partition
        record = fake_record(
            topic,
            raw_value,
            key=raw_key,
            headers=_pairs(headers),
            partition=number,
            offset=-1,
            timestamp=timestamp or None,
        )
        self.history.append(record)
        self._waiting.append(ConfluentSend(record, self.config.get("on_delivery") if callback is None else callback))
        if self._auto_complete:
            self.complete_next()

    def produce_batch(
        self, topic: str, messages: list[Any], partition: int = _ANY, callback: Any = None, on_delivery: Any = None
    ) -> int:
        """Take records, given as dicts, and return how many."""
        common = on_delivery if callback is None else callback
        for message in messages:
            self._take(
                topic,
                message.get("value"),
                message.get("key"),
                message.get("partition", partition),
                message.get("callback", common),
                message.get("timestamp", 0),
            )
        return len(messages)

    def complete_next(self) -> bool:
        """Acknowledge the record that has waited longest. Return False if none waits."""
        try:
            record, callback = self._waiting.popleft()
        except IndexError:
            return False
        place = TopicPartition(record.topic, record.partition)
        written = record._replace(offset=self.cluster.end_of(place))
        self.cluster.write(written, visible=self._transaction is None)
        if self._transaction is not None:
            self._transaction.append((place, written.offset))
        self._reports.append((callback, None, FakeMessage(written, has_headers=False)))
        return True

    def error_next(self, error: KafkaError) -> bool:
        """Fail the record that has waited longest. Return False if none waits."""
        try:
            record, callback = self._waiting.popleft()
        except IndexError:
            return False
        self._reports.append((callback, error, FakeMessage(record, error=error, has_headers=False)))
        return True

    def poll(self, timeout: float = _ANY) -> int:  # noqa: ARG002 (confluent-kafka's signature)
        """Call the callbacks of what was acknowledged or has failed, and return how many there were."""
        reported = 0
        while self._reports:
            callback, error, message = self._reports.popleft()
            reported += 1
            if callback is not None:
                callback(error, message)
        return reported

    def flush(self, timeout: float = _ANY) -> int:
        """Acknowledge every record that waits, and call the callbacks."""
        while self.complete_next():
            pass
        FakeConfluentProducer.poll(self, timeout)
        return len(self)

    def purge(self, in_queue: bool = True, in_flight: bool = True, blocking: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002
        """Fail every record that waits."""
        while self.error_next(KafkaError(KafkaError._PURGE_QUEUE)):
            pass

    def close(self) -> bool:
        """Flush, and refuse further records."""
        if not self._is_closed:
            self.flush()
        self._is_closed = True
        return True

    def list_topics(self, topic: str | None = None, timeout: float = _ANY) -> Any:  # noqa: ARG002
        """Raise, because there is no broker.

        Raises:
            KafkaException: always.
        """
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def cluster_id(self, timeout: float = _ANY) -> str:  # noqa: ARG002
        """Raise, because there is no broker.

        Raises:
            KafkaException: always.
        """
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def set_sasl_credentials(self, username: str, password: str) -> None:
        """Accept credentials, and ignore them."""

    def init_transactions(self, timeout: float = _ANY) -> None:  # noqa: ARG002
        """Prepare for transactions.

        Raises:
            KafkaException: there is no `transactional.id`.
        """
        self._check_open()
        if self.config.get("transactional.id") is None:
            raise KafkaException(KafkaError(KafkaError._NOT_CONFIGURED))

    def begin_transaction(self, timeout: float = _ANY) -> None:  # noqa: ARG002
        """Begin a transaction: its records cannot be read before it is committed."""
        self._check_open()
        self._transaction, self._offsets = [], []

    def send_offsets_to_transaction(self, positions: list[Any], group_metadata: Any, timeout: float = _ANY) -> None:  # noqa: ARG002
        """Commit these offsets of a group with the transaction."""
        self._offsets.append(
            (group_metadata, {TopicPartition(each.topic, each.partition): each.offset for each in positions})
        )

    def commit_transaction(self, timeout: float = _ANY) -> None:
        """Commit the transaction: its records can be read."""
        self.flush(timeout)
        for group, offsets in self._offsets:
            self.cluster.commit(group, offsets)
        self._end_transaction(committed=True)

    def abort_transaction(self, timeout: float = _ANY) -> None:
        """Abort the transaction: its records will never be read, and records that wait fail."""
        self.purge()
        self.poll(timeout)
        self._end_transaction(committed=False)

    def _end_transaction(self, *, committed: bool) -> None:
        self.cluster.end_transaction(self._transaction or (), committed=committed)
        self._transaction = None

    def _check_open(self) -> None:
        if self._is_closed:
            msg = "Producer has been closed"
            raise RuntimeError(msg)

    def _choose(self, topic: str, key: bytes | None) -> int:
        """Choose a partition: that of the key, as Kafka does, else each in turn."""
        self.cluster.log_of(TopicPartition(topic, 0))
        partitions = len(self.cluster.partitions_of(topic))
        number: int = next(self._turns) if key is None else murmur2(key) & _POSITIVE
        return number % partitions

    def __len__(self) -> int:
        """Return how many records and reports wait."""
        return len(self._waiting) + len(self._reports)

    def __bool__(self) -> bool:
        """Return True, also where nothing waits."""
        return True

    def __enter__(self) -> "FakeConfluentProducer":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def _raw(name: str, part: Any) -> bytes | None:
    if part is None or isinstance(part, bytes):
        return part
    if isinstance(part, str):
        return part.encode()
    msg = f"{name} is {type(part).__name__}: give bytes, a str or None"
    raise TypeError(msg)


def _pairs(headers: Any) -> list[tuple[str, bytes | None]]:
    """Return headers as they arrive, and refuse what confluent-kafka refuses."""
    if headers is None:
        return []
    if isinstance(headers, dict):
        headers = list(headers.items())
    if not isinstance(headers, list):
        msg = f"expected headers to be dict or list of (key, value) tuples, not {type(headers).__name__}"
        raise TypeError(msg)
    if not all(isinstance(each, tuple) and len(each) == 2 for each in headers):  # noqa: PLR2004
        msg = "Headers are expected to be a list of (key, value) tuples"
        raise TypeError(msg)
    return [(str(name), _raw(f"header {name}", value)) for name, value in headers]
