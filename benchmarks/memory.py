"""What is left in memory after a million records sent and consumed, sampled one in 10,000, with metrics on.

Run as a program it prints the growth of the resident memory in bytes, what is in flight, and the threads, as JSON.
"""

import argparse
import gc
import json
import threading
from statistics import median
from typing import Any

import psutil
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from opentelemetry import metrics

from benchmarks.faces import client_of, consuming, sending
from benchmarks.modes import configure, meters
from otelkafka import ConsumerOptions

TOPIC = "memory"
WARM_UP = 50
"""How many chunks come before: in the first half a million records the allocator of any client takes a step or two."""
AT_EITHER_END = 20
"""How many chunks' ends are looked at: a single look shows what the allocator happens to hold."""


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def in_flight(reader: Any) -> int:
    """Return how many send spans wait for their acknowledgement."""
    data = reader.get_metrics_data()
    scopes = [scope for resource in (data.resource_metrics if data else ()) for scope in resource.scope_metrics]
    found = [each for scope in scopes for each in scope.metrics if each.name == "otelkafka.spans.in_flight"]
    return sum(point.value for each in found for point in each.data.data_points)


def main() -> None:
    """Send and consume in turns, and look at the memory before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("face", choices=("bare", "wrapped", "instrumented"))
    parser.add_argument("--servers", required=True)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--chunk", type=int, default=10_000, help="sent, then consumed, in turns")
    given = parser.parse_args()
    provider, reader = meters()
    metrics.set_meter_provider(provider)
    configure("ratio")
    config = {"bootstrap_servers": given.servers}
    topic = f"{TOPIC}-{given.face}"
    producer = client_of(given.face, KafkaProducer, (), config, {})
    consumer = client_of(given.face, KafkaConsumer, (), {**config, "auto_offset_reset": "earliest"}, {})
    consumer.assign([TopicPartition(topic, 0)])
    send, consume = (
        sending(given.face, producer, topic),
        consuming(given.face, "iterate", consumer, ConsumerOptions()),
    )
    seen = []
    for _ in range(WARM_UP + given.count // given.chunk):
        for _ in range(given.chunk):
            send()
        producer.flush()
        consume(given.chunk)
        seen.append(resident())
    grown = median(seen[-AT_EITHER_END:]) - median(seen[WARM_UP:][:AT_EITHER_END])
    found = {"grown": grown, "in_flight": in_flight(reader), "threads": threading.active_count()}
    consumer.close()
    producer.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
