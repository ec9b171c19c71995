"""Celery: provider and producer are made in each process of the pool, after the fork."""

import os

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown
from kafka import KafkaProducer
from opentelemetry import trace
from telemetry import set_up

from otelkafka import TracedProducer, wrap_producer

SERVERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "questions")
app = Celery("tasks", broker=os.environ.get("CELERY_BROKER_URL", "redis://localhost:6379"))
app.config_from_envvar("CELERY_CONFIG_MODULE", silent=True)
producers: list[TracedProducer] = []


@worker_process_init.connect
def start(**_: object) -> None:
    """Run in each process of the pool, when it starts."""
    set_up("worker")
    producers.append(wrap_producer(KafkaProducer(bootstrap_servers=SERVERS)))


@worker_process_shutdown.connect
def stop(**_: object) -> None:
    """Run in each process when it ends: the sends first, then the export of their spans."""
    producers.pop().close()
    trace.get_tracer_provider().shutdown()


@app.task
def ask(question: str) -> int:
    """Send a record inside a span of the task."""
    with trace.get_tracer("tasks").start_as_current_span("ask"):
        return producers[0].send(TOPIC, question.encode()).get(timeout=10).offset
