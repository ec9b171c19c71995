"""FastAPI: one producer for the life of the application, and sends that do not block the event loop."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from kafka import KafkaProducer
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from telemetry import set_up

from otelkafka import wrap_producer

SERVERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "questions")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connect at the start, and end in this order: the producer's sends, then the export of their spans."""
    provider = set_up("web")
    app.state.producer = await asyncio.to_thread(lambda: wrap_producer(KafkaProducer(bootstrap_servers=SERVERS)))
    yield
    await asyncio.to_thread(app.state.producer.close)
    await asyncio.to_thread(provider.shutdown)


app = FastAPI(lifespan=lifespan)
FastAPIInstrumentor.instrument_app(app)  # the trace begins with its HTTP span


def send(text: str) -> int:
    """Send, and wait for the acknowledgement. Both block, so this runs in a thread."""
    return app.state.producer.send(TOPIC, text.encode()).get(timeout=10).offset


@app.post("/questions", status_code=201)
async def ask(question: str) -> dict[str, int]:
    """Answer when the broker has the record. `to_thread` carries the context: the send is a child of the HTTP span."""
    return {"offset": await asyncio.to_thread(send, question)}
