"""What tracing keeps of confluent-kafka's throughput on Kafka, beside the minimum by hand and contrib's.

`python -m benchmarks.confluent` prints a table; `--write` puts it into docs/confluent-kafka.md. Each figure is of a
process of its own; the processes take turns.
"""

import argparse
import gc
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.modes import configure
from benchmarks.page import between
from testbroker import start_broker

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "confluent-kafka.md"
FACES = ("bare", "minimum", "contrib", "wrapped", "instrumented")
ACTIONS = {
    "send": "`produce()`, with a `poll(0)` each",
    "poll": "`poll()`, one message each",
    "list": "`consume(500)`, its list iterated",
    "batch": "`consume(500)` and `process_batch()`",
}
MODES = ("ratio", "never", "always")
TRACEPARENT = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
SAMPLED = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
VALUE = b"v" * 100
COUNT = 200_000
WARM = 2000
Run = Callable[[int], int]


def fill(servers: str, topic: str, count: int, header: tuple[str, bytes]) -> None:
    """Write records that carry a context."""
    from confluent_kafka import Producer  # noqa: PLC0415 (of this process's instrumentation)

    producer = Producer({"bootstrap.servers": servers, "queue.buffering.max.messages": 1_000_000})
    for _ in range(count):
        producer.produce(topic, VALUE, headers=[header])
        producer.poll(0)
    producer.flush()


def make(face: str, kind: str, config: dict[str, Any]) -> Any:
    """Return a producer or a consumer under a face."""
    if face == "instrumented":
        from otelkafka.instrumentor import ConfluentKafkaInstrumentor  # noqa: PLC0415

        ConfluentKafkaInstrumentor().instrument(skip_dep_check=True)
    elif face == "contrib":
        from opentelemetry.instrumentation import confluent_kafka as contrib  # noqa: PLC0415

        contrib.ConfluentKafkaInstrumentor().instrument(skip_dep_check=True)
    import confluent_kafka  # noqa: PLC0415

    import otelkafka  # noqa: PLC0415

    client = getattr(confluent_kafka, kind)(config)
    if face != "wrapped":
        return client
    if kind == "Producer":
        return otelkafka.wrap_producer(client, otelkafka.ProducerOptions(config=config))
    return otelkafka.wrap_consumer(client, otelkafka.ConsumerOptions(config=config))


def sending(face: str, servers: str, topic: str) -> Run:
    """Return what sends records."""
    producer = make(face, "Producer", {"bootstrap.servers": servers, "queue.buffering.max.messages": 1_000_000})
    if face == "minimum":
        from benchmarks.faces import sending_by_hand  # noqa: PLC0415

        class Sender:
            @staticmethod
            def send(topic: str, value: bytes, headers: Any) -> None:
                producer.produce(topic, value, headers=headers)

        send = sending_by_hand(Sender, topic)
    elif face == "bare":
        headers = [TRACEPARENT]

        def send() -> Any:
            producer.produce(topic, VALUE, headers=headers)
    else:

        def send() -> Any:
            producer.produce(topic, VALUE)

    def run(count: int) -> int:
        for _ in range(count):
            send()
            producer.poll(0)
        producer.flush()
        return count

    return run


