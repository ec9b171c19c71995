"""The future of a send that a test resolves."""

from threading import Event
from typing import Any

from kafka.errors import KafkaTimeoutError
from kafka.future import Future
from kafka.producer.future import RecordMetadata
from kafka.structs import TopicPartition


class FakeFuture(Future):  # type: ignore[misc]
    """What `FakeProducer.send()` returns; used as kafka-python's own.

    Args:
        topic: where the record goes.
        partition: where in the topic.
    """

    def __init__(self, topic: str = "t", partition: int = 0) -> None:
        super().__init__()
        self._place = TopicPartition(topic, partition)
        self._resolved = Event()

    def acknowledge(self, offset: int = 0, timestamp: int | None = None) -> None:
        """Resolve it, as a broker's acknowledgement does.

        Args:
            offset: the offset of the record.
            timestamp: the timestamp of the record, in milliseconds since 1970.
        """
        known = {"topic_partition": self._place, "offset": offset, "timestamp": timestamp, **self._place._asdict()}
        self.success(RecordMetadata(**{**dict.fromkeys(RecordMetadata._fields), **known}))

    def fail(self, error: Exception) -> None:
        """Let it fail."""
        self.failure(error)

    def success(self, value: Any) -> Any:
        """Resolve it with a value, and wake who waits."""
        try:
            return super().success(value)
        finally:
            self._resolved.set()

    def failure(self, error: Any) -> Any:
        """Let it fail, and wake who waits."""
        try:
            return super().failure(error)
        finally:
            self._resolved.set()

    def get(self, timeout: float | None = None) -> Any:
        """Return the record's metadata, as soon as it is acknowledged.

        Args:
            timeout: how long to wait for it, in seconds; None for as long as it takes.

        Raises:
            KafkaTimeoutError: it was never resolved.
        """
        if not self._resolved.wait(timeout):
            msg = f"the send to {self._place.topic} was not acknowledged within {timeout} s"
            raise KafkaTimeoutError(msg)
        if self.exception is not None:
            raise self.exception
        return self.value
