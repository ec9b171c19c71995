"""confluent-kafka, as the scenarios use it: librdkafka reports deliveries while its producer is polled."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition
from confluent_kafka.cimpl import Consumer as Receiver
from confluent_kafka.cimpl import Producer as Sender

from benchmarks.faces import CONFLUENT_KAFKA
from benchmarks.soak.libraries.library import Config, Face, Note, Place
from testbroker.wait import PATIENCE

NOT_TAKEN = frozenset(("consumer_timeout_ms", "max_block_ms", "max_poll_records"))
RECONNECTING = {"reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 50, "log_level": 0}
POLL_SECONDS = 0.2


class CountingProducer(Sender):  # type: ignore[misc,unused-ignore] # a C type
    """Counts the calls that reach the client."""

    calls = 0

    def produce(self, *args: Any, **kwargs: Any) -> Any:
        """Count the call, and produce."""
        self.calls += 1
        return super().produce(*args, **kwargs)


class Sent:
    """A record that was sent, and the callback for its delivery report.

    Args:
        poll: serves callbacks of the producer, for so many seconds.
    """

    def __init__(self, poll: Callable[[float], Any]) -> None:
        self._poll = poll
        self._error: Any = None
        self._place: Place | None = None

    def __call__(self, error: Any, message: Any) -> None:
        """Take the report."""
        self._error = error
        self._place = place_of(message)

    @property
    def is_done(self) -> bool:
        """Whether it was reported."""
        return self._place is not None

    def get(self, timeout: float) -> Place:
        """Return where it was written."""
        until = time.monotonic() + timeout
        while self._place is None and time.monotonic() < until:
            self._poll(min(timeout, POLL_SECONDS))
        if self._place is None:
            msg = f"waited {timeout:.0f} s for a delivery report"
            raise TimeoutError(msg)
        if self._error is not None:
            raise KafkaException(self._error)
        return self._place

    def give_up(self, timeout: float) -> None:
        """Wait for its report."""
        self.get(timeout)


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
        """Produce a record, and serve callbacks."""
        sent = Sent(self._poll)
        self._client.produce(topic, value, on_delivery=sent)
        self._poll(0)
        return sent

    def flush(self, timeout: float) -> None:
        """Wait until all is reported."""
        left = self._client.flush(timeout)
        if left:
            msg = f"{left} records were not reported in {timeout} s"
            raise TimeoutError(msg)

    def close(self, timeout: float) -> None:
        """Flush it, purge what is left, and close it, as a program does that cannot wait: `close()` waits for all."""
        if self._client.flush(timeout):
            self._client.purge()
            self._client.flush(timeout)
        self._client.close()

    def drop(self) -> bool:
        """Let go of the client: what has not been reported will never be."""
        self._calls = self.calls
        self._client = None
        return False

    def end(self) -> None:
        """Purge and close it."""
        if self._client is not None:
            with suppress(KafkaException, RuntimeError):  # it is closed
                self.close(5)

    def init_transactions(self) -> None:
        """Initialize transactions."""
        self._client.init_transactions(PATIENCE)

    def begin_transaction(self) -> None:
        """Begin a transaction."""
        self._client.begin_transaction()

    def commit_transaction(self) -> None:
        """Commit it."""
        self._client.commit_transaction()

    def abort_transaction(self) -> None:
        """Abort it."""
        self._client.abort_transaction()

    def _poll(self, seconds: float) -> None:
        """Serve callbacks, if there is a client whose these are."""
        if self._client is not None:
            with suppress(KafkaException):  # a fatal error, which it raises once beside the delivery reports
                self._client.poll(seconds)


class Consumer:
    """A consumer.

    Args:
        client: with a face.
        most: how many messages a list has.
    """

    def __init__(self, client: Any, most: int) -> None:
        self._client = client
        self._most = most

    def iterate(self, note: Note, is_enough: Callable[[], bool]) -> None:
        """Poll message by message."""
        self.next(note)

    def next(self, note: Note) -> None:
        """Poll a message."""
        message = self._client.poll(POLL_SECONDS)
        if message is not None:
            note_message(note, message)

    def poll(self, note: Note) -> None:
        """Consume a list of messages."""
        for message in self._client.consume(self._most, POLL_SECONDS):
            note_message(note, message)

    def commit(self) -> None:
        """Commit what was handed over; where that is nothing, it is an error here alone."""
        try:
            self._client.commit(asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._NO_OFFSET:
                raise

    def commit_soon(self) -> None:
        """Commit without waiting for an answer."""
        self._client.commit()

    def assigned(self) -> int:
        """Return how many partitions it is assigned."""
        return len(self._client.assignment())

    def is_at_the_end(self) -> bool:
        """Return whether its positions are the ends of its partitions, where these have any records."""
        assigned = self._client.assignment()
        return bool(assigned) and all(map(self._is_at_the_end, assigned))

    def _is_at_the_end(self, partition: TopicPartition) -> bool:
        low, high = self._client.get_watermark_offsets(partition, timeout=PATIENCE)
        (position,) = self._client.position([partition])
        if position.offset < 0:
            (position,) = self._client.committed([partition], timeout=PATIENCE)
        return bool(low == high or position.offset >= high)

    def close(self) -> None:
        """Close it."""
        self._client.close()


def place_of(message: Any) -> Place:
    """Return where a message was written."""
    offset = message.offset()
    return Place(message.partition(), -1 if offset is None or offset < 0 else offset)


def note_message(note: Note, message: Any) -> None:
    """Note a message, or raise the error that it is."""
    if message.error() is not None:
        raise KafkaException(message.error())
    note(message.partition(), message.offset(), message.value())


class ConfluentKafka:
    """The library, which needs nothing to be started."""

    name = distribution = "confluent-kafka"
    errors: type[Exception] = KafkaException
    alike: Mapping[str, str] = dict.fromkeys(("_PURGE_QUEUE", "_PURGE_INFLIGHT"), "purged")
    alike_calls: Mapping[str, str] = {}

    def __enter__(self) -> "ConfluentKafka":
        """Start nothing."""
        return self

    def __exit__(self, *_: object) -> None:
        """End nothing."""

    def producer(self, face: Face, config: Config) -> Producer:
        """Return a producer."""
        return Producer(_client_of(face, CountingProducer, config))

    def consumer(self, face: Face, config: Config, *topics: str, assigned: str | None = None) -> Consumer:
        """Return a consumer."""
        alone = {} if assigned is None else {"group_id": assigned, "enable_auto_commit": False}
        client = _client_of(face, Receiver, {**alone, **config})
        if assigned is not None:
            client.assign([TopicPartition(assigned, 0, OFFSET_BEGINNING)])
        if topics:
            client.subscribe(list(topics))
        return Consumer(client, config.get("max_poll_records", 500))

    def error_type(self, error: BaseException) -> str:
        """Return librdkafka's name of an error, else the class."""
        reason = error.args[0] if isinstance(error, KafkaException) and error.args else None
        return reason.name() if isinstance(reason, KafkaError) else type(error).__name__


def settings_of(config: Config) -> dict[str, Any]:
    """Return a configuration in librdkafka's names."""
    settings = {name.replace("_", "."): value for name, value in config.items() if name not in NOT_TAKEN}
    return {**RECONNECTING, **settings}


def _client_of(face: Face, client: type, config: Config) -> Any:
    settings = settings_of(config)
    return face.client_of(CONFLUENT_KAFKA, client, settings, config={}, options={"config": settings})
