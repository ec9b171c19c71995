"""A message of confluent-kafka without a broker."""

from typing import Any

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE, KafkaError


class FakeMessage:
    """A message as confluent-kafka's consumers return it, and as a delivery report has it.

    Args:
        record: from `fake_record`; None for an error that is of no record.
        error: makes it an error instead of a message.
        has_headers: False for a delivery report, whose message has none.
    """

    def __init__(self, record: Any = None, *, error: KafkaError | None = None, has_headers: bool = True) -> None:
        self._record = record
        self._error = error
        self._key = getattr(record, "key", None)
        self._value = getattr(record, "value", None)
        headers = getattr(record, "headers", None)
        self._headers = list(headers) if headers and has_headers else None

    def topic(self) -> str | None:
        """Return its topic."""
        return getattr(self._record, "topic", None)

    def partition(self) -> int | None:
        """Return the number of its partition."""
        return getattr(self._record, "partition", None)

    def offset(self) -> int | None:
        """Return its offset."""
        return getattr(self._record, "offset", None)

    def key(self) -> Any:
        """Return its key."""
        return self._key

    def value(self) -> Any:
        """Return its value."""
        return self._value

    def headers(self) -> Any:
        """Return its headers, None where it has none."""
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        """Return the type of its timestamp, and the timestamp in milliseconds since 1970."""
        at = getattr(self._record, "timestamp", None)
        if at is None or at < 0:
            return TIMESTAMP_NOT_AVAILABLE, 0
        return TIMESTAMP_CREATE_TIME + (self._record.timestamp_type or 0), at

    def error(self) -> KafkaError | None:
        """Return the error that it is, None where it is a message."""
        return self._error

    def latency(self) -> float | None:
        """Return None: nothing was measured."""

    def leader_epoch(self) -> int | None:
        """Return None: there is no leader."""

    def set_headers(self, headers: Any) -> None:
        """Replace its headers."""
        self._headers = headers

    def set_key(self, key: Any) -> None:
        """Replace its key, as a deserializer does."""
        self._key = key

    def set_value(self, value: Any) -> None:
        """Replace its value, as a deserializer does."""
        self._value = value

    def __len__(self) -> int:
        """Return the size of its value."""
        return len(self._value or b"")

    def __bool__(self) -> bool:
        """Return True, as for a message without a value."""
        return True
