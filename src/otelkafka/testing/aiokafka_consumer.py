"""A consumer of aiokafka without a broker."""

import asyncio
import inspect
from collections.abc import Collection, Iterable
from typing import Any

from aiokafka.consumer import AIOKafkaConsumer
from aiokafka.errors import (
    ConsumerStoppedError,
    IllegalOperation,
    IllegalStateError,
    NoOffsetForPartitionError,
)
from aiokafka.structs import ConsumerRecord, TopicPartition

from otelkafka.testing.aiokafka_configuration import FakeConnections, apply, configured
from otelkafka.testing.cluster import FakeCluster, offset_and_metadata
from otelkafka.testing.subscription import Errors, Subscription, Turn

_FIELDS = tuple(ConsumerRecord.__dataclass_fields__)
_ALL = 1_000_000
_SOON = 0.001


class AIOKafkaSubscription(Subscription):
    """The same, with the names by which aiokafka's own has what others read."""

    @property
    def _listener(self) -> Any:
        return self.listener

    @_listener.setter
    def _listener(self, listener: Any) -> None:
        self.listener = listener

    @property
    def subscription(self) -> "AIOKafkaSubscription":
        """Itself."""
        return self

    @property
    def assignment(self) -> "AIOKafkaSubscription":
        """Itself."""
        return self


class FakeAIOKafkaConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """Hands over the records of a `FakeCluster`, and ends where there are no more.

    It is used as an `AIOKafkaConsumer`, and passes `isinstance` as one. It is the only member of its group, and can be
    made outside of a running loop.

    Args:
        topics: to subscribe to.
        cluster: where its records come from; None for one of its own.
        records: from `fake_record`, to put into the cluster; without `topics` it is assigned their partitions.
        waits: whether it waits for a record where there is none, as a real one does, until it is stopped; otherwise an
            iteration ends there, and `getone()` raises ConsumerStoppedError.
        config: as an `AIOKafkaConsumer` takes it; deserializers are applied, and `auto_offset_reset` is "earliest"
            unless it says otherwise.

    Attributes:
        cluster: where its records come from.
        config: the configuration of the client.
    """

    def __init__(
        self,
        *topics: str,
        cluster: FakeCluster | None = None,
        records: Iterable[Any] = (),
        waits: bool = False,
        **config: Any,
    ) -> None:
        self.cluster = FakeCluster() if cluster is None else cluster
        self.config = configured(AIOKafkaConsumer, config, client_id="fake-consumer", auto_offset_reset="earliest")
        self._client = FakeConnections(self.config)
        self._group_id = self.config["group_id"]
        errors = Errors(NoOffsetForPartitionError, IllegalStateError)
        self._subscription = AIOKafkaSubscription(self.cluster, self.config, errors)
        self._errors: list[Exception] = []
        self._waits = waits
        self._is_stopped = False
        places = []
        for record in records:
            self.cluster.write(record)
            places.append(TopicPartition(record.topic, record.partition))
        if topics:
            self.subscribe(topics)
        elif places:
            self.assign(places)

    def error_next(self, error: Exception) -> None:
        """Let the next `getone()`, `getmany()`, or step of the iteration, raise an error; what is there stays there."""
        self._errors.append(error)

    async def start(self) -> None:
        """Have the partitions assigned that there are."""
        await self._join()

    async def stop(self) -> None:
        """Commit the positions if `enable_auto_commit` is set, and leave the group."""
        if self.config["enable_auto_commit"] and self._group_id and self.assignment():
            self._commit(self._subscription.all_consumed_offsets())
        self._is_stopped = True

    async def getone(self, *partitions: TopicPartition) -> ConsumerRecord:
        """Return the next record.

        Raises:
            ConsumerStoppedError: it is stopped, or there is no record and it does not wait.
        """
        while not self._is_stopped:
            for record in await self._take(1, partitions):
                return record
            if not self._waits:
                break
            await asyncio.sleep(_SOON)
        raise ConsumerStoppedError

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: float = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        """Return what is there, partition by partition; where it waits, for a record within `timeout_ms`.

        Raises:
            ConsumerStoppedError: it is stopped.
        """
        if self._is_stopped:
            raise ConsumerStoppedError
        most = max_records or self.config["max_poll_records"] or _ALL
        taken = await self._take(most, partitions)
        if not taken and self._waits and timeout_ms:
            await asyncio.sleep(timeout_ms / 1000)
            taken = await self._take(most, partitions)
        polled: dict[TopicPartition, list[ConsumerRecord]] = {}
        for record in taken:
            polled.setdefault(TopicPartition(record.topic, record.partition), []).append(record)
        return polled

    async def _take(self, most: int, partitions: Collection[TopicPartition]) -> list[ConsumerRecord]:
        await self._join()
        if self._errors:
            raise self._errors.pop(0)
        taken: list[ConsumerRecord] = []
        for partition in self._subscription.fetchable():
            if partitions and partition not in partitions:
                continue
            for record in self.cluster.read(partition, self._subscription.position(partition)):
                if len(taken) == most:
                    return taken
                taken.append(self._handed_over(record))
                self._subscription.positions[partition] = record.offset + 1
        return taken

    async def _join(self) -> None:
        await self._call(self._subscription.join())

    async def _call(self, turns: Iterable[Turn]) -> None:
        for turn in turns:
            result = self._subscription.call(turn)
            if inspect.iscoroutine(result):
                await result

    def _handed_over(self, record: Any) -> ConsumerRecord:
        known = {name: getattr(record, name, None) for name in _FIELDS}
        made = {part: apply(self.config[f"{part}_deserializer"], known[part]) for part in ("key", "value")}
        return ConsumerRecord(**{**known, **made, "headers": tuple(record.headers)})

    def subscribe(self, topics: Collection[str] = (), pattern: str | None = None, listener: Any = None) -> None:
        """Subscribe to topics, or to those whose names match a pattern; partitions are assigned by the next fetch."""
        self._subscription.subscribe(topics, pattern, listener)

    def subscription(self) -> frozenset[str]:
        """Return the topics subscribed to."""
        return frozenset(self._subscription.topics())

    def unsubscribe(self) -> None:
        """Give subscription and assignment up; as in aiokafka, no listener is called."""
        list(self._subscription.clear())

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Assign these partitions."""
        self._subscription.assign(partitions)

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions that it has."""
        return frozenset(TopicPartition(*each) for each in self._subscription.positions)

    async def position(self, partition: TopicPartition) -> int:
        """Return the offset of the next record that will be handed over."""
        return self._subscription.position(partition)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go to an offset."""
        self._subscription.seek(partition, offset)

    async def seek_to_beginning(self, *partitions: TopicPartition) -> bool:
        """Go to the first record, of all partitions if none are given."""
        for partition in partitions or self.assignment():
            self.seek(partition, 0)
        return True

    async def seek_to_end(self, *partitions: TopicPartition) -> bool:
        """Go behind the last record, of all partitions if none are given."""
        for partition in partitions or self.assignment():
            self.seek(partition, self.cluster.end_of(partition))
        return True

    async def seek_to_committed(self, *partitions: TopicPartition) -> dict[TopicPartition, int | None]:
        """Go to what is committed, of all partitions if none are given."""
        found = {each: await self.committed(each) for each in partitions or self.assignment()}
        for partition, offset in found.items():
            self.seek(partition, offset or 0)
        return found

    def pause(self, *partitions: TopicPartition) -> None:
        """Hand over nothing of these partitions."""
        self._subscription.paused.update(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        """Hand over records of these partitions again."""
        self._subscription.paused.difference_update(partitions)

    def paused(self) -> set[TopicPartition]:
        """Return the partitions that are paused."""
        return set(self._subscription.paused)

    async def commit(self, offsets: dict[TopicPartition, Any] | None = None) -> None:
        """Commit these offsets, or the positions.

        Raises:
            IllegalOperation: it has no group.
        """
        self._commit(self._subscription.all_consumed_offsets() if offsets is None else offsets)

    def _commit(self, offsets: dict[TopicPartition, Any]) -> None:
        self.cluster.commit(self._group(), {partition: _committed(offset) for partition, offset in offsets.items()})

    async def committed(self, partition: TopicPartition) -> int | None:
        """Return the committed offset of the group; None if there is none."""
        found = self.cluster.committed(self._group(), partition)
        return None if found is None else int(found.offset)

    def _group(self) -> str:
        if self._group_id is None:
            msg = "Requires group_id"
            raise IllegalOperation(msg)
        return str(self._group_id)

    def highwater(self, partition: TopicPartition) -> int:
        """Return the offset of the next record that will be written."""
        return self.cluster.end_of(partition)

    def last_stable_offset(self, partition: TopicPartition) -> int:
        """Return the offset of the next record that will be written."""
        return self.cluster.end_of(partition)

    def last_poll_timestamp(self, partition: TopicPartition) -> None:
        """Return None: it does not poll."""

    async def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offset of each partition."""
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset behind the last record of each partition."""
        return {partition: self.cluster.end_of(partition) for partition in partitions}

    async def offsets_for_times(self, timestamps: dict[TopicPartition, int]) -> dict[TopicPartition, Any]:
        """Return, for each partition, the first offset at or after a time, None if there is none."""
        return {partition: self.cluster.offset_at(partition, at) for partition, at in timestamps.items()}

    async def topics(self) -> set[str]:
        """Return the existing topics."""
        return set(self.cluster.topics)

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """Return the partitions of a topic, None if it does not exist."""
        return {each.partition for each in self.cluster.partitions_of(topic)} or None

    def __aiter__(self) -> "FakeAIOKafkaConsumer":
        """Return itself.

        Raises:
            ConsumerStoppedError: it is stopped.
        """
        if self._is_stopped:
            raise ConsumerStoppedError
        return self

    def __del__(self) -> None:
        """Do nothing: there is nothing to stop."""


def _committed(offset: Any) -> Any:
    """Return an offset in one of the forms that `commit()` takes, as it is kept."""
    if hasattr(offset, "offset"):
        return offset
    return offset_and_metadata(offset if isinstance(offset, int) else offset[0])
