"""Traces through Kafka, from a send to the body of the consumer's loop: `python quickstart.py localhost:9092`."""

import sys
import time
from typing import Any

from kafka import KafkaConsumer, KafkaProducer

from otelkafka import Options, wrap_consumer, wrap_producer
from otelkafka.testing import SpanRecorder, span_tree

TOPIC = "quickstart"
QUESTIONS = ("Why is Kafka called Kafka?", "Where does the time go?", "Who kept it busy?")
WORK_SECONDS = 0.05


def run(recorder: SpanRecorder, **kafka: Any) -> None:
    """Send three questions at once and answer them one by one, which takes longer than asking."""
    tracer = recorder.tracer_provider.get_tracer("quickstart")
    options = Options(tracer_provider=recorder.tracer_provider)
    bare = KafkaConsumer(
        TOPIC,
        group_id="quickstart",
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


def report(recorder: SpanRecorder) -> None:
    """Print the spans as a tree, and how long each record waited."""
    print("    start        took")
    print(span_tree(recorder.spans))
    for span in recorder.spans:
        if span.name.startswith("process"):
            values = span.attributes or {}
            offset, waited = values["messaging.kafka.offset"], values["otelkafka.queue.duration"]
            busy = values["otelkafka.queue.busy_duration"]
            print(f"offset {offset} waited {waited:.3f} s; for {busy:.3f} s of these the consumer was busy")


def main() -> None:
    """Run it on the Kafka that the command line names, or on the one of this machine."""
    recorder = SpanRecorder()
    run(recorder, bootstrap_servers=sys.argv[1:] or "localhost:9092")
    report(recorder)


if __name__ == "__main__":
    main()
