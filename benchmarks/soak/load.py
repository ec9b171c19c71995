"""One side of the soak: sends and consumes at full rate until its time is up, and reports how it fares.

Run as a program it prints a line of JSON a sample, the last with everything counted; it ends with its stdin.
"""

import argparse
import gc
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psutil
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from opentelemetry import metrics, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

from benchmarks.faces import client_of
from benchmarks.memory import in_flight
from benchmarks.modes import meters
from benchmarks.soak.watch import Nowhere, Watch

SIDES = ("bare", "wrapped")
STYLES = ("iterate", "poll")
SAMPLED = 0.1
MOST_BEHIND = 20_000
SAMPLE_SECONDS, VISIT_SAMPLES, VISIT_RECORDS = 5.0, 4, 10
WALK = 1000
PADDING = b"v" * 92


def topic_of(side: str, style: str) -> str:
    """Return the topic that a side consumes in this style; "visit" is that of its clients that come and go."""
    return f"soak-{side}-{style}"


class Stream:
    """What is sent to one topic, numbered from 0, and what is consumed of it.

    Args:
        side: "bare" or "wrapped".
        style: how it is consumed: "iterate" or "poll".
        servers: the servers of Kafka.
    """

    def __init__(self, side: str, style: str, servers: str) -> None:
        self.topic = topic_of(side, style)
        self.consumed = 0
        self.errors: Counter[str] = Counter()
        self.missing = self.written_twice = self.read_again = 0
        self._next_number = 0
        self._last_offset = -1
        config = {
            "bootstrap_servers": servers,
            "group_id": f"of {self.topic}",
            "auto_offset_reset": "earliest",
            "consumer_timeout_ms": 500,
        }
        self._consumer = client_of(side, KafkaConsumer, (self.topic,), config, {})
        self._walk: Callable[[], None] = self._iterate if style == "iterate" else self._poll

    @property
    def next_number(self) -> int:
        """The lowest number that was not consumed yet."""
        return self._next_number

    def run(self, stopped: threading.Event) -> None:
        """Consume, through every outage, until it is stopped; then close."""
        while not stopped.is_set():
            try:
                self._walk()
            except KafkaError as error:  # noqa: PERF203 (each round may fail)
                self.errors[type(error).__name__] += 1
                stopped.wait(0.1)
        self._consumer.close()

    def _iterate(self) -> None:
        for at, record in enumerate(self._consumer):
            self._note(record)
            if at == WALK:
                break

    def _poll(self) -> None:
        for records in self._consumer.poll(timeout_ms=500).values():
            for record in records:
                self._note(record)
        self._consumer.commit_async()

    def _note(self, record: Any) -> None:
        self.consumed += 1
        number = int.from_bytes(record.value[:8], "big")
        if record.offset <= self._last_offset:
            self.read_again += 1
            return
        self._last_offset = record.offset
        if number < self._next_number:
            self.written_twice += 1
            return
        self.missing += number - self._next_number
        self._next_number = number + 1


