"""A FastAPI service and an aiokafka worker in one trace: `python fastapi_service.py localhost:9092` prints it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

from otelkafka import Options, wrap_consumer, wrap_producer
from otelkafka.testing import SpanRecorder, span_tree

QUESTIONS, ANSWERS = "fastapi-questions", "fastapi-answers"
ASKED = ("Why is Kafka called Kafka?", "Where does the time go?", "Who kept it busy?")
WORK_SECONDS = 0.05
SETTINGS = {"auto_offset_reset": "earliest", "enable_auto_commit": False}


def make_service(options: Options, received: "asyncio.Queue[str]", **kafka: Any) -> FastAPI:
    """Make a service that sends each question to Kafka, and takes the answers from there.

    Args:
        options: the options of the clients.
        received: where the answers go.
        kafka: the configuration of the clients.
    """

    async def receive(consumer: Any) -> None:
        async for record in consumer:
            await received.put(record.value.decode())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        consumer = wrap_consumer(AIOKafkaConsumer(ANSWERS, group_id="service", **SETTINGS, **kafka), options)
        async with wrap_producer(AIOKafkaProducer(**kafka), options) as app.state.producer, consumer:
            task = asyncio.create_task(receive(consumer))
            yield
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    app = FastAPI(lifespan=lifespan)

    @app.post("/questions")
    async def ask(question: str) -> dict[str, int]:
        metadata = await app.state.producer.send_and_wait(QUESTIONS, question.encode())
        return {"offset": metadata.offset}

    return app


async def work(options: Options, count: int, **kafka: Any) -> None:
    """Answer so many questions, one by one."""
    bare = AIOKafkaConsumer(QUESTIONS, group_id="worker", **SETTINGS, **kafka)
    async with wrap_consumer(bare, options) as consumer, wrap_producer(AIOKafkaProducer(**kafka), options) as producer:
        async for record in consumer:
            await asyncio.sleep(WORK_SECONDS)
            await producer.send_and_wait(ANSWERS, b"an answer to: " + record.value)
            await consumer.commit()
            count -= 1
            if not count:
                break


async def run(recorder: SpanRecorder, **kafka: Any) -> list[str]:
    """Ask three questions at once, and return their answers."""
    options = Options(tracer_provider=recorder.tracer_provider)
    received: asyncio.Queue[str] = asyncio.Queue()
    app = make_service(options, received, **kafka)
    FastAPIInstrumentor.instrument_app(app, tracer_provider=recorder.tracer_provider, exclude_spans=["receive", "send"])
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")
    async with app.router.lifespan_context(app), client:
        worker = asyncio.create_task(work(options, len(ASKED), **kafka))
        await asyncio.gather(*(client.post("/questions", params={"question": each}) for each in ASKED))
        await worker
        return [await received.get() for _ in ASKED]


def report(recorder: SpanRecorder) -> None:
    """Print what that looked like, and where the time of each question went."""
    print("    start        took")
    print(span_tree(recorder.spans))
    for span in recorder.named(f"process {QUESTIONS}"):
        known = span.attributes or {}
        waited, busy = known["otelkafka.queue.duration"], known["otelkafka.queue.busy_duration"]
        print(f"offset {known['messaging.kafka.offset']} waited {waited:.3f} s, {busy:.3f} s of it for the worker")


def main() -> None:
    """Run it on the Kafka that the command line names, else on the one of this machine."""
    recorder = SpanRecorder()
    asyncio.run(run(recorder, bootstrap_servers=sys.argv[1:] or "localhost:9092"))
    report(recorder)


if __name__ == "__main__":
    main()
