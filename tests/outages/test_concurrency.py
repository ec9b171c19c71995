"""Threads, tasks, greenlets, forks, signals and the interpreter's end, on a real Kafka."""

import asyncio
import json
import subprocess
import sys
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from benchmarks.soak.watch import Watch
from otelkafka import ConsumerOptions, ProducerOptions, wrap_consumer, wrap_producer
from otelkafka.testing import MetricRecorder
from tests.outages.programs import RECORDS
from tests.support.waiting import PATIENCE

THREADS, PARTITIONS, EACH = 16, 4, 100


class Traced:
    """Wrapped clients on a topic of four partitions, and what was traced of them."""

    def __init__(self, kafka):
        self.topic = f"c-{uuid.uuid4().hex}"
        kafka.create_topic(self.topic, partitions=PARTITIONS)
        self.watch, self.metrics, self._exporter = Watch(), MetricRecorder(), InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.watch)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("test")
        self._servers, self._made = kafka.client_options, []

    def producer(self):
        options = ProducerOptions(tracer_provider=self.provider, meter_provider=self.metrics.meter_provider)
        return self._keep(wrap_producer(KafkaProducer(**self._servers), options))

    def consumer(self, *partitions, **options):
        config = {"auto_offset_reset": "earliest", "consumer_timeout_ms": int(PATIENCE * 1000), **self._servers}
        providers = {"tracer_provider": self.provider, "meter_provider": self.metrics.meter_provider}
        consumer = self._keep(wrap_consumer(KafkaConsumer(**config), ConsumerOptions(**providers, **options)))
        consumer.assign([TopicPartition(self.topic, partition) for partition in partitions or range(PARTITIONS)])
        return consumer

    def fill(self, count=EACH):
        producer = self.producer()
        for at in range(count * PARTITIONS):
            producer.send(self.topic, b"%d" % at, partition=at % PARTITIONS)
        producer.flush()

    def spans(self, operation):
        return [span for span in self._exporter.get_finished_spans() if span.name == f"{operation} {self.topic}"]

    def close(self):
        for client in self._made:
            client.close()
        self.watch.detach()

    def check(self):
        """Every span ended once, nothing failed, nothing is in flight or current."""
        counted = self.watch.counted()
        assert counted["unended"] == counted["ended twice"] == counted["failures of telemetry"] == 0
        assert not any(value for _, value in self.metrics.points("otelkafka.spans.in_flight"))
        assert not trace.get_current_span().get_span_context().is_valid

    def _keep(self, client):
        self._made.append(client)
        return client


@pytest.fixture
def traced(kafka):
    traced = Traced(kafka)
    yield traced
    traced.close()
    traced.check()


def places(spans):
    shown = [span.attributes for span in spans]
    return Counter((each["messaging.destination.partition.id"], each["messaging.kafka.offset"]) for each in shown)


def test_one_producer_in_sixteen_threads_while_metrics_are_read(traced):
    """Each send is a child of its own thread's span, and records its own position; the totals add up."""
    producer, stopped = traced.producer(), threading.Event()

    def send(number):
        with traced.tracer.start_as_current_span(f"thread {number}") as own:
            futures = [producer.send(traced.topic, b"v") for _ in range(EACH)]
        return own.get_span_context().span_id, [future.get(PATIENCE) for future in futures]

    def read():
        while not stopped.is_set():
            assert traced.metrics.metrics is not None

    with ThreadPoolExecutor(THREADS + 1) as pool:
        reading = pool.submit(read)
        try:
            done = dict(pool.map(send, range(THREADS)))
        finally:
            stopped.set()
        reading.result()
    sends = traced.spans("send")
    assert Counter(span.parent.span_id for span in sends) == dict.fromkeys(done, EACH)
    acknowledged = [metadata for each in done.values() for metadata in each]
    assert places(sends) == Counter((str(each.partition), each.offset) for each in acknowledged)
    assert sum(value for _, value in traced.metrics.points("messaging.client.sent.messages")) == THREADS * EACH