class Side:
    """A producer and a consumer of each style.

    Args:
        side: "bare" or "wrapped".
        servers: the servers of Kafka.
    """

    def __init__(self, side: str, servers: str) -> None:
        self._side = side
        self._servers = servers
        self._producer = client_of(side, KafkaProducer, (), {"bootstrap_servers": servers}, {})
        self.streams = [Stream(side, style, servers) for style in STYLES]
        self.sent = self.acknowledged = self.visits = 0
        self.errors: Counter[str] = Counter()
        self._sending, self._consuming = threading.Event(), threading.Event()
        self._sender = threading.Thread(target=self._send)
        self._consumers = [threading.Thread(target=stream.run, args=(self._consuming,)) for stream in self.streams]

    def start(self) -> None:
        """Send and consume in threads."""
        for thread in (self._sender, *self._consumers):
            thread.start()

    def stop(self, patience: float = 300) -> None:
        """Send no more, consume the rest, and close."""
        self._sending.set()
        self._sender.join()
        until = time.monotonic() + patience
        while self._behind() and time.monotonic() < until:
            time.sleep(0.05)
        self._consuming.set()
        for thread in self._consumers:
            thread.join()
        self._producer.close()

    def visit(self) -> None:
        """Open, use and close a producer and a consumer more."""
        topic = topic_of(self._side, "visit")
        config = {"bootstrap_servers": self._servers, "consumer_timeout_ms": 5000}
        try:
            with client_of(self._side, KafkaProducer, (), {"bootstrap_servers": self._servers}, {}) as producer:
                futures = [producer.send(topic, PADDING) for _ in range(VISIT_RECORDS)]
                offset = futures[0].get(10).offset
            with client_of(self._side, KafkaConsumer, (), config, {}) as consumer:
                consumer.assign([TopicPartition(topic, 0)])
                consumer.seek(TopicPartition(topic, 0), offset)
                for _ in range(VISIT_RECORDS):
                    next(consumer)
        except (KafkaError, StopIteration) as error:
            self.errors[f"visit {type(error).__name__}"] += 1
        self.visits += 1

    def counted(self) -> dict[str, Any]:
        """Return what was counted so far."""
        errors = sum((stream.errors for stream in self.streams), self.errors.copy())
        return {
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "consumed": sum(stream.consumed for stream in self.streams),
            "missing": sum(stream.missing for stream in self.streams) + self._behind(),
            "written twice": sum(stream.written_twice for stream in self.streams),
            "read again": sum(stream.read_again for stream in self.streams),
            "errors": dict(errors),
            "visits": self.visits,
        }

    def _behind(self) -> int:
        return self.sent - sum(stream.next_number for stream in self.streams)

    def _send(self) -> None:
        """Send to the topics in turns, and wait while too much is not consumed yet."""
        while not self._sending.is_set():
            number = (self.sent // len(STYLES)).to_bytes(8, "big")
            for stream in self.streams:
                future = self._producer.send(stream.topic, number + PADDING)
                future.add_callback(self._note_acknowledged)
                future.add_errback(self._note_failed)
                self.sent += 1
            while self._behind() > MOST_BEHIND and not self._sending.is_set():
                time.sleep(0.01)
        self._producer.flush()

    def _note_acknowledged(self, _: Any) -> None:
        self.acknowledged += 1

    def _note_failed(self, error: BaseException) -> None:
        self.errors[f"send {type(error).__name__}"] += 1


def configure() -> tuple[Watch, Any]:
    """Configure OpenTelemetry as a service does; return what watches the spans, and what reads the metrics."""
    watch = Watch()
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(SAMPLED))
    provider.add_span_processor(watch)
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    trace.set_tracer_provider(provider)
    meter_provider, reader = meters()
    metrics.set_meter_provider(meter_provider)
    return watch, reader


def sample(side: Side, started: float) -> dict[str, Any]:
    """Return how the process fares at this moment."""
    gc.collect()
    process = psutil.Process()
    return {
        "seconds": round(time.monotonic() - started, 1),
        "memory": process.memory_info().rss,
        "threads": threading.active_count(),
        "files": process.num_fds(),
        "consumed": sum(stream.consumed for stream in side.streams),
    }


def end_with_starter() -> None:
    """End this process when its stdin does."""
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Soak until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("--servers", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()
    threading.Thread(target=end_with_starter, daemon=True).start()
    watch, reader = configure()
    side, started, samples = Side(given.side, given.servers), time.monotonic(), 0
    side.start()
    while time.monotonic() - started < given.seconds:
        time.sleep(SAMPLE_SECONDS)
        samples += 1
        if samples % VISIT_SAMPLES == 0:
            side.visit()
        reader.get_metrics_data()
        print(json.dumps(sample(side, started)), flush=True)
    side.stop()
    counted = {**side.counted(), **watch.counted(), "in flight": in_flight(reader)}
    print(json.dumps(counted), flush=True)


if __name__ == "__main__":
    main()
