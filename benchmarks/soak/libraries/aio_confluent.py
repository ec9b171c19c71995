"""The async clients of confluent-kafka, as the scenarios use them: in one event loop, in a thread of its own."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, TopicPartition
from confluent_kafka.aio import AIOConsumer, AIOProducer

from benchmarks.faces import ASYNC_CONFLUENT_KAFKA
from benchmarks.soak.libraries import confluent
from benchmarks.soak.libraries.confluent import POLL_SECONDS, note_message, place_of, settings_of
from benchmarks.soak.libraries.library import Config, Face, Note, Place
from benchmarks.soak.libraries.loop import Blocking, Loop, Sent

BATCHES: dict[str, Any] = {"batch_size": 1}


class CountingProducer(AIOProducer):  # type: ignore[misc] # its module has no types
    """Counts the calls that reach the client."""

    calls = 0

    async def produce(self, *args: Any, **kwargs: Any) -> Any:
        """Count the call, and produce."""
        self.calls += 1
        return await super().produce(*args, **kwargs)


class Reported(Sent):
    """A record whose delivery report librdkafka's thread notes in its future, which the loop sees at its next step."""

    @property
    def is_done(self) -> bool:
        """Whether its future is done."""
        self._loop.run(asyncio.sleep(0))
        return super().is_done

    def get(self, timeout: float) -> Place:
        """Return where it was written."""
        self._loop.run(asyncio.sleep(0))
        return super().get(timeout)


class Producer(confluent.Producer):
    """A producer.

    Args:
        loop: the loop that it lives in.
        client: a client with a face.
    """

    def __init__(self, loop: Loop, client: Any) -> None:
        super().__init__(Blocking(loop, client))
        self._loop = loop

    def send(self, topic: str, value: bytes) -> Reported:  # type: ignore[override]
        """Produce a record."""
        return Reported(self._loop, self._client.produce(topic, value), place_of)


class Consumer(confluent.Consumer):
    """A consumer, whose messages are processed in a task of the loop.

    Args:
        loop: the loop that it lives in.
        client: a client with a face.
        most: how many messages a list has.
    """

    def __init__(self, loop: Loop, client: Any, most: int) -> None:
        super().__init__(Blocking(loop, client), most)
        self._loop = loop
        self._awaited = client

    def iterate(self, note: Note, is_enough: Callable[[], bool]) -> None:
        """Poll message by message in one task until it is enough, or none comes."""

        async def iterate() -> None:
            while not is_enough() and (message := await self._awaited.poll(POLL_SECONDS)) is not None:
                note_message(note, message)

        self._loop.run(iterate())

    def next(self, note: Note) -> None:
        """Poll a message."""

        async def take() -> None:
            message = await self._awaited.poll(POLL_SECONDS)
            if message is not None:
                note_message(note, message)

        self._loop.run(take())

    def poll(self, note: Note) -> None:
        """Consume a list of messages."""

        async def poll() -> None:
            for message in await self._awaited.consume(self._most, POLL_SECONDS):
                note_message(note, message)

        self._loop.run(poll())


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

    def producer(self, face: Face, config: Config) -> Producer:
        """Return a producer."""
        settings = settings_of(config)

        async def make() -> Any:  # inside of the loop that it lives in
            return _client_of(face, CountingProducer, settings, **BATCHES)

        return Producer(self._loop, self._loop.run(make()))

    def consumer(self, face: Face, config: Config, *topics: str, assigned: str | None = None) -> Consumer:
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
