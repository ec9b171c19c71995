"""A consumer of confluent-kafka without a broker."""

from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ConfluentTopicPartition

from otelkafka.testing.cluster import FakeCluster, offset_and_metadata
from otelkafka.testing.confluent_message import FakeMessage
from otelkafka.testing.structs import TopicPartition
from otelkafka.testing.subscription import Errors, Subscription, Turn

_ANY = -1
_RESETS = {"smallest": "earliest", "beginning": "earliest", "largest": "latest", "end": "latest", "error": "none"}
_NONE: Any = object()
"""A callback that is not given: confluent-kafka refuses None."""


class FakeConfluentConsumer(Consumer):  # type: ignore[misc]
    """A `Consumer` of confluent-kafka that reads from a `FakeCluster`. It never waits.

    It passes `isinstance`, and is the only member of its group.

    Args:
        config: the configuration of a `Consumer`. Of it `group.id`, `auto.offset.reset` (by default "earliest"),
            `enable.auto.commit`, `enable.auto.offset.store`, `enable.partition.eof` and `on_commit` are applied.
        cluster: contains its records. None for a new one.
        records: from `fake_record`, to write to the cluster; it is assigned their partitions.

    Attributes:
        cluster: contains its records.
        config: the configuration of the client.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        cluster: FakeCluster | None = None,
        records: Iterable[Any] = (),
    ) -> None:
        self.cluster = FakeCluster() if cluster is None else cluster
        self.config = {
            "bootstrap.servers": "localhost:9092",
            "client.id": "fake-consumer",
            "group.id": "fake-group",
            "auto.offset.reset": "earliest",
            **(config or {}),
        }
        reset = self.config["auto.offset.reset"]
        known = {"group_id": self.config["group.id"], "auto_offset_reset": _RESETS.get(reset, reset)}
        self._subscription = Subscription(self.cluster, known, Errors(_no_offset, _not_assigned))
        self._callbacks: dict[str, Any] = {}
        self._errors: list[KafkaError] = []
        self._ends: set[TopicPartition] = set()
        self._consumed: dict[TopicPartition, int] = {}
        self._stored_by_hand: dict[TopicPartition, int] = {}
        self._stores_by_hand = _is_off(self.config.get("enable.auto.offset.store"))
        self._is_closed = False
        places = []
        for record in records:
            self.cluster.write(record)
            places.append(ConfluentTopicPartition(record.topic, record.partition))
        if places:
            self.assign(places)

    def error_next(self, error: KafkaError) -> None:
        """Make the next `poll()` or `consume()` return an error. No record is lost."""
        self._errors.append(error)

    def poll(self, timeout: float = _ANY) -> FakeMessage | None:  # noqa: ARG002 (confluent-kafka's)
        """Return the next message or error; None if there is none."""
        messages = self._take(1)
        return messages[0] if messages else None

    def consume(self, num_messages: int = 1, timeout: float = _ANY) -> list[FakeMessage]:  # noqa: ARG002 (confluent-kafka's)
        """Return the messages and errors that are there, up to the given number.

        Raises:
            RuntimeError: it is closed.
        """
        return self._take(num_messages)

    def _take(self, num_messages: int) -> list[FakeMessage]:
        self._check_open()
        self._call(self._subscription.join())
        if self._errors:
            return [FakeMessage(error=self._errors.pop(0))]
        taken: list[FakeMessage] = []
        for partition in self._subscription.fetchable():
            for record in self.cluster.read(partition, self._subscription.position(partition)):
                if len(taken) == num_messages:
                    return taken
                taken.append(FakeMessage(record))
                self._subscription.positions[partition] = self._consumed[partition] = record.offset + 1
                self._ends.discard(partition)
            if self.config.get("enable.partition.eof") and partition not in self._ends and len(taken) < num_messages:
                self._ends.add(partition)
                taken.append(FakeMessage(self._end_of(partition), error=KafkaError(KafkaError._PARTITION_EOF)))
        return taken

    def _end_of(self, partition: TopicPartition) -> Any:
        return ConfluentTopicPartition(*partition, self._subscription.position(partition))

    def _call(self, turns: Iterable[Turn]) -> None:
        for turn in turns:
            name = "on_assign" if turn.method == "on_partitions_assigned" else "on_revoke"
            callback = self._callbacks.get(name)
            if callback is not None:
                callback(self, [ConfluentTopicPartition(*each) for each in sorted(turn.partitions)])

    def lose(self) -> None:
        """Lose all partitions, as if the group had removed this member."""
        lost = [ConfluentTopicPartition(*each) for each in sorted(self._subscription.positions)]
        callback = self._callbacks.get("on_lost") or self._callbacks.get("on_revoke")
        self._subscription.positions = {}
        if callback is not None:
            callback(self, lost)

    def subscribe(
        self, topics: list[str], on_assign: Any = _NONE, on_revoke: Any = _NONE, on_lost: Any = _NONE
    ) -> None:
        """Subscribe to topics; one that begins with `^` is a pattern. Partitions are assigned by the next poll."""
        self._check_open()
        if not isinstance(topics, list):
            msg = "expected list of topic unicode strings"
            raise TypeError(msg)
        given = {"on_assign": on_assign, "on_revoke": on_revoke, "on_lost": on_lost}
        callbacks = {name: callback for name, callback in given.items() if callback is not _NONE}
        for name, callback in callbacks.items():
            if not callable(callback):
                msg = f"{name} expects a callable"
                raise TypeError(msg)
        self._callbacks = callbacks
        pattern = next((topic for topic in topics if topic.startswith("^")), None)
        self._subscription.subscribe([] if pattern else topics, pattern, None)

    def unsubscribe(self) -> None:
        """End subscription and assignment."""
        self._call(self._subscription.clear())

    def assign(self, partitions: list[Any]) -> None:
        """Assign these partitions, from the offsets in them, if any."""
        subscription = self._subscription
        if subscription.partitions_auto_assigned():  # by the group, which is what an `on_assign` calls this for
            subscription.positions = {each: subscription.positions.get(each, 0) for each in map(_place, partitions)}
        else:
            subscription.assign([_place(each) for each in partitions])
        self._seek_to(partitions)

    def incremental_assign(self, partitions: list[Any]) -> None:
        """Assign these partitions in addition."""
        self._subscription.assign([*self._subscription.positions, *map(_place, partitions)])
        self._seek_to(partitions)

    def incremental_unassign(self, partitions: list[Any]) -> None:
        """Remove these partitions from the assignment."""
        self._subscription.assign(set(self._subscription.positions) - {_place(each) for each in partitions})

    def unassign(self) -> None:
        """End the assignment."""
        self._subscription.assign([])

    def _seek_to(self, partitions: list[Any]) -> None:
        for each in partitions:
            if each.offset >= 0:
                self._subscription.positions[_place(each)] = each.offset

    def assignment(self) -> list[Any]:
        """Return the partitions that it has."""
        self._check_open()
        return [ConfluentTopicPartition(*each) for each in sorted(self._subscription.positions)]

    def position(self, partitions: list[Any]) -> list[Any]:
        """Return the offsets of the next messages."""
        positions = self._consumed
        return [ConfluentTopicPartition(*each, positions.get(each, OFFSET_INVALID)) for each in map(_place, partitions)]

    def seek(self, partition: Any) -> None:
        """Go to the offset of a partition."""
        self._subscription.seek(_place(partition), partition.offset)

    def pause(self, partitions: list[Any]) -> None:
        """Return no messages of these partitions."""
        self._subscription.paused.update(map(_place, partitions))

    def resume(self, partitions: list[Any]) -> None:
        """Return messages of these partitions again."""
        self._subscription.paused.difference_update(map(_place, partitions))

    def store_offsets(self, message: Any = None, offsets: list[Any] | None = None) -> None:
        """Store the offsets that the next commit without offsets commits.

        Raises:
            KafkaException: `enable.auto.offset.store` is on.
        """
        if not self._stores_by_hand:
            raise KafkaException(KafkaError(KafkaError._INVALID_ARG))
        if message is not None:
            self._stored[TopicPartition(message.topic(), message.partition())] = message.offset() + 1
        for each in offsets or ():
            self._stored[_place(each)] = each.offset

    def commit(self, message: Any = None, offsets: list[Any] | None = None, asynchronous: bool = True) -> Any:  # noqa: FBT001, FBT002
        """Commit the offset after a message, these offsets, or those that are stored.

        Raises:
            KafkaException: there is nothing to commit.
        """
        self._check_open()
        if message is not None:
            committed = {TopicPartition(message.topic(), message.partition()): message.offset() + 1}
        elif offsets is not None:
            committed = {_place(each): each.offset for each in offsets}
        else:
            committed = {each: offset for each, offset in self._stored.items() if each in self._subscription.positions}
        if not committed:
            raise KafkaException(KafkaError(KafkaError._NO_OFFSET))
        self._commit(committed, is_reported=asynchronous)
        if asynchronous:
            return None
        return [ConfluentTopicPartition(*each, offset) for each, offset in committed.items()]

    def _commit(self, committed: dict[TopicPartition, int], *, is_reported: bool = True) -> None:
        found = {each: offset_and_metadata(offset) for each, offset in committed.items()}
        self.cluster.commit(self.config["group.id"], found)
        callback = self.config.get("on_commit")
        if callback is not None and is_reported:
            callback(None, [ConfluentTopicPartition(*each, offset) for each, offset in committed.items()])

    def committed(self, partitions: list[Any], timeout: float = _ANY) -> list[Any]:  # noqa: ARG002
        """Return the committed offsets of the group."""
        group = self.config["group.id"]
        found = {each: self.cluster.committed(group, each) for each in map(_place, partitions)}
        return [
            ConfluentTopicPartition(*each, OFFSET_INVALID if offset is None else getattr(offset, "offset", offset))
            for each, offset in found.items()
        ]

    def get_watermark_offsets(
        self,
        partition: Any,
        timeout: float = _ANY,  # noqa: ARG002
        cached: bool = False,  # noqa: ARG002, FBT001, FBT002
    ) -> tuple[int, int]:
        """Return the first offset, and the one behind the last message."""
        return 0, self.cluster.end_of(_place(partition))

    def offsets_for_times(self, partitions: list[Any], timeout: float = _ANY) -> list[Any]:  # noqa: ARG002
        """Return the first offset at or after the time that each partition has as its offset."""
        found = [(each, self.cluster.offset_at(_place(each), each.offset)) for each in partitions]
        return [
            ConfluentTopicPartition(each.topic, each.partition, _ANY if at is None else at.offset) for each, at in found
        ]

    def consumer_group_metadata(self) -> Any:
        """Return what a fake producer's `send_offsets_to_transaction()` takes for the group."""
        return self.config["group.id"]

    def memberid(self) -> str:
        """Return the id of the only member."""
        return f"{self.config['client.id']}-fake"

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

    def close(self) -> None:
        """Commit the stored offsets if `enable.auto.commit` is set, and leave the group."""
        if self._is_closed:
            return
        if not _is_off(self.config.get("enable.auto.commit")) and self._stored and self._subscription.positions:
            self._commit({each: at for each, at in self._stored.items() if each in self._subscription.positions})
        self._call(self._subscription.clear())
        self._is_closed = True

    def __enter__(self) -> "FakeConfluentConsumer":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    @property
    def _stored(self) -> dict[TopicPartition, int]:
        return self._stored_by_hand if self._stores_by_hand else self._consumed

    def _check_open(self) -> None:
        if self._is_closed:
            msg = "Consumer closed"
            raise RuntimeError(msg)


def _is_off(value: Any) -> bool:
    return value is not None and str(value).lower() in {"false", "f", "0"}


def _place(partition: Any) -> TopicPartition:
    return TopicPartition(partition.topic, partition.partition)


def _no_offset(_: TopicPartition) -> KafkaException:
    return KafkaException(KafkaError(KafkaError._NO_OFFSET))


def _not_assigned(_: str) -> KafkaException:
    return KafkaException(KafkaError(KafkaError._STATE))
