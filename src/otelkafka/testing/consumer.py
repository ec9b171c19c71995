"""A consumer without a broker."""

import asyncio
import inspect
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from kafka import KafkaConsumer, errors
from kafka.consumer import fetcher
from kafka.errors import IllegalStateError
from kafka.future import Future
from kafka.structs import TopicPartition

from otelkafka.testing.cluster import FakeCluster
from otelkafka.testing.configuration import apply, configured
from otelkafka.testing.subscription import Errors, Subscription, Turn

# The first moved in kafka-python 2.1.
_ERRORS = Errors(
    getattr(errors, "NoOffsetForPartitionError", None) or fetcher.NoOffsetForPartitionError, IllegalStateError
)


class FakeConsumer(KafkaConsumer):  # type: ignore[misc]
    """A `KafkaConsumer` that reads from a `FakeCluster`. Its iteration ends after the last record.

    It passes `isinstance`, and is the only member of its group.

    Args:
        topics: to subscribe to.
        cluster: contains its records. None for a new one.
        records: from `fake_record`, to write to the cluster. Without `topics` it is assigned their partitions.
        config: the configuration of a `KafkaConsumer`. Deserializers are applied. The default of `auto_offset_reset` is
            "earliest".

    Attributes:
        cluster: contains its records.
        config: the configuration of the client.
    """

    def __init__(
        self, *topics: str, cluster: FakeCluster | None = None, records: Iterable[Any] = (), **config: Any
    ) -> None:
        self.cluster = FakeCluster() if cluster is None else cluster
        self.config = configured(KafkaConsumer, config, client_id="fake-consumer", auto_offset_reset="earliest")
        self._subscription = Subscription(self.cluster, self.config, _ERRORS)
        self._errors: list[Exception] = []
        self._is_closed = False
        places = []
        for record in records:
            self.cluster.write(record)
            places.append(TopicPartition(record.topic, record.partition))
        if topics:
            self.subscribe(topics)
        elif places:
            self.assign(places)

    def error_next(self, error: Exception) -> None:
        """Make the next `poll()`, or the next step of the iteration, raise an error. No record is lost."""
        self._errors.append(error)

    def poll(
        self,
        timeout_ms: float = 0,  # noqa: ARG002 (kafka-python's signature)
        max_records: int | None = None,
        update_offsets: bool = True,  # noqa: ARG002, FBT001, FBT002
    ) -> dict[TopicPartition, list[Any]]:
        """Return the records that are there, by partition. It never waits.

        Raises:
            IllegalStateError: it is closed.
        """
        if self._is_closed:
            msg = "this consumer is closed: make another"
            raise IllegalStateError(msg)
        polled: dict[TopicPartition, list[Any]] = {}
        for record in self._take(max_records or self.config["max_poll_records"]):
            polled.setdefault(TopicPartition(record.topic, record.partition), []).append(record)
        return polled

    def __iter__(self) -> Iterator[Any]:
        """Return itself."""
        return self

    def __next__(self) -> Any:
        """Return the next record. The iteration ends if there is none, and can go on later."""
        for record in () if self._is_closed else self._take(1):
            return record
        raise StopIteration

    def _take(self, most: int) -> list[Any]:
        self._call(self._subscription.join())
        if self._errors:
            raise self._errors.pop(0)
        taken: list[Any] = []
        for partition in self._subscription.fetchable():
            for record in self.cluster.read(partition, self._subscription.position(partition)):
                if len(taken) == most:
                    return taken
                taken.append(self._deserialized(record))
                self._subscription.positions[partition] = record.offset + 1
        return taken

    def _call(self, turns: Iterable[Turn]) -> None:
        for turn in turns:
            result = self._subscription.call(turn)
            if inspect.iscoroutine(result):
                asyncio.run(result)

    def _deserialized(self, record: Any) -> Any:
        made = {
            part: apply(
                self.config.get(f"{part}_deserializer"),
                "deserialize",
                record.topic,
                record.headers,
                getattr(record, part),
            )
            for part in ("key", "value")
        }
        return record._replace(**made)

    def subscribe(self, topics: Collection[str] = (), pattern: str | None = None, listener: Any = None) -> None:
        """Subscribe to topics, or to those whose names match a pattern; partitions are assigned by the next poll."""
        self._subscription.subscribe(topics, pattern, listener)

    def subscription(self) -> set[str] | None:
        """Return the topics subscribed to, None if there are none."""
        return self._subscription.topics() or None

    def unsubscribe(self) -> None:
        """End subscription and assignment."""
        self._call(self._subscription.clear())

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Assign these partitions."""
        self._subscription.assign(partitions)

    def assignment(self) -> set[TopicPartition]:
        """Return the partitions that it has."""
        return set(self._subscription.positions)

    def position(self, partition: TopicPartition, timeout_ms: float | None = None) -> int:  # noqa: ARG002
        """Return the offset of the next record."""
        return self._subscription.position(partition)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go to an offset."""
        self._subscription.seek(partition, offset)

    def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        """Go to the first record, of all partitions if none are given."""
        for partition in partitions or self.assignment():
            self.seek(partition, 0)

    def seek_to_end(self, *partitions: TopicPartition) -> None:
        """Go behind the last record, of all partitions if none are given."""
        for partition in partitions or self.assignment():
            self.seek(partition, self.cluster.end_of(partition))

    def pause(self, *partitions: TopicPartition) -> None:
        """Return no records of these partitions."""
        self._subscription.paused.update(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        """Return records of these partitions again."""
        self._subscription.paused.difference_update(partitions)

    def paused(self) -> set[TopicPartition]:
        """Return the partitions that are paused."""
        return set(self._subscription.paused)

    def commit(self, offsets: dict[TopicPartition, Any] | None = None, timeout_ms: float | None = None) -> None:  # noqa: ARG002
        """Commit these offsets, or the positions.

        Raises:
            IllegalStateError: it has no group.
        """
        self.cluster.commit(self._group(), self._subscription.all_consumed_offsets() if offsets is None else offsets)

    def commit_async(self, offsets: dict[TopicPartition, Any] | None = None, callback: Any = None) -> Any:
        """Commit, call `callback` with the offsets and the answer, and return a future that is done."""
        committed = self._subscription.all_consumed_offsets() if offsets is None else offsets
        self.cluster.commit(self._group(), committed)
        if callback is not None:
            callback(committed, True)
        return Future().success(None)

    def committed(
        self,
        partition: TopicPartition,
        metadata: bool = False,  # noqa: FBT001, FBT002
        timeout_ms: float | None = None,  # noqa: ARG002
    ) -> Any:
        """Return the committed offset of the group; None if there is none."""
        found = self.cluster.committed(self._group(), partition)
        return found if metadata or found is None else found.offset

    def _group(self) -> str:
        group: str | None = self.config["group_id"]
        if group is None:
            msg = "a commit needs a group: give it a group_id"
            raise IllegalStateError(msg)
        return group

    def group_metadata(self) -> Any:
        """Return what a producer's `send_offsets_to_transaction()` takes for the group."""
        return self.config["group_id"]

    def highwater(self, partition: TopicPartition) -> int:
        """Return the offset of the next record that will be written."""
        return self.cluster.end_of(partition)

    def beginning_offsets(
        self,
        partitions: Iterable[TopicPartition],
        timeout_ms: float | None = None,  # noqa: ARG002
    ) -> dict[TopicPartition, int]:
        """Return the first offset of each partition."""
        return dict.fromkeys(partitions, 0)

    def end_offsets(
        self,
        partitions: Iterable[TopicPartition],
        timeout_ms: float | None = None,  # noqa: ARG002
    ) -> dict[TopicPartition, int]:
        """Return the offset behind the last record of each partition."""
        return {partition: self.cluster.end_of(partition) for partition in partitions}

    def offsets_for_times(
        self,
        timestamps: dict[TopicPartition, int],
        timeout_ms: float | None = None,  # noqa: ARG002
    ) -> dict[TopicPartition, Any]:
        """Return, for each partition, the first offset at or after a time, None if there is none."""
        return {partition: self.cluster.offset_at(partition, at) for partition, at in timestamps.items()}

    def topics(self) -> set[str]:
        """Return the existing topics."""
        return set(self.cluster.topics)

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """Return the partitions of a topic, None if it does not exist."""
        return {each.partition for each in self.cluster.partitions_of(topic)} or None

    def metrics(self, raw: bool = False) -> dict[str, Any]:  # noqa: ARG002, FBT001, FBT002
        """Return no metrics."""
        return {}

    def bootstrap_connected(self) -> bool:
        """Return that it is connected."""
        return True

    def bootstrap(self, timeout_ms: float | None = None, refresh: bool = False) -> bool:  # noqa: ARG002, FBT001, FBT002
        """Return that it is connected."""
        return True

    def close(self, autocommit: bool = True, timeout_ms: float | None = None) -> None:  # noqa: ARG002, FBT001, FBT002
        """Commit the positions if `enable_auto_commit` is set, and leave the group."""
        if autocommit and self.config["enable_auto_commit"] and self.config["group_id"] and self.assignment():
            self.commit()
        self._call(self._subscription.clear())
        self._is_closed = True

    def __enter__(self) -> "FakeConsumer":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def __del__(self) -> None:
        """Do nothing: there is nothing to close."""
