"""How far a fake consumer has come: positions, commits and offsets."""

from collections.abc import Iterable
from typing import Any

from kafka import KafkaConsumer
from kafka.errors import IllegalStateError
from kafka.future import Future
from kafka.structs import TopicPartition

from otelkafka.testing.cluster import FakeCluster
from otelkafka.testing.subscription import Subscription


class Positions(KafkaConsumer):  # type: ignore[misc]
    """What `FakeConsumer` answers of offsets.

    Attributes:
        cluster: where its records come from.
        config: of the client.
    """

    cluster: FakeCluster
    config: dict[str, Any]
    _subscription: Subscription

    def assignment(self) -> set[TopicPartition]:
        """Return the partitions that it has."""
        return set(self._subscription.positions)

    def position(self, partition: TopicPartition, timeout_ms: float | None = None) -> int:  # noqa: ARG002
        """Return the offset of the next record that will be handed over."""
        return self._subscription.position(partition)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go to an offset."""
        self._subscription.seek(partition, offset)

    def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        """Go to the first record, of all partitions where none are given."""
        for partition in partitions or self.assignment():
            self.seek(partition, 0)

    def seek_to_end(self, *partitions: TopicPartition) -> None:
        """Go behind the last record, of all partitions where none are given."""
        for partition in partitions or self.assignment():
            self.seek(partition, self.cluster.end_of(partition))

    def pause(self, *partitions: TopicPartition) -> None:
        """Hand over nothing of these partitions."""
        self._subscription.paused.update(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        """Hand over records of these partitions again."""
        self._subscription.paused.difference_update(partitions)

    def paused(self) -> set[TopicPartition]:
        """Return the partitions that are paused."""
        return set(self._subscription.paused)

    def commit(self, offsets: dict[TopicPartition, Any] | None = None, timeout_ms: float | None = None) -> None:  # noqa: ARG002
        """Commit these offsets, or how far it has come.

        Raises:
            IllegalStateError: it has no group.
        """
        self.cluster.commit(self._group(), self._subscription.offsets() if offsets is None else offsets)

    def commit_async(self, offsets: dict[TopicPartition, Any] | None = None, callback: Any = None) -> Any:
        """Commit, call `callback` with the offsets and the answer, and return a future that is done."""
        committed = self._subscription.offsets() if offsets is None else offsets
        self.commit(committed)
        if callback is not None:
            callback(committed, True)
        return Future().success(None)

    def committed(
        self,
        partition: TopicPartition,
        metadata: bool = False,  # noqa: FBT001, FBT002
        timeout_ms: float | None = None,  # noqa: ARG002
    ) -> Any:
        """Return how far the group has come, None where nothing was committed."""
        found = self.cluster.committed(self._group(), partition)
        return found if metadata or found is None else found.offset

    def _group(self) -> str:
        group: str | None = self.config["group_id"]
        if group is None:
            msg = "to commit takes a group: give it a group_id"
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
        """Return, for each partition, the first offset at or after a time, None where there is none."""
        return {partition: self.cluster.offset_at(partition, at) for partition, at in timestamps.items()}
