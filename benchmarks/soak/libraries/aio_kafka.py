"""aiokafka, as the scenarios use it: its clients live in one event loop, in a thread of its own."""

from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import BrokerResponseError, KafkaError

from benchmarks.faces import AIOKAFKA
from benchmarks.soak.libraries.library import COMMIT_SECONDS, Config, Face, Note, Place
from benchmarks.soak.libraries.loop import Loop, Sent, within

NOT_TAKEN = frozenset(
    ("consumer_timeout_ms", "delivery_timeout_ms", "max_block_ms", "reconnect_backoff_ms", "reconnect_backoff_max_ms")
)
EXPIRED = (
    "KafkaConnectionError",
    "KafkaTimeoutError",
    "LEADER_NOT_AVAILABLE",
    "NodeNotReadyError",
    "NOT_LEADER_FOR_PARTITION",
    "REQUEST_TIMED_OUT",
)
NEXT_SECONDS = 0.5
DELIVERY_MS = 120_000
"""How long a record may wait for its delivery by default: as kafka-python's, and not the shorter time of aiokafka."""


class CountingProducer(AIOKafkaProducer):  # type: ignore[misc] # aiokafka has no types
    """Counts the calls that reach the client."""

    calls = 0

    async def send(self, *args: Any, **kwargs: Any) -> Any:
        """Count the call, and send."""
        self.calls += 1
        return await super().send(*args, **kwargs)

    def __del__(self) -> None:
        """Warn of nothing: a scenario drops producers that were never stopped."""


def place_of(metadata: Any) -> Place:
    """Return where a record was written, by its metadata."""
    return Place(-1, -1) if metadata is None else Place(metadata.partition, metadata.offset)  # None with `acks=0`


class Producer:
    """A producer, which is started with its transactions, if it has any.

    Args:
        loop: that it lives in.
        client: with a face.
        config: in kafka-python's names.
    """

    def __init__(self, loop: Loop, client: Any, config: Config) -> None:
        self._loop = loop
        self._client = client
        self._connections = client.client
        self._calls = 0
        block = config.get("max_block_ms")
        self._block_seconds = None if block is None else block / 1000
        if "transactional_id" not in config:
            loop.run(client.start())

    @property
    def calls(self) -> int:
        """How many sends have reached the bare client."""
        return self._calls if self._client is None else int(self._client.calls)

    def send(self, topic: str, value: bytes) -> Sent:
        """Send a record, and cancel that after `max_block_ms`."""
        future = self._loop.run(within(self._block_seconds, self._client.send(topic, value)))
        return Sent(self._loop, future, place_of)

    def flush(self, timeout: float) -> None:
        """Wait until all is acknowledged, and cancel that."""
        self._loop.run(within(timeout, self._client.flush()))

    def close(self, timeout: float) -> None:
        """Stop it, and cancel that."""
        self._loop.run(within(timeout, self._client.stop()))

    def drop(self) -> bool:
        """Let go of the client, whose tasks live on in the loop."""
        self._calls = self.calls
        self._client = None
        return True

    def end(self) -> None:
        """Stop it, and close the connections of one that was not stopped to the end."""
        if self._client is not None:
            with suppress(KafkaError, CancelledError):
                self._loop.run(within(5, self._client.stop()))
        self._loop.run(self._connections.close())

    def init_transactions(self) -> None:
        """Start it: it has its transactional id when it is started."""
        self._loop.run(self._client.start())

    def begin_transaction(self) -> None:
        """Begin a transaction."""
        self._loop.run(self._client.begin_transaction())

    def commit_transaction(self) -> None:
        """Commit it."""
        self._loop.run(self._client.commit_transaction())

    def abort_transaction(self) -> None:
        """Abort it."""
        self._loop.run(self._client.abort_transaction())


class Consumer:
    """A consumer.

    Args:
        loop: that it lives in.
        client: with a face, started.
    """

    def __init__(self, loop: Loop, client: Any) -> None:
        self._loop = loop
        self._client = client

    def iterate(self, note: Note, is_enough: Callable[[], bool]) -> None:
        """Iterate in one task until it is enough."""

        async def iterate() -> None:
            async for record in self._client:
                note(record.partition, record.offset, record.value)
                if is_enough():
                    return

        self._loop.run(iterate())

    def next(self, note: Note) -> None:
        """Ask for the next record in a task of its own, and cancel that soon."""

        async def take() -> None:
            record = await self._client.getone()
            note(record.partition, record.offset, record.value)

        with suppress(CancelledError):
            self._loop.run(within(NEXT_SECONDS, take()))

    def poll(self, note: Note) -> None:
        """Ask for lists of records."""

        async def poll() -> None:
            for records in (await self._client.getmany(timeout_ms=200)).values():
                for record in records:
                    note(record.partition, record.offset, record.value)

        self._loop.run(poll())

    def commit(self) -> None:
        """Commit."""
        self._loop.run(self._client.commit())

    def commit_soon(self) -> None:
        """Commit, and cancel that soon."""
        self._loop.run(within(COMMIT_SECONDS, self._client.commit()))

    def assigned(self) -> int:
        """Return how many partitions it is assigned."""
        return len(self._client.assignment())

    def is_at_the_end(self) -> bool:
        """Return whether its positions are the ends of its partitions."""

        async def is_at_the_end() -> bool:
            ends = await self._client.end_offsets(list(self._client.assignment()))
            return bool(ends) and all([await self._client.position(each) >= end for each, end in ends.items()])

        return bool(self._loop.run(is_at_the_end()))

    def close(self) -> None:
        """Stop it."""
        self._loop.run(self._client.stop())


class AIOKafka:
    """The library, with its loop."""

    name = distribution = "aiokafka"
    errors: type[Exception] = KafkaError
    alike: Mapping[str, str] = dict.fromkeys(EXPIRED, "the last error of a batch that has expired")
    alike_calls: Mapping[str, str] = {}

    def __enter__(self) -> "AIOKafka":
        """Start the loop."""
        self._loop = Loop()
        self._loop.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the loop."""
        self._loop.stop()

    def producer(self, face: Face, config: Config) -> Producer:
        """Return a producer."""
        settings = {name: value for name, value in config.items() if name not in NOT_TAKEN}
        settings = {"retry_backoff_ms": 50, **settings}
        settings["request_timeout_ms"] = config.get("delivery_timeout_ms", DELIVERY_MS)

        async def make() -> Any:
            return face.client_of(AIOKAFKA, CountingProducer, config=settings)  # inside of the loop that it lives in

        return Producer(self._loop, self._loop.run(make()), config)

    def consumer(self, face: Face, config: Config, *topics: str, assigned: str | None = None) -> Consumer:
        """Return a consumer."""
        settings = {name: value for name, value in config.items() if name not in NOT_TAKEN}
        settings = {"retry_backoff_ms": 50, **settings}

        async def start() -> Any:
            client = face.client_of(AIOKAFKA, AIOKafkaConsumer, *topics, config=settings)
            if assigned is not None:
                client.assign([TopicPartition(assigned, 0)])
            await client.start()
            return client

        return Consumer(self._loop, self._loop.run(start()))

    def error_type(self, error: BaseException) -> str:
        """Return Kafka's own name of what the broker answered, else the class."""
        name = getattr(error, "message", None) if isinstance(error, BrokerResponseError) else None
        return name if isinstance(name, str) else type(error).__name__
