"""One trace from a send through Kafka into the body of the loop, on a Kafka of its own, printed as a tree."""

import time

from kafka import KafkaConsumer, KafkaProducer

from brokers import start_broker
from otelkafka import ConsumerOptions, ProducerOptions, wrap_consumer, wrap_producer
from otelkafka.testing import SpanRecorder, span_tree

QUESTIONS = ("Why is Kafka called Kafka?", "Where does the time go?", "Who kept it busy?")
WORK_SECONDS = 0.05


def run(recorder: SpanRecorder) -> None:
    """Send three questions at once and answer them one by one, which takes longer than asking."""
    tracer = recorder.tracer_provider.get_tracer("quickstart")
    with start_broker() as broker:
        print(f"on {broker.description}")
        broker.create_topic("questions")
        with (
            wrap_consumer(
                KafkaConsumer(
                    "questions", auto_offset_reset="earliest", consumer_timeout_ms=20_000, **broker.client_options
                ),
                ConsumerOptions(tracer_provider=recorder.tracer_provider),
            ) as consumer,
            wrap_producer(
                KafkaProducer(**broker.client_options), ProducerOptions(tracer_provider=recorder.tracer_provider)
            ) as producer,
        ):
            for question in QUESTIONS:
                with tracer.start_as_current_span("ask"):
                    producer.send("questions", question.encode())
            producer.flush()
            for answered, _ in enumerate(consumer, start=1):
                with tracer.start_as_current_span("answer"):
                    time.sleep(WORK_SECONDS)
                if answered == len(QUESTIONS):
                    break


def main() -> None:
    """Print what that looked like."""
    recorder = SpanRecorder()
    run(recorder)
    print("    start        took")
    print(span_tree(recorder.spans))
    for span in recorder.named("process questions"):
        told = span.attributes or {}
        print(
            f"offset {told['messaging.kafka.offset']} waited {told['otelkafka.queue.duration']:.3f} s,"
            f" of it {told['otelkafka.queue.busy_duration']:.3f} s while the consumer ran its own code"
        )


if __name__ == "__main__":
    main()
