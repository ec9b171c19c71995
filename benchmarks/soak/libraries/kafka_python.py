"""kafka-python, as the scenarios use it."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import BrokerResponseError, KafkaError

from benchmarks.faces import KAFKA_PYTHON
from benchmarks.soak.libraries.library import COMMIT_SECONDS, Config, Face, Note, Place

RECONNECTING = {"reconnect_backoff_ms": 50, "reconnect_backoff_max_ms": 200, "retry_backoff_ms": 50}


class CountingProducer(KafkaProducer):  # type: ignore[misc] # kafka-python has no types
    """Counts the calls that reach the client."""

    calls = 0

    def send(self, *args: Any, **kwargs: Any) -> Any:
        """Count the call, and send."""
        self.calls += 1
        return super().send(*args, **kwargs)

    def __del__(self) -> None:
        """Close as the client does; an error of that would only be printed."""
        with suppress(KafkaError):
            super().__del__()


class Sent:
    """A record that was sent.

    Args:
        future: the future of the client.
    """

    def __init__(self, future: Any) -> None:
        self._future = future

    @property
    def is_done(self) -> bool:
        """Whether its future is resolved."""
        return bool(self._future.is_done)

    def get(self, timeout: float) -> Place:
        """Return where it was written."""
        metadata = self._future.get(timeout=timeout)
        return Place(metadata.partition, metadata.offset)

    def give_up(self, timeout: float) -> None:
        """Wait for its future."""
        self._future.get(timeout=timeout)


class Producer:
    """A producer.

    Args:
        client: with a face.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._calls = 0

    @property
    def calls(self) -> int:
        """How many sends have reached the bare client."""
        return self._calls if self._client is None else int(self._client.calls)

    def send(self, topic: str, value: bytes) -> Sent:
        """Send a record."""
        return Sent(self._client.send(topic, value))

    def flush(self, timeout: float) -> None:
        """Wait until all is acknowledged."""
        self._client.flush(timeout=timeout)

    def close(self, timeout: float) -> None:
        """Close it."""
        self._client.close(timeout=timeout)

    def drop(self) -> bool:
        """Let go of the client, whose `__del__` closes it."""
        self._calls = self.calls
        self._client = None
        return False

    def end(self) -> None:
        """Close it."""
        if self._client is not None:
            with suppress(KafkaError):
                self._client.close(timeout=5)

    def init_transactions(self) -> None:
        """Initialize transactions."""
        self._client.init_transactions()

    def begin_transaction(self) -> None:
        """Begin a transaction."""
        self._client.begin_transaction()

    def commit_transaction(self) -> None:
        """Commit it."""
        self._client.commit_transaction()

    def abort_transaction(self) -> None:
        """Abort it."""
        self._client.abort_transaction()


class Consumer:
    """A consumer.

    Args:
        client: with a face.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def iterate(self, note: Note, is_enough: Callable[[], bool]) -> None:
        """Iterate until it is enough, or `consumer_timeout_ms` ends it."""
        for record in self._client:
            note(record.partition, record.offset, record.value)
            if is_enough():
                return

    def next(self, note: Note) -> None:
        """Ask for the next record."""
        with suppress(StopIteration):
            record = next(self._client)
            note(record.partition, record.offset, record.value)

    def poll(self, note: Note) -> None:
        """Poll lists of records."""
        for records in self._client.poll(timeout_ms=200).values():
            for record in records:
                note(record.partition, record.offset, record.value)

    def commit(self) -> None:
        """Commit."""
        self._client.commit()

    def commit_soon(self) -> None:
        """Commit, and give up soon."""
        self._client.commit(timeout_ms=int(COMMIT_SECONDS * 1000))

    def assigned(self) -> int:
        """Return how many partitions it is assigned."""
        return len(self._client.assignment())

    def is_at_the_end(self) -> bool:
        """Return whether its positions are the ends of its partitions."""
        ends = self._client.end_offsets(list(self._client.assignment()))
        return bool(ends) and all(self._client.position(each) >= end for each, end in ends.items())

    def close(self) -> None:
        """Close it."""
        self._client.close()


class KafkaPython:
    """The library, which needs nothing to be started."""

    name = distribution = "kafka-python"
    errors: type[Exception] = KafkaError
    alike: Mapping[str, str] = {}
    alike_calls: Mapping[str, str] = dict.fromkeys(
        ("KafkaConnectionError", "KafkaTimeoutError"), "KafkaConnectionError or KafkaTimeoutError"
    )

    def __enter__(self) -> "KafkaPython":
        """Start nothing."""
        return self

    def __exit__(self, *_: object) -> None:
        """End nothing."""

    def producer(self, face: Face, config: Config) -> Producer:
        """Return a producer."""
        return Producer(face.client_of(KAFKA_PYTHON, CountingProducer, config={**RECONNECTING, **config}))

    def consumer(self, face: Face, config: Config, *topics: str, assigned: str | None = None) -> Consumer:
        """Return a consumer."""
        client = face.client_of(KAFKA_PYTHON, KafkaConsumer, *topics, config={**RECONNECTING, **config})
        if assigned is not None:
            client.assign([TopicPartition(assigned, 0)])
        return Consumer(client)

    def error_type(self, error: BaseException) -> str:
        """Return Kafka's own name of what the broker answered, else the class."""
        return error_type(error)


def error_type(error: BaseException) -> str:
    """Return what a span says of an error: Kafka's own name of what the broker answered, else the class."""
    name = getattr(error, "message", None) if isinstance(error, BrokerResponseError) else None
    return name if isinstance(name, str) else type(error).__name__
