"""Topics in memory, which fake producers write and fake consumers read."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from otelkafka.testing import clock
from otelkafka.testing.structs import (
    RECORD_FIELDS,
    ConsumerRecord,
    OffsetAndMetadata,
    OffsetAndTimestamp,
    TopicPartition,
)

_MILLISECOND = 1_000_000


def fake_record(
    topic: str = "t",
    value: Any = None,
    *,
    key: Any = None,
    headers: Sequence[tuple[str, bytes | None]] = (),
    partition: int = 0,
    offset: int = 0,
    timestamp: int | None = None,
    **more: Any,
) -> Any:
    """Return a record, as a consumer returns it.

    Args:
        topic: the topic of the record.
        value: the value of the record; None for a tombstone.
        key: the key of the record.
        headers: the headers of the record.
        partition: the partition of the record.
        offset: the offset of the record.
        timestamp: the timestamp of its creation, in milliseconds since 1970; None for now.
        more: other fields of kafka-python's `ConsumerRecord`.
    """
    known = {
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "timestamp": clock.now() // _MILLISECOND if timestamp is None else timestamp,
        "timestamp_type": 0,
        "key": key,
        "value": value,
        "headers": list(headers),
        "serialized_key_size": _size(key),
        "serialized_value_size": _size(value),
    }
    return ConsumerRecord(**{**dict.fromkeys(RECORD_FIELDS), **known, **more})


def _size(part: Any) -> int:
    return len(part) if isinstance(part, bytes) else -1


class FakeCluster:
    """Holds topics in memory. A fake consumer reads what a fake producer of the same cluster sends, of either library.

    Args:
        partitions: the number of partitions of a topic that is created by the first send to it.
    """

    def __init__(self, partitions: int = 1) -> None:
        self._partitions = partitions
        self._topics: dict[str, list[_Log]] = {}
        self._committed: dict[tuple[str | None, TopicPartition], Any] = {}

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Create a topic.

        Raises:
            ValueError: a topic with this name exists.
        """
        if name in self._topics:
            msg = f"there is a topic {name!r} already: take another name, or another FakeCluster"
            raise ValueError(msg)
        self._topics[name] = [_Log() for _ in range(partitions)]

    @property
    def topics(self) -> list[str]:
        """The names of the topics, in the order of their creation."""
        return list(self._topics)

    def partitions_of(self, topic: str) -> list[TopicPartition]:
        """Return the partitions of a topic; an empty list if it does not exist."""
        return [TopicPartition(topic, at) for at in range(len(self._topics.get(topic, ())))]

    def records(self, topic: str) -> list[Any]:
        """Return the readable records of a topic, partition by partition."""
        return [each for partition in self.partitions_of(topic) for each in self.read(partition, 0)]

    def write(self, record: Any, *, visible: bool = True) -> None:
        """Add a record to its partition, at its offset.

        Args:
            record: from `fake_record`.
            visible: False for one of a transaction that is open.

        Raises:
            ValueError: its offset lies before the end of its partition.
        """
        self.log_of(TopicPartition(record.topic, record.partition)).append(record, visible=visible)

    def end_of(self, partition: TopicPartition) -> int:
        """Return the offset of the next record that will be written to a partition."""
        return self.log_of(partition).end

    def read(self, partition: TopicPartition, offset: int) -> Iterator[Any]:
        """Yield what can be read of a partition from an offset on: up to the first record of an open transaction."""
        return self.log_of(partition).read(offset)

    def offset_at(self, partition: TopicPartition, timestamp: int) -> Any:
        """Return the first offset at or after a time, with its record's time; None where there is none."""
        for record in self.read(partition, 0):
            if record.timestamp >= timestamp:
                known = {"offset": record.offset, "timestamp": record.timestamp, "leader_epoch": -1}
                return OffsetAndTimestamp(**{name: known[name] for name in OffsetAndTimestamp._fields})
        return None

    def end_transaction(self, places: Iterable[tuple[TopicPartition, int]], *, committed: bool) -> None:
        """Make the records at these places readable, or remove them."""
        for partition, offset in places:
            self.log_of(partition).end_transaction(offset, committed=committed)

    def commit(self, group: str, offsets: dict[TopicPartition, Any]) -> None:
        """Store the committed offsets of a group."""
        for partition, offset in offsets.items():
            self._committed[group, partition] = offset

    def committed(self, group: str | None, partition: TopicPartition) -> Any:
        """Return the committed offset of a group, or None."""
        return self._committed.get((group, partition))

    def log_of(self, partition: TopicPartition) -> "_Log":
        """Return what lies in a partition, which is made where it is not there."""
        logs = self._topics.setdefault(partition.topic, [])
        while len(logs) < max(self._partitions, partition.partition + 1):
            logs.append(_Log())
        log: _Log = logs[partition.partition]
        return log


class _Log:
    def __init__(self) -> None:
        self._records: dict[int, Any] = {}
        self._hidden: set[int] = set()
        self.end = 0

    def append(self, record: Any, *, visible: bool) -> None:
        if record.offset < self.end:
            msg = f"offset {record.offset} lies before the end of its partition: the next one is {self.end}"
            raise ValueError(msg)
        self._records[record.offset] = record
        self.end = record.offset + 1
        if not visible:
            self._hidden.add(record.offset)

    def read(self, offset: int) -> Iterator[Any]:
        for at, record in list(self._records.items()):
            if at in self._hidden:
                return
            if at >= offset:
                yield record

    def end_transaction(self, offset: int, *, committed: bool) -> None:
        self._hidden.discard(offset)
        if not committed:
            del self._records[offset]


def offset_and_metadata(offset: int) -> Any:
    """Return an offset as commits have it."""
    known = {"offset": offset, "metadata": "", "leader_epoch": -1}
    return OffsetAndMetadata(**{name: known[name] for name in OffsetAndMetadata._fields})
