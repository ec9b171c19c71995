"""What tracing aiokafka costs: the instrumentation's own cost a record, and what is kept of the throughput on a Kafka.

As `own_cost` and `end_to_end` for kafka-python. Run as a program it times one action under one mode: without `--face`
every face of it, with clients that do nothing, as JSON; with `--face` and `--servers` one face on a real Kafka, one
round for each line that it reads.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

import aiokafka
from aiokafka.structs import ConsumerRecord, TopicPartition
from opentelemetry import context, propagate, trace
from opentelemetry.trace import SpanKind

from benchmarks.faces import AIOKAFKA, ATTRIBUTES, CONSTANT, FACES, VALUE, HeaderGetter, client_of
from benchmarks.modes import MODES, OF_AIOKAFKA, configure
from benchmarks.stubs import A_DAY

BATCH = 500
PLACE = TopicPartition("t", 0)
Work = Callable[[int], Awaitable[Any]]


class Metadata:
    """What the broker acknowledges."""

    topic, partition, offset = "t", 0, 7


class Future:
    """Is acknowledged as soon as anybody follows it."""

    def done(self) -> bool:
        """Return that it is not yet."""
        return False

    def cancelled(self) -> bool:
        """Return that it was not."""
        return False

    def exception(self) -> None:
        """Return that it has none."""

    def result(self) -> type[Metadata]:
        """Return what the broker acknowledges."""
        return Metadata

    def add_done_callback(self, function: Callable[[Any], Any]) -> None:
        """Call it."""
        function(self)


class Connections:
    """What contrib and otelkafka read of a client."""

    cluster = None
    _client_id, _bootstrap_servers = "c", "host:9092"

    async def _wait_on_metadata(self, topic: str) -> None:
        pass


class Producer:
    """Sends nothing."""

    client = Connections()
    future = Future()
    _key_serializer = _value_serializer = _txn_manager = None

    def _partition(self, *_: Any) -> int:
        return 0

    async def send(
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        partition: Any = None,
        timestamp_ms: Any = None,
        headers: Any = None,
    ) -> Future:
        """Return a future."""
        return self.future


class Consumer:
    """Hands over records that are there already, over and over."""

    _client, _group_id = Connections(), "g"

    def __init__(self, sampled: bool = False) -> None:  # noqa: FBT001, FBT002 (one argument)
        self._records = records(sampled=sampled)
        self._rest = iter(self._records)

    async def getone(self, *_: Any) -> Any:
        """Return the next record; after the last one, the first."""
        for record in self._rest:
            return record
        self._rest = iter(self._records)
        return next(self._rest)

    async def getmany(self, *_: Any, timeout_ms: int = 0, max_records: int | None = None) -> dict[Any, list[Any]]:
        """Return them all."""
        return {PLACE: self._records}

    def __aiter__(self) -> "Consumer":
        """Iterate itself, as aiokafka's does."""
        return self

    async def __anext__(self) -> Any:
        """Return the next record, as aiokafka does."""
        return await self.getone()

    def highwater(self, _: Any) -> int:
        """Return an offset."""
        return 1_000_000

    def assignment(self) -> set[TopicPartition]:
        """Return the one partition."""
        return {PLACE}


def records(*, sampled: bool) -> list[Any]:
    """Return a batch of records with a context each, as OpenTelemetry's SDK writes it for a trace sampled or not."""
    flags, now = b"03" if sampled else b"02", int(time.time() * 1000) + A_DAY  # as those of `stubs`
    carried = [(("traceparent", b"00-%032x-%016x-" % (at + 1, at + 1) + flags),) for at in range(BATCH)]
    return [
        ConsumerRecord(PLACE.topic, 0, at, now, 0, b"k", VALUE, None, 1, len(VALUE), headers)
        for at, headers in enumerate(carried)
    ]


def sending(face: str, producer: Any, topic: str) -> Work:
    """Return what sends so many records, and returns their last future."""
    tracer = trace.get_tracer("minimum")

    async def send(count: int) -> Any:
        for _ in range(count):
            future = await producer.send(topic, VALUE)
        return future

    async def send_bare(count: int) -> Any:
        for _ in range(count):
            future = await producer.send(topic, VALUE, headers=CONSTANT)
        return future

    async def send_by_hand(count: int) -> Any:
        for _ in range(count):
            span = tracer.start_span("send t", None, SpanKind.PRODUCER, ATTRIBUTES)
            headers: dict[str, str] = {}
            propagate.inject(headers, trace.set_span_in_context(span))
            carried = [(name, value.encode()) for name, value in headers.items()]
            future = await producer.send(topic, VALUE, headers=carried)
            span.end()
        return future

    return {"bare": send_bare, "minimum": send_by_hand}.get(face, send)


