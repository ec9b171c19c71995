"""Records in a pool of threads: handed over as they are, spent by the pool, and processed where the work is done."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from examples.patterns.stage import Stage
    from otelkafka import TracedConsumer

PATIENCE = 120
QUESTIONS = 2


def in_a_pool(consumer: TracedConsumer, answer: Callable[[Any], object], count: int) -> None:
    """Answer `count` questions in threads. The consumer has process="manual"."""

    def work(record: Any) -> None:
        with consumer.process(record):
            answer(record)

    with ThreadPoolExecutor() as executor:
        while count:
            for records in consumer.poll(timeout_ms=1000).values():
                count -= len(list(executor.map(work, records)))


def spent_by_a_pool(consumer: TracedConsumer, answer: Callable[[Any], object], count: int) -> None:
    """Answer `count` questions in threads, outside of their spans: `map` walks through the records before."""
    with ThreadPoolExecutor() as executor:
        while count:
            for records in consumer.poll(timeout_ms=1000).values():
                count -= len(list(executor.map(answer, records)))


def run(stage: Stage) -> None:
    """Ask questions, and let two groups answer them: `wall` in the spans of the records, `spent` beside them."""
    questions = stage.topic("questions")
    producer = stage.producer()
    for number in range(QUESTIONS):
        with stage.tracer.start_as_current_span("ask"):
            producer.send(questions, str(number).encode()).get(PATIENCE)

    def answer(_: Any) -> None:
        with stage.tracer.start_as_current_span("answer"):
            pass

    in_a_pool(stage.consumer(questions, "wall", process="manual"), answer, QUESTIONS)
    spent_by_a_pool(stage.consumer(questions, "spent"), answer, QUESTIONS)
