"""A relay: consume, transform, produce."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from examples.patterns.stage import Stage
    from otelkafka import TracedConsumer, TracedProducer

PATIENCE = 120


def relay(consumer: TracedConsumer, producer: TracedProducer, answers: str, count: int | None = None) -> None:
    """Answer each question on another topic; `count` of them, or all that ever come."""
    for question in islice(consumer, count):
        answer = question.value.upper()
        sent = producer.send(answers, answer, key=question.key, headers=question.headers)
        sent.get(PATIENCE)  # a question is done with when its answer is written
        consumer.commit()


def run(stage: Stage) -> None:
    """Ask a question, relay it, and read the answer."""
    questions, answers = stage.topic("questions"), stage.topic("answers")
    producer = stage.producer()
    with stage.tracer.start_as_current_span("ask"):
        producer.send(questions, b"why?", headers=[("tenant", b"a")]).get(PATIENCE)
    relay(stage.consumer(questions, "wall"), producer, answers, count=1)
    for _ in islice(stage.consumer(answers, "readers"), 1):
        with stage.tracer.start_as_current_span("read"):
            pass