def test_consumers_in_threads_that_hand_records_to_pools(traced):
    """Each record is processed once in its own span, which is current where it is processed."""
    traced.fill()

    def process(consumer, record):
        with consumer.process(record) as span:
            assert trace.get_current_span() is span
            return record.partition, record.offset

    def consume(partition):
        consumer, found = traced.consumer(partition, process="manual"), []
        with ThreadPoolExecutor(4) as workers:
            while len(found) < EACH:
                for records in consumer.poll(timeout_ms=1000).values():
                    found += workers.map(lambda record: process(consumer, record), records)
        return found

    with ThreadPoolExecutor(PARTITIONS) as pool:
        found = [place for each in pool.map(consume, range(PARTITIONS)) for place in each]
    assert len(found) == len(set(found)) == EACH * PARTITIONS
    assert places(traced.spans("process")) == Counter((str(partition), offset) for partition, offset in found)


def test_records_in_tasks(traced):
    """Records that are processed in tasks at the same time each have their own current span and children."""
    traced.fill()
    consumer = traced.consumer(process="manual")

    async def work(record):
        with consumer.process(record) as span:
            await asyncio.sleep(0)
            with traced.tracer.start_as_current_span("work") as child:
                await asyncio.sleep(0)
                assert child.parent.span_id == span.get_span_context().span_id
            assert trace.get_current_span() is span

    async def consume():
        done = 0
        while done < EACH * PARTITIONS:
            polled = await asyncio.to_thread(consumer.poll, timeout_ms=1000)
            records = [record for each in polled.values() for record in each]
            await asyncio.gather(*map(work, records))
            done += len(records)

    asyncio.run(consume())
    assert set(places(traced.spans("process")).values()) == {1}
    assert len(traced.spans("process")) == EACH * PARTITIONS


def test_iterators_and_generators_that_are_dropped_elsewhere(traced):
    """A loop that is dropped in another thread, or in a generator, ends its span and leaves nothing current here."""
    traced.fill(1)
    consumer = traced.consumer()

    def records():
        yield from consumer

    for make in (lambda: iter(consumer), records):
        held = [make()]
        next(held[0])
        dropping = threading.Thread(target=held.clear)
        dropping.start()
        dropping.join()
        consumer.poll()
    consumer.close()


def test_consumer_inside_of_another_ones_loop(traced):
    """The inner record's span is current in the inner loop, the outer one's before and after it."""
    traced.fill(3)
    outer, inner = traced.consumer(0), traced.consumer(1)
    for walked, record in enumerate(outer, 1):
        around = trace.get_current_span()
        assert (record.partition, around.attributes["messaging.kafka.offset"]) == (0, record.offset)
        for _, within in zip(range(1), inner, strict=False):
            assert trace.get_current_span().attributes["messaging.destination.partition.id"] == "1"
            assert within.offset == record.offset
        del _
        assert trace.get_current_span() is around
        if walked == 3:
            break
    assert len(traced.spans("process")) == 6


@pytest.mark.parametrize("program", ["under_gevent", "forked", "ends_with_work_unfinished", "signalled"])
def test_program_ends_well(program, kafka):
    """It ends by itself, says nothing on stderr, and what it printed is what must come of it."""
    topic = f"p-{uuid.uuid4().hex}"
    kafka.create_topic(topic)
    command = [sys.executable, "-X", "dev", "-W", "ignore", "-m", "tests.outages.programs", program]
    done = subprocess.run(
        [*command, kafka.bootstrap_servers, topic],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,  # it says first what it waited for
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown = json.loads(done.stdout)
    assert shown == {**shown, **dict.fromkeys(shown.keys() & {"unended", "ended twice", "failures of telemetry"}, 0)}
    expected = {
        "under_gevent": {"got": 4 * RECORDS, "children": [RECORDS] * 4},
        "forked": {"child": 0, "before": RECORDS, "after": 2 * RECORDS},
        "ends_with_work_unfinished": {"ended": True},
        "signalled": {"enough": True, "handled": RECORDS, "leaked": False},
    }
    assert expected[program].items() <= shown.items()
