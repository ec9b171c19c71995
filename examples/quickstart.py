"""Traces through Kafka, from a send into the body of the loop: `python quickstart.py localhost:9092` prints them."""

import sys
import time
from typing import Any

from kafka import KafkaConsumer, KafkaProducer

from otelkafka import Options, wrap_consumer, wrap_producer
from otelkafka.testing import SpanRecorder, span_tree

TOPIC = "questions"
QUESTIONS = ("Why is Kafka called Kafka?", "Where does the time go?", "Who kept it busy?")
WORK_SECONDS = 0.05


def run(recorder: SpanRecorder, **kafka: Any) -> None:
    """Send three questions at once and answer them one by one, which takes longer than asking."""
    tracer = recorder.tracer_provider.get_tracer("quickstart")
    options = Options(tracer_provider=recorder.tracer_provider)
    bare = KafkaConsumer(
        TOPIC,
        group_id="wall",
        auto_offset_reset="earliest",
        consumer_timeout_ms=20_000,
        **kafka,
    )
    with (
        wrap_producer(KafkaProducer(**kafka), options) as producer,
        wrap_consumer(bare, options) as consumer,
    ):
        for question in QUESTIONS:
            with tracer.start_as_current_span("ask"):
                producer.send(TOPIC, question.encode())
        for answered, _ in enumerate(consumer, start=1):
            with tracer.start_as_current_span("answer"):
                time.sleep(WORK_SECONDS)
            if answered == len(QUESTIONS):
                break


def tell(recorder: SpanRecorder) -> None:
    """Print what that looked like."""
    print("    start        took")
    print(span_tree(recorder.spans))
    for span in recorder.spans:
        if span.name.startswith("process"):
            told = span.attributes or {}
            waited, busy = told["otelkafka.queue.duration"], told["otelkafka.queue.busy_duration"]
            print(f"offset {told['messaging.kafka.offset']} waited {waited:.3f} s, {busy:.3f} s of it for the consumer")


def main() -> None:
    """Run it on the Kafka that the command line names, else on the one of this machine."""
    recorder = SpanRecorder()
    run(recorder, bootstrap_servers=sys.argv[1:] or "localhost:9092")
    tell(recorder)


if __name__ == "__main__":
    main()
