"""Clients that do nothing, so that what is timed is the instrumentation.

They are not the fakes of `otelkafka.testing`, which apply serializers, choose partitions and keep what is sent: that
work would be timed as well, and grow with each record.
"""

import time
from collections.abc import Callable
from typing import Any

from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

A_DAY = 24 * 3600 * 1000
BATCH = 500
CONFIG = {"bootstrap_servers": ["host:9092"], "client_id": "c", "group_id": "g"}
PARTITION = TopicPartition("t", 0)


class Metadata:
    """What the broker acknowledges."""

    topic, partition, offset = "t", 0, 7


class Future:
    """Is acknowledged as soon as anybody listens."""

    is_done = False

    def add_callback(self, function: Callable[[Any], Any]) -> None:
        """Call it."""
        function(Metadata)

    def add_errback(self, function: Callable[[Any], Any]) -> None:
        """Never call it."""


class Producer:
    """Sends nothing, and keeps the headers of the last record."""

    config = CONFIG
    future = Future()
    headers: Any = None

    def send(
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        headers: Any = None,
        partition: Any = None,
        timestamp_ms: Any = None,
    ) -> Future:
        """Return a future."""
        self.headers = headers
        return self.future

    def close(self) -> None:
        """Do nothing."""


class Consumer:
    """Hands over records that are there already, over and over.

    Args:
        records: which.
    """

    config = CONFIG

    def __init__(self, records: list[Any]) -> None:
        self._records = records
        self._rest = iter(records)

    def __iter__(self) -> "Consumer":
        """Iterate itself, as kafka-python's does."""
        return self

    def __next__(self) -> Any:
        """Return the next record; after the last one, the first."""
        for record in self._rest:
            return record
        self._rest = iter(self._records)
        return next(self._rest)

    def poll(self, timeout_ms: int = 0) -> dict[TopicPartition, list[Any]]:
        """Return them all."""
        return {PARTITION: self._records}

    def highwater(self, partition: TopicPartition) -> int:
        """Return an offset."""
        return 1_000_000

    def assignment(self) -> set[TopicPartition]:
        """Return the one partition."""
        return {PARTITION}

    def close(self) -> None:
        """Do nothing."""


def records(*, sampled: bool) -> list[Any]:
    """Return a batch of records with a context each, as OpenTelemetry's SDK writes it for a trace sampled or not."""
    flags = b"03" if sampled else b"02"
    known = {
        "topic": PARTITION.topic,
        "partition": PARTITION.partition,
        "timestamp": int(time.time() * 1000) + A_DAY,  # none waits for what else is timed, and gets links to it
        "timestamp_type": 0,
        "key": b"k",
        "value": b"v" * 100,
        "serialized_value_size": 100,
    }
    rest = dict.fromkeys(ConsumerRecord._fields)
    return [
        ConsumerRecord(
            **{
                **rest,
                **known,
                "offset": at,
                "headers": [("traceparent", b"00-%032x-%016x-" % (at + 1, at + 1) + flags)],
            }
        )
        for at in range(BATCH)
    ]
