"""The async clients of confluent-kafka, as the scenarios use them: in one event loop, in a thread of its own."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.aio import AIOConsumer, AIOProducer

from benchmarks.faces import ASYNC_CONFLUENT_KAFKA
from benchmarks.soak.libraries import confluent
from benchmarks.soak.libraries.confluent import POLL_SECONDS, note_message, place_of, settings_of
from benchmarks.soak.libraries.library import Config, Face, Note, Place
from benchmarks.soak.libraries.loop import Loop, within
from testbroker.wait import PATIENCE

BATCHES: dict[str, Any] = {"batch_size": 1}


class CountingProducer(AIOProducer):  # type: ignore[misc] # its module has no types
    """Counts the calls that reach the client."""

    calls = 0

    async def produce(self, *args: Any, **kwargs: Any) -> Any:
        """Count the call, and produce."""
        self.calls += 1
        return await super().produce(*args, **kwargs)


class Sent:
    """A record that was sent.

    Args:
        loop: the loop of the client.
        future: the future of the client.
    """

    def __init__(self, loop: Loop, future: Any) -> None:
        self._loop = loop
        self._future = future
        self._waiting: Future[Place] = loop.begin(_place_of(future))

    @property
    def is_done(self) -> bool:
        """Whether its future is done."""
        self._loop.run(asyncio.sleep(0))  # the loop sees what librdkafka's thread has set
        return self._waiting.done()

    def get(self, timeout: float) -> Place:
        """Return where it was written."""
        self._loop.run(asyncio.sleep(0))
        return self._waiting.result(timeout)

    def give_up(self, timeout: float) -> None:
        """Await its future, and cancel that."""
        self._loop.run(within(timeout, _awaited(self._future)))


async def _awaited(future: Any) -> Message:
    message: Message = await future
    return message


async def _place_of(future: Any) -> Place:
    return place_of(await asyncio.shield(future))


class Producer:
    """A producer.

    Args:
        loop: the loop that it lives in.
        client: a client with a face.
    """

    def __init__(self, loop: Loop, client: Any) -> None:
        self._loop = loop
        self._client = client
        self._calls = 0

    @property
    def calls(self) -> int:
        """How many sends have reached the bare client."""
        return self._calls if self._client is None else int(self._client.calls)

    def send(self, topic: str, value: bytes) -> Sent:
        """Produce a record."""
        return Sent(self._loop, self._loop.run(self._client.produce(topic, value)))

    def flush(self, timeout: float) -> None:
        """Wait until all is reported."""
        left = self._loop.run(self._client.flush(timeout))
        if left:
            msg = f"{left} records were not reported in {timeout} s"
            raise TimeoutError(msg)

    def close(self, timeout: float) -> None:
        """Flush it, purge what is left, and close it: `close()` waits for all."""
        if self._loop.run(self._client.flush(timeout)):
            self._loop.run(self._client.purge())
        self._loop.run(self._client.close())

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
        self._loop.run(self._client.init_transactions(PATIENCE))

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
        loop: the loop that it lives in.
        client: a client with a face.
        most: how many messages a list has.
    """

    def __init__(self, loop: Loop, client: Any, most: int) -> None:
        self._loop = loop
        self._client = client
        self._most = most

    def iterate(self, note: Note, is_enough: Callable[[], bool]) -> None:
        """Poll message by message in one task until it is enough, or none comes."""

        async def iterate() -> None:
            while not is_enough() and (message := await self._client.poll(POLL_SECONDS)) is not None:
                note_message(note, message)

        self._loop.run(iterate())

    def next(self, note: Note) -> None:
        """Poll a message."""

        async def take() -> None:
            message = await self._client.poll(POLL_SECONDS)
            if message is not None:
                note_message(note, message)

        self._loop.run(take())

    def poll(self, note: Note) -> None:
        """Consume a list of messages."""

        async def poll() -> None:
            for message in await self._client.consume(self._most, POLL_SECONDS):
                note_message(note, message)

        self._loop.run(poll())

    def commit(self) -> None:
        """Commit what was handed over; where that is nothing, it is an error here alone."""
        try:
            self._loop.run(self._client.commit(asynchronous=False))
        except KafkaException as error:
            if error.args[0].code() != KafkaError._NO_OFFSET:
                raise

    def commit_soon(self) -> None:
        """Commit without waiting for an answer."""
        self._loop.run(self._client.commit())

    def assigned(self) -> int:
        """Return how many partitions it is assigned."""
        return len(self._loop.run(self._client.assignment()))

    def is_at_the_end(self) -> bool:
        """Return whether its positions are the ends of its partitions, where these have any records."""

        async def is_at_the_end() -> bool:
            assigned = await self._client.assignment()
            return bool(assigned) and all([await self._is_at_the_end(each) for each in assigned])

        return bool(self._loop.run(is_at_the_end()))

    async def _is_at_the_end(self, partition: TopicPartition) -> bool:
        low, high = await self._client.get_watermark_offsets(partition, timeout=PATIENCE)
        (position,) = await self._client.position([partition])
        if position.offset < 0:
            (position,) = await self._client.committed([partition], timeout=PATIENCE)
        return bool(low == high or position.offset >= high)

    def close(self) -> None:
        """Close it."""
        self._loop.run(self._client.close())


class AsyncConfluentKafka(confluent.ConfluentKafka):
    """The async clients of the library, with their loop."""

    name = "confluent-kafka, async"
    alike: Mapping[str, str] = {**confluent.ConfluentKafka.alike, "CancelledError": "purged"}

    def __enter__(self) -> "AsyncConfluentKafka":
        """Start the loop."""
        self._loop = Loop()
        self._loop.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the loop."""
        self._loop.stop()

    def producer(self, face: Face, config: Config) -> Producer:  # type: ignore[override]
        """Return a producer."""
        settings = settings_of(config)

        async def make() -> Any:  # inside of the loop that it lives in
            return _client_of(face, CountingProducer, settings, **BATCHES)

        return Producer(self._loop, self._loop.run(make()))

    def consumer(  # type: ignore[override]
        self, face: Face, config: Config, *topics: str, assigned: str | None = None
    ) -> Consumer:
        """Return a consumer."""
        alone = {} if assigned is None else {"group_id": assigned, "enable_auto_commit": False}
        settings = settings_of({**alone, **config})

        async def start() -> Any:
            client = _client_of(face, AIOConsumer, settings)
            if assigned is not None:
                await client.assign([TopicPartition(assigned, 0, OFFSET_BEGINNING)])
            if topics:
                await client.subscribe(list(topics))
            return client

        return Consumer(self._loop, self._loop.run(start()), config.get("max_poll_records", 500))


def _client_of(face: Face, client: type, settings: dict[str, Any], **more: Any) -> Any:
    return face.client_of(ASYNC_CONFLUENT_KAFKA, client, settings, config=more, options={"config": dict(settings)})
