"""What is kept of the bare client's throughput, on a real Kafka.

Run as a program it times one face of one action under one mode: for each line that it reads one round, whose records a
second it prints as JSON.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from benchmarks.faces import FACES, client_of, consuming, sending
from benchmarks.modes import MODES, ONE_IN, configure
from otelkafka import ConsumerOptions

COUNTS = {"send": 10_000, "iterate": 30_000, "poll": 30_000}  # a round takes about a third of a second
ACTIONS = tuple(COUNTS)
SENT, UNSAMPLED, SAMPLED = "sent", "unsampled", "sampled"


def fill(broker: Any, count: int = max(COUNTS.values())) -> None:
    """Make the topics, and fill those that are consumed with so many records."""
    broker.create_topic(SENT)
    for topic, one_in in ((UNSAMPLED, ONE_IN), (SAMPLED, 1)):
        broker.create_topic(topic)
        producer = KafkaProducer(**broker.client_options)
        for at in range(count):
            flags = b"02" if at % one_in else b"03"
            producer.send(topic, b"v" * 100, headers=[("traceparent", b"00-%032x-%016x-" % (at + 1, at + 1) + flags)])
        producer.close()


def sender(face: str, servers: str) -> Callable[[int], int]:
    """Return what sends so many records and waits for the last acknowledgement."""
    producer = client_of(face, KafkaProducer, (), {"bootstrap_servers": servers}, {})
    send = sending(face, producer, SENT)
    send().get(10)

    def run(count: int) -> int:
        for _ in range(count):
            send()
        producer.flush()
        return count

    return run


def consumer(face: str, action: str, servers: str, topic: str) -> Callable[[int], int]:
    """Return what consumes at least so many records from a topic's beginning."""
    config = {"bootstrap_servers": servers, "consumer_timeout_ms": 10_000}
    made = client_of(face, KafkaConsumer, (), config, {})
    made.assign([TopicPartition(topic, 0)])
    consume = consuming(face, action, made, ConsumerOptions())

    def run(count: int) -> int:
        made.seek_to_beginning()
        return consume(count)

    return run


def rate(run: Callable[[int], int], count: int) -> float:
    """Return records a second of one round."""
    start = time.perf_counter()
    done = run(count)
    return round(done / (time.perf_counter() - start), 1)


def main() -> None:
    """Time one face of one action under one mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("face", choices=FACES)
    parser.add_argument("--servers", required=True)
    parser.add_argument("--count", type=int, required=True, help="records of a round")
    given = parser.parse_args()
    configure(given.mode)
    if given.action == "send":
        run = sender(given.face, given.servers)
    else:
        run = consumer(given.face, given.action, given.servers, SAMPLED if given.mode == "always" else UNSAMPLED)
    for _ in sys.stdin:
        print(json.dumps(rate(run, given.count)), flush=True)


if __name__ == "__main__":
    main()
