"""Flask: one producer for each process, made by the application's factory."""

import os

from flask import Flask, request
from kafka import KafkaProducer
from opentelemetry.instrumentation.flask import FlaskInstrumentor

from otelkafka import wrap_producer

SERVERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "questions")


def create_app() -> Flask:
    """Return the application. A server with several processes calls this in each of them."""
    app = Flask(__name__)
    FlaskInstrumentor().instrument_app(app)
    app.extensions["producer"] = producer = wrap_producer(KafkaProducer(bootstrap_servers=SERVERS))

    @app.post("/questions")
    def ask() -> tuple[dict[str, int], int]:
        sent = producer.send(TOPIC, request.form["question"].encode()).get(timeout=10)
        return {"offset": sent.offset}, 201

    return app
