"""What a trace is without the context in the headers, and with it: the same service, bare and wrapped."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from examples.patterns.stage import Stage

PATIENCE = 120
ASK_SECONDS, ANSWER_SECONDS = 0.005, 0.03


def ask_and_answer(producer: Any, consumer: Any, topic: str, tracer: Tracer) -> None:
    """Send one question and answer it, in spans as an application has them."""
    with tracer.start_as_current_span("ask"):
        time.sleep(ASK_SECONDS)
        producer.send(topic, b"why?").get(PATIENCE)
    for _ in islice(consumer, 1):
        with tracer.start_as_current_span("answer"):
            time.sleep(ANSWER_SECONDS)


def run(stage: Stage) -> None:
    """Do it with bare clients, then with wrapped ones."""
    questions = stage.topic("questions")
    producer, consumer = stage.producer(), stage.consumer(questions)
    consumer.poll(timeout_ms=100)  # it is there before the question is
    ask_and_answer(producer.__wrapped__, consumer.__wrapped__, questions, stage.tracer)
    ask_and_answer(producer, consumer, questions, stage.tracer)
