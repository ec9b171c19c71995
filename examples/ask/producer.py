"""The service `kafka-producer`: each question that is posted becomes a record of the topic."""

import argparse
import itertools
import json
from typing import Any

from flask import Flask, request
from kafka import KafkaProducer
from kafka.errors import KafkaError
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor

from examples.ask.lifeline import when_released
from examples.ask.serving import make_server
from examples.ask.telemetry import telemetry
from examples.ask.traces import QUESTION
from otelkafka import ProducerOptions, wrap_producer

SERVICE = "kafka-producer"
KEY = b"wall"
LONGEST_NAME, LONGEST_QUESTION = 60, 280
# How long the page waits until it reports that Kafka is gone.
PATIENCE = 25.0
GIVES_UP = {
    "delivery_timeout_ms": 20_000,
    "request_timeout_ms": 15_000,
    "max_block_ms": 15_000,
    "enable_idempotence": False,
}


def make_app(producer: Any, topic: str, partitions: int) -> Flask:
    """Return the web service.

    Args:
        producer: a wrapped one.
        topic: where the questions go.
        partitions: how many it has: one has all questions under one key, several take turns.
    """
    app = Flask(SERVICE)
    turns = itertools.cycle(range(partitions))

    @app.post("/questions")
    def ask() -> tuple[dict[str, Any], int]:
        name = request.form.get("name", "").strip()[:LONGEST_NAME] or "somebody"
        question = request.form.get("question", "").strip()
        if not question or len(question) > LONGEST_QUESTION:
            return {"error": f"Write a question first, of {LONGEST_QUESTION} characters at most."}, 400
        span = trace.get_current_span()
        span.set_attributes({QUESTION: question, "ask.name": name})
        value = json.dumps({"name": name, "question": question}).encode()
        key, partition = (KEY, None) if partitions == 1 else (None, next(turns))
        try:
            sent = producer.send(topic, value, key, partition=partition).get(PATIENCE)
        except KafkaError as error:
            return {"error": f"Kafka did not take the question ({type(error).__name__}): ask again in a moment."}, 503
        place = {"partition": sent.partition, "offset": sent.offset}
        return {"name": name, "question": question, **place, **context_of(span)}, 201

    @app.get("/health")
    def health() -> str:
        return "ready"

    FlaskInstrumentor().instrument_app(app, excluded_urls="health")
    return app


def context_of(span: trace.Span) -> dict[str, Any]:
    """Return which trace a span belongs to, and whether it can be looked at."""
    context = span.get_span_context()
    return {"trace_id": f"{context.trace_id:032x}", "sampled": context.trace_flags.sampled}


def main() -> None:
    """Serve until the starter is gone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--client", type=json.loads, required=True, help="the client's configuration, as JSON")
    given = parser.parse_args()
    bare = KafkaProducer(client_id=SERVICE, **GIVES_UP, **client_config(given.client))
    with telemetry(SERVICE, SERVICE), wrap_producer(bare, ProducerOptions(pipeline_time=True)) as producer:
        server = make_server(make_app(producer, given.topic, given.partitions), given.port)
        when_released(server.shutdown)
        server.serve_forever()


def client_config(given: dict[str, Any]) -> dict[str, Any]:
    """Return a client's configuration as it was before JSON made lists of its tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


if __name__ == "__main__":
    main()
