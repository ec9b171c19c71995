"""Programs that end in ways that a test cannot: forked, monkey-patched, or with work unfinished.

Each is called by its name, with the broker's address and a topic, and prints what came of it as JSON.
"""

import atexit
import json
import logging
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

if sys.argv[1:2] == ["under_gevent"]:
    from gevent import monkey

    monkey.patch_all()

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from benchmarks.soak.libraries import LIBRARIES
from benchmarks.soak.libraries.library import Face
from benchmarks.soak.watch import Watch
from otelkafka import wrap_consumer, wrap_producer
from testbroker.wait import PATIENCE

RECORDS, WORKERS = 50, 4


class Clients:
    """Wrapped clients on one topic, and what watches their spans.

    Args:
        servers: of Kafka.
        topic: with one partition.
        library: the library of the clients.
        face: how they are traced.
    """

    def __init__(self, servers: str, topic: str, library: str = "kafka-python", face: str = "wrapped") -> None:
        self.topic = topic
        self.servers = servers
        self.library = library
        self.face = face
        self.watch = Watch()
        self.provider = TracerProvider()
        self.provider.add_span_processor(self.watch)
        trace.set_tracer_provider(self.provider)

    def producer(self) -> Any:
        """Return a producer."""
        return wrap_producer(KafkaProducer(bootstrap_servers=self.servers))

    def consumer(self) -> Any:
        """Return a consumer that begins at the first record."""
        config = {"auto_offset_reset": "earliest", "consumer_timeout_ms": int(PATIENCE * 1000)}
        consumer = wrap_consumer(KafkaConsumer(bootstrap_servers=self.servers, **config))
        consumer.assign([TopicPartition(self.topic, 0)])
        return consumer

    def shown(self, **more: object) -> dict[str, Any]:
        """Return what came of it."""
        return {**self.watch.counted(), **more}


def read(consumer: Any, count: int) -> int:
    """Return how many records came, of so many."""
    got = 0
    for _ in consumer:
        got += 1
        if got == count:
            break
    return got


def under_gevent(clients: Clients) -> dict[str, Any]:
    """Send in greenlets, whose spans are children of their own, and consume."""
    import gevent  # noqa: PLC0415 (only this program needs it)

    exporter = InMemorySpanExporter()
    clients.provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer, producer, consumer = trace.get_tracer("test"), clients.producer(), clients.consumer()

    def work(number: int) -> None:
        with tracer.start_as_current_span(f"greenlet {number}"):
            for _ in range(RECORDS):
                producer.send(clients.topic, b"v").get(PATIENCE)

    gevent.joinall([gevent.spawn(work, number) for number in range(WORKERS)], raise_error=True)
    got = read(consumer, WORKERS * RECORDS)
    consumer.close()
    producer.close()
    sends = [span for span in exporter.get_finished_spans() if span.name == f"send {clients.topic}"]
    children = Counter(span.parent.span_id for span in sends if span.parent)
    return clients.shown(got=got, children=sorted(children.values()))


def forked(clients: Clients) -> dict[str, Any]:
    """Fork with clients in use: the child makes its own, the parent's go on."""
    producer, consumer = clients.producer(), clients.consumer()
    for _ in range(RECORDS):
        producer.send(clients.topic, b"before")
    producer.flush()
    before = read(consumer, RECORDS)
    child = os.fork()
    if child == 0:
        own, others = clients.producer(), clients.consumer()
        for _ in range(RECORDS):
            own.send(clients.topic, b"child")
        own.close()
        others_got = read(others, 2 * RECORDS)
        others.close()
        sys.stdout.flush()
        os._exit(0 if others_got == 2 * RECORDS else 1)
    _, status = os.waitpid(child, 0)
    for _ in range(RECORDS):
        producer.send(clients.topic, b"after")
    producer.flush()
    after = read(consumer, 2 * RECORDS)
    consumer.close()
    producer.close()
    return clients.shown(child=os.waitstatus_to_exitcode(status), before=before, after=after)


def ends_with_work_unfinished(clients: Clients) -> dict[str, Any]:
    """End with spans in flight, an open iteration, threads that consume, and metrics that are exported at the end."""
    exporter = ConsoleMetricExporter(out=sys.stderr, formatter=lambda _: "")  # they are read, not printed
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    metrics.set_meter_provider(MeterProvider([reader]))
    producer, consumer, other = clients.producer(), clients.consumer(), clients.consumer()
    for _ in range(RECORDS):
        producer.send(clients.topic, b"v").get(PATIENCE)
    iteration = iter(consumer)
    next(iteration)
    threading.Thread(target=lambda: [None for _ in other], daemon=True).start()
    for _ in range(RECORDS):
        producer.send(clients.topic, b"v")
    globals()["kept"] = (producer, consumer, iteration)
    return {"ended": True}


def signalled(clients: Clients) -> dict[str, Any]:
    """Send from a signal handler that interrupts sends and an iteration at any place.

    By a producer of its own: kafka-python's locks are not reentrant, a handler must not use the one it interrupts.
    """
    producer, other, consumer = clients.producer(), clients.producer(), clients.consumer()
    handled: list[Any] = []

    def handle(*_: object) -> None:
        handled.append(other.send(clients.topic, b"handler"))
        if len(handled) < RECORDS:
            signal.setitimer(signal.ITIMER_REAL, 0.001)

    other.send(clients.topic, b"first").get(PATIENCE)
    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    got = 0
    for _ in consumer:
        producer.send(clients.topic, b"body")
        got += 1
        if got >= 10 * RECORDS and len(handled) == RECORDS:
            break
    del _
    consumer.close()
    for each in (producer, other):
        each.close()
    return clients.shown(
        enough=got >= 10 * RECORDS,
        handled=sum(each.get(PATIENCE).offset > 0 for each in handled),
        leaked=trace.get_current_span().get_span_context().is_valid,
    )


def ends_in_an_outage(clients: Clients) -> dict[str, Any]:
    """End with records in flight and a record in process while there is no broker; print at last what has ended."""
    logging.lastResort = None  # what the client libraries log of the outage is another text each time
    exporter, watch = InMemorySpanExporter(), Watch()

    def report() -> None:
        errors = Counter(str((span.attributes or {}).get("error.type")) for span in exporter.get_finished_spans())
        print(json.dumps({**watch.counted(), "errors": errors}), flush=True)

    atexit.register(report)  # before the provider's own, so that it runs after that
    provider = TracerProvider()
    for processor in (watch, SimpleSpanProcessor(exporter)):
        provider.add_span_processor(processor)
    face = Face(clients.face, {"tracer_provider": provider})
    servers = {"bootstrap_servers": clients.servers}
    (library,) = (each() for each in LIBRARIES if each.name == clients.library)
    with library:
        producer = library.producer(face, servers)
        consumer = library.consumer(face, {**servers, "auto_offset_reset": "earliest"}, assigned=clients.topic)
        for sent in [producer.send(clients.topic, b"v") for _ in range(RECORDS)]:
            sent.get(PATIENCE)
        got: list[bytes] = []
        while not got:
            consumer.next(lambda _, __, value: got.append(value))
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(RECORDS):
            producer.send(clients.topic, b"v")
        globals()["kept"] = (library, producer, consumer)
    return {"ended": True}


PROGRAMS: dict[str, Callable[[Clients], dict[str, Any]]] = {
    program.__name__: program
    for program in (under_gevent, forked, ends_with_work_unfinished, ends_in_an_outage, signalled)
}


if __name__ == "__main__":
    print(json.dumps(PROGRAMS[sys.argv[1]](Clients(*sys.argv[2:]))), flush=True)