def consuming(face: str, action: str, consumer: Any) -> Work:  # noqa: C901 (one function for each loop)
    """Return what consumes at least so many records, and returns how many."""
    tracer, getter = trace.get_tracer("minimum"), HeaderGetter()

    def process_by_hand(record: Any) -> None:
        parent = propagate.extract(record.headers, getter=getter)
        span = tracer.start_span("process t", parent, SpanKind.CONSUMER, ATTRIBUTES)
        token = context.attach(trace.set_span_in_context(span, parent))
        context.detach(token)
        span.end()

    async def iterate(count: int) -> int:
        done = 0
        async for _ in consumer:
            done += 1
            if done == count:
                break
        return done

    async def iterate_by_hand(count: int) -> int:
        done = 0
        async for record in consumer:
            process_by_hand(record)
            done += 1
            if done == count:
                break
        return done

    async def fetch(count: int) -> int:
        done = 0
        while done < count:
            for polled in (await consumer.getmany(timeout_ms=1000)).values():
                for record in polled:
                    if face == "minimum":
                        process_by_hand(record)
                    done += 1
        return done

    if action == "getmany":
        return fetch
    return iterate_by_hand if face == "minimum" else iterate


def work_of(face: str, action: str, mode: str) -> Work:
    """Return what does an action with a client that does nothing."""
    if action == "send":
        return sending(face, client_of(face, Producer, (), {}, {}, AIOKAFKA), "t")
    return consuming(face, action, client_of(face, Consumer, (mode == "always",), {}, {}, AIOKAFKA))


async def own_cost(action: str, mode: str, rounds: int, settle: Callable[[], Any]) -> dict[str, float]:
    """Return nanoseconds of the process's CPU time a record, of each face in turns: the median over the rounds."""
    works = {face: work_of(face, action, mode) for face in FACES}
    taken: dict[str, list[float]] = {face: [] for face in works}
    for _ in range(rounds + 1):
        for face, work in works.items():
            start = time.process_time_ns()
            await work(BATCH)
            settle()
            taken[face].append((time.process_time_ns() - start) / BATCH)
    return {face: round(median(times[1:]), 1) for face, times in taken.items()}


async def on_kafka(face: str, action: str, servers: str, topic: str, count: int) -> None:
    """Print the records a second of one face, for each line that is read."""
    if action == "send":
        config: dict[str, Any] = {"bootstrap_servers": servers, "linger_ms": 5}
        client = client_of(face, aiokafka.AIOKafkaProducer, (), config, {}, AIOKAFKA)
        work = sending(face, client, topic)
    else:
        config = {"bootstrap_servers": servers, "auto_offset_reset": "earliest"}
        client = client_of(face, aiokafka.AIOKafkaConsumer, (), config, {}, AIOKAFKA)
        client.assign([TopicPartition(topic, 0)])
        work = consuming(face, action, client)
    await client.start()
    while await asyncio.to_thread(sys.stdin.readline):
        if action != "send":
            client.seek(TopicPartition(topic, 0), 0)
        start = time.perf_counter()
        await work(count)
        if action == "send":
            await client.flush()
        print(json.dumps(round(count / (time.perf_counter() - start), 1)), flush=True)
    await client.stop()


def main() -> None:
    """Time one action under one mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=OF_AIOKAFKA)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--face", choices=FACES)
    parser.add_argument("--servers")
    parser.add_argument("--topic", default="t")
    parser.add_argument("--count", type=int, default=BATCH, help="records of a round")
    given = parser.parse_args()
    settle = configure(given.mode)
    if given.face:
        asyncio.run(on_kafka(given.face, given.action, given.servers, given.topic, given.count))
    else:
        print(json.dumps(asyncio.run(own_cost(given.action, given.mode, given.rounds, settle))))


if __name__ == "__main__":
    main()