def receiving(face: str, action: str, servers: str, topic: str) -> Run:  # noqa: C901 (one case each)
    """Return what receives records."""
    config = {
        "bootstrap.servers": servers,
        "group.id": uuid.uuid4().hex,
        "auto.offset.reset": "earliest",
        "queued.min.messages": 1_000_000,
        "fetch.queue.backoff.ms": 1,  # by default it pauses for a second when it has fetched much
    }
    consumer = make(face, "Consumer", config)
    from confluent_kafka import TopicPartition  # noqa: PLC0415

    import otelkafka  # noqa: PLC0415

    consumer.assign([TopicPartition(topic, 0, 0)])
    process_batch = getattr(consumer, "process_batch", otelkafka.process_batch)
    walk = None
    if face == "minimum":
        from benchmarks.faces import walking_by_hand  # noqa: PLC0415
        from otelkafka._protocols import records_of  # noqa: PLC0415

        walk = walking_by_hand()

    def run(count: int) -> int:
        seen = size = 0
        while seen < count:
            if action == "poll":
                message = consumer.poll(1)
                if message is None or message.error() is not None:
                    continue
                if walk is not None:
                    walk(records_of([message]))
                size += len(message.value())
                seen += 1
                continue
            messages = consumer.consume(500, 0.02)  # which it waits for at the end
            if walk is not None:
                walk(records_of(messages))
            if action == "batch" and face in {"wrapped", "instrumented"}:
                with process_batch(messages):
                    for message in messages:
                        size += len(message.value())
            else:
                for message in messages:
                    size += len(message.value())
            seen += len(messages)
        return seen

    return run


def measure_one(given: argparse.Namespace) -> None:
    """Measure one case in this process, and print records a second, and CPU time a record in microseconds."""
    settle = configure(given.mode)
    if given.action == "send":
        run = sending(given.face, given.servers, given.topic)
    else:
        run = receiving(given.face, given.action, given.servers, given.topic)
    warmed = run(WARM)  # what the first record takes is of no interest
    gc.collect()
    started, used = time.perf_counter(), time.process_time()
    count = run(given.count - warmed)
    took, used = time.perf_counter() - started, time.process_time() - used
    settle()
    sys.stdout.write(json.dumps([count / took, used / count * 1e6]))


def measure(turns: int, count: int) -> dict[str, Any]:
    """Return the figures of all cases, by action, mode and face."""
    found: dict[str, Any] = {}
    with start_broker("kafka") as broker:
        topics = {}
        for name, header in (("ratio", TRACEPARENT), ("always", SAMPLED)):
            topics[name] = f"{name}-{uuid.uuid4().hex}"
            broker.create_topic(topics[name])
            fill(broker.bootstrap_servers, topics[name], count, header)
        broker.create_topic("sent")
        for _ in range(turns):
            for action in ACTIONS:
                for mode in MODES:
                    for face in FACES:
                        topic = "sent" if action == "send" else topics["always" if mode == "always" else "ratio"]
                        command = [sys.executable, "-m", "benchmarks.confluent", "--action", action, "--mode", mode]
                        command += ["--face", face, "--servers", broker.bootstrap_servers, "--topic", topic]
                        command += ["--count", str(count)]
                        ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
                        figures = found.setdefault(action, {}).setdefault(mode, {}).setdefault(face, [])
                        figures.append(json.loads(ran.stdout))
    return found


def table(found: dict[str, Any]) -> str:
    """Return the figures as a table."""
    lines = ["| action | mode | " + " | ".join(FACES) + " |", "|---" * (len(FACES) + 2) + "|"]
    for action, modes in found.items():
        for mode, faces in modes.items():
            bare = [rate for rate, _ in faces["bare"]]
            cells = []
            for face in FACES:
                rates = [rate for rate, _ in faces[face]]
                kept = median(rate / base for rate, base in zip(rates, bare, strict=True))
                used = median(used for _, used in faces[face])
                rate = f"{median(rates) / 1000:.0f}k/s" if face == "bare" else f"{kept:.2f}"
                cells.append(f"{rate} ({used:.1f})")
            lines.append(f"| {ACTIONS[action]} | {mode} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3, help="processes for each case")
    parser.add_argument("--count", type=int, default=COUNT, help="records for each case")
    parser.add_argument("--write", action="store_true", help="write the table into the page")
    for name in ("action", "mode", "face", "servers", "topic"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.action:
        measure_one(given)
        return
    text = table(measure(given.turns, given.count))
    sys.stdout.write(f"{text}\n")
    if given.write:
        PAGE.write_text(between(PAGE.read_text(), "costs", text, "benchmarks.confluent"))


if __name__ == "__main__":
    main()
