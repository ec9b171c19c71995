"""What a fake consumer is subscribed to and assigned, and how far it has come there."""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

from otelkafka.testing.cluster import FakeCluster, offset_and_metadata
from otelkafka.testing.structs import TopicPartition


class Errors(NamedTuple):
    """What the client library raises.

    Args:
        no_offset: where a partition has no offset to begin with.
        illegal_state: where a partition is not assigned.
    """

    no_offset: Any
    illegal_state: Any


class Turn(NamedTuple):
    """A call of a listener, and the partitions that it gets."""

    method: str
    partitions: set[TopicPartition]


class Subscription:
    """The subscription of the only member of a group.

    `listener`, `partitions_auto_assigned()` and `all_consumed_offsets()` are the names by which kafka-python's own has
    them.

    Args:
        cluster: whose topics there are.
        config: the configuration of the consumer.
        errors: the errors of its library.

    Attributes:
        positions: the partitions assigned, each with the offset of the next record.
        paused: those of which nothing is handed over.
        listener: called at assignments and revocations.
    """

    def __init__(self, cluster: FakeCluster, config: dict[str, Any], errors: Errors) -> None:
        self._cluster = cluster
        self._errors = errors
        self._config = config
        self._topics: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.positions: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()
        self.listener: Any = None

    def partitions_auto_assigned(self) -> bool:
        """Return whether partitions are assigned by the group."""
        return bool(self._topics) or self._pattern is not None

    def topics(self) -> set[str]:
        """Return the topics subscribed to."""
        if self._pattern is None:
            return set(self._topics)
        return {topic for topic in self._cluster.topics if self._pattern.match(topic)}

    def subscribe(self, topics: Collection[str], pattern: str | None, listener: Any) -> None:
        """Subscribe, in the place of what was."""
        self._topics, self.listener = set(topics), listener
        self._pattern = None if pattern is None else re.compile(pattern)

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Take these partitions, in the place of what was."""
        self._topics, self._pattern = set(), None
        self.positions = {partition: self.positions.get(partition, self._start(partition)) for partition in partitions}

    def clear(self) -> Iterator[Turn]:
        """Give everything up; each turn is to be called before the next is asked for."""
        if self.partitions_auto_assigned() and self.positions:
            yield Turn("on_partitions_revoked", set(self.positions))
        self._topics, self._pattern, self.positions = set(), None, {}

    def join(self) -> Iterator[Turn]:
        """Have the partitions assigned that there are now; each turn is to be called before the next is asked for."""
        if not self.partitions_auto_assigned():
            return
        wanted = {each for topic in self.topics() for each in self._cluster.partitions_of(topic)}
        if wanted == set(self.positions):
            return
        if self.positions:
            yield Turn("on_partitions_revoked", set(self.positions))
        self.positions = {each: self.positions.get(each, self._start(each)) for each in sorted(wanted)}
        if wanted:
            yield Turn("on_partitions_assigned", wanted)

    def call(self, turn: Turn) -> Any:
        """Call the listener, if there is one."""
        return None if self.listener is None else getattr(self.listener, turn.method)(turn.partitions)

    def _start(self, partition: TopicPartition) -> int:
        committed = self._cluster.committed(self._config["group_id"], partition)
        if committed is not None:
            return int(committed.offset)
        reset = self._config["auto_offset_reset"]
        if reset == "none":
            raise self._errors.no_offset(partition)
        return self._cluster.end_of(partition) if reset == "latest" else 0

    def fetchable(self) -> list[TopicPartition]:
        """Return the partitions of which records are handed over."""
        return sorted(set(self.positions) - self.paused)

    def position(self, partition: TopicPartition) -> int:
        """Return the offset of the next record.

        Raises:
            `Errors.illegal_state`: the partition is not assigned.
        """
        if partition not in self.positions:
            msg = f"{partition} is not assigned: these are, {sorted(self.positions)}"
            raise self._errors.illegal_state(msg)
        return self.positions[partition]

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go to an offset."""
        self.position(partition)
        self.positions[partition] = offset

    def all_consumed_offsets(self) -> dict[TopicPartition, Any]:
        """Return how far it has come, in the form of a commit."""
        return {partition: offset_and_metadata(offset) for partition, offset in self.positions.items()}
