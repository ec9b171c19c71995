"""A producer of aiokafka without a broker."""

import asyncio
import inspect
from collections.abc import Sequence
from itertools import count
from types import SimpleNamespace
from typing import Any, NamedTuple

from aiokafka.errors import IllegalOperation, KafkaError, MessageSizeTooLargeError, ProducerClosed
from aiokafka.partitioner import murmur2
from aiokafka.producer import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import RecordMetadata, TopicPartition

from otelkafka.testing.aiokafka_configuration import FakeConnections, apply, configured
from otelkafka.testing.cluster import FakeCluster, fake_record

_POSITIVE = 0x7FFFFFFF
_OF_BATCH_BUILDER = inspect.signature(BatchBuilder).parameters


class FakeAwaitedSend(NamedTuple):
    """A send, of one record or of a batch, that has no acknowledgement yet."""

    place: TopicPartition
    records: list[dict[str, Any]]
    future: "asyncio.Future[RecordMetadata]"


class FakeAIOKafkaProducer(AIOKafkaProducer):  # type: ignore[misc]
    """Stores the records that it is asked to send, and acknowledges them at once or on demand.

    It is used as an `AIOKafkaProducer`, and passes `isinstance` as one. It can be made outside of a running loop.

    Args:
        cluster: stores its records, for fake consumers of any client library with the same cluster; None for a new
            one.
        auto_complete: False to resolve each send by `complete_next()` or `error_next()`.
        config: as an `AIOKafkaProducer` takes it; serializers are applied.

    Attributes:
        cluster: stores its records.
        history: the records that it was asked to send, in order.
        config: the configuration of the client.
    """

    def __init__(self, cluster: FakeCluster | None = None, *, auto_complete: bool = True, **config: Any) -> None:
        self.cluster = FakeCluster() if cluster is None else cluster
        self.history: list[Any] = []
        self.config = configured(AIOKafkaProducer, config)
        if self.config["client_id"] is None:
            self.config["client_id"] = "fake-producer"
        self.client = FakeConnections(self.config)
        transactional_id = self.config["transactional_id"]
        self._txn_manager = (
            None
            if transactional_id is None
            else SimpleNamespace(transactional_id=transactional_id, is_fatal_error=lambda: False)
        )
        self._auto_complete = auto_complete
        self._waiting: list[FakeAwaitedSend] = []
        self._turns = count()
        self._transaction: list[tuple[TopicPartition, int]] | None = None
        self._offsets: list[tuple[Any, dict[TopicPartition, Any]]] = []
        self._is_stopped = False

    async def start(self) -> None:
        """Do nothing: there is no broker to connect to."""

    async def stop(self) -> None:
        """Stop the producer. Sends that wait are never resolved, as if the broker was gone."""
        if self._auto_complete:
            await self.flush()
        self._is_stopped = True

    async def flush(self) -> None:
        """Acknowledge every send that waits."""
        while self.complete_next():
            pass

    async def partitions_for(self, topic: str) -> set[int]:
        """Return the partitions of a topic."""
        return {each.partition for each in self.cluster.partitions_of(topic)}

    async def send(
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
    ) -> "asyncio.Future[RecordMetadata]":
        """Keep a record, and return the future of its acknowledgement.

        Raises:
            AssertionError: it has neither key nor value.
            IllegalOperation: it is transactional, and in no transaction.
            MessageSizeTooLargeError: it is larger than `max_request_size`.
            ProducerClosed: the producer is stopped.
            TypeError: what the serializers made of key or value is neither bytes nor None; headers that aiokafka
                refuses.
        """
        if value is None and key is None:
            msg = "Need at least one: key or value"
            raise AssertionError(msg)
        self._check_open()
        raw_key = apply(self.config["key_serializer"], key)
        raw_value = apply(self.config["value_serializer"], value)
        given = list(headers or ()) if not isinstance(headers, list) else headers
        size = DefaultRecordBatchBuilder.estimate_size_in_bytes(raw_key, raw_value, given)
        if size > self.config["max_request_size"]:
            raise MessageSizeTooLargeError(size)
        place = TopicPartition(topic, self._choose(topic, raw_key) if partition is None else partition)
        # As aiokafka, which refuses here what it cannot encode.
        self.create_batch_of_bytes().append(timestamp=timestamp_ms, key=raw_key, value=raw_value, headers=headers or [])
        record = {"value": raw_value, "key": raw_key, "headers": given, "timestamp": timestamp_ms}
        return self._keep(place, [record])

    def create_batch(self) -> BatchBuilder:
        """Return a batch of aiokafka's own, to be filled and sent."""
        return self._builder(self.config["key_serializer"], self.config["value_serializer"])

    def create_batch_of_bytes(self) -> BatchBuilder:
        """Return one whose keys and values are bytes already."""
        return self._builder(None, None)

    def _builder(self, key_serializer: Any, value_serializer: Any) -> BatchBuilder:
        given = {
            "magic": 2,  # which releases before 0.13 want, as those before 0.11 take no serializers
            "batch_size": self.config["max_batch_size"],
            "compression_type": 0,
            "is_transactional": False,
            "key_serializer": key_serializer,
            "value_serializer": value_serializer,
        }
        return BatchBuilder(**{name: given[name] for name in given if name in _OF_BATCH_BUILDER})

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> "asyncio.Future[RecordMetadata]":
        """Keep the records of a batch, and return the future of its acknowledgement.

        Raises:
            IllegalOperation: it is transactional, and in no transaction.
            ProducerClosed: the producer is stopped.
        """
        self._check_open()
        records = MemoryRecords(bytes(batch._build()))
        found: list[dict[str, Any]] = []
        while records.has_next():
            found += (
                {"value": each.value, "key": each.key, "headers": list(each.headers), "timestamp": each.timestamp}
                for each in records.next_batch()
            )
        return self._keep(TopicPartition(topic, partition), found)

    def complete_next(self) -> bool:
        """Acknowledge the send that has waited longest. Return False if none waits."""
        if not self._waiting:
            return False
        place, records, future = self._waiting.pop(0)
        first = self.cluster.end_of(place)
        for at, known in enumerate(records):
            record = fake_record(place.topic, partition=place.partition, offset=first + at, **known)
            self.cluster.write(record, visible=self._transaction is None)
            if self._transaction is not None:
                self._transaction.append((place, first + at))
        timestamp = records[0]["timestamp"] if records else None
        if not future.done():
            future.set_result(RecordMetadata(*place, place, first, timestamp, 0, None))
        return True

    def error_next(self, error: Exception) -> bool:
        """Fail the send that has waited longest. Return False if none waits."""
        if not self._waiting:
            return False
        future = self._waiting.pop(0).future
        if not future.done():
            future.set_exception(error)
        return True

    async def begin_transaction(self) -> None:
        """Begin a transaction: its records cannot be read before it is committed."""
        self._check_transactional()
        self._transaction, self._offsets = [], []

    async def send_offsets_to_transaction(self, offsets: dict[TopicPartition, Any], group_id: str) -> None:
        """Commit these offsets of a group with the transaction."""
        self._check_transactional()
        self._offsets.append((group_id, offsets))

    async def commit_transaction(self) -> None:
        """Commit the transaction: its records can be read."""
        self._check_transactional()
        await self.flush()
        for group, offsets in self._offsets:
            self.cluster.commit(group, offsets)
        self._end_transaction(committed=True)

    async def abort_transaction(self) -> None:
        """Abort the transaction: its records will never be read, and sends that wait fail."""
        self._check_transactional()
        while self.error_next(KafkaError("the transaction was aborted")):
            pass
        self._end_transaction(committed=False)

    def _end_transaction(self, *, committed: bool) -> None:
        self.cluster.end_transaction(self._transaction or (), committed=committed)
        self._transaction = None

    def _check_transactional(self) -> None:
        if self._txn_manager is None:
            msg = "You need to configure transaction_id to use transactions"
            raise IllegalOperation(msg)

    def _check_open(self) -> None:
        if self._is_stopped:
            raise ProducerClosed
        if self._txn_manager is not None and self._transaction is None:
            msg = "Can't send messages while not in transaction"
            raise IllegalOperation(msg)

    def _keep(self, place: TopicPartition, records: list[dict[str, Any]]) -> "asyncio.Future[RecordMetadata]":
        self.history += (fake_record(place.topic, partition=place.partition, offset=-1, **each) for each in records)
        send = FakeAwaitedSend(place, records, asyncio.get_running_loop().create_future())
        self._waiting.append(send)
        if self._auto_complete:
            while self.complete_next():
                pass
        return send.future

    def _choose(self, topic: str, key: bytes | None) -> int:
        """Choose a partition: that of the key, as Kafka does, else each in turn."""
        self.cluster.log_of(TopicPartition(topic, 0))
        partitions = len(self.cluster.partitions_of(topic))
        number: int = next(self._turns) if key is None else murmur2(key) & _POSITIVE
        return number % partitions

    def __del__(self) -> None:
        """Do nothing: there is nothing to stop."""
