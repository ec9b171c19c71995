"""Traces of otelkafka in a real Collector: whole traces are kept by what is in them, and all spans are counted."""

import time
from contextlib import suppress

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otelkafka import ConsumerOptions, ProducerOptions, wrap_consumer, wrap_producer
from otelkafka.testing import FakeCluster, FakeConsumer, FakeProducer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.once
ORDERS = 20


@pytest.fixture(scope="module")
def traces(collector):
    """Of `failed`, `waited` and all others, the trace ids; the services are two, each with a provider of its own."""
    shop, stock = provider("shop", collector), provider("stock", collector)
    cluster, known = FakeCluster(), {}
    producer = wrap_producer(FakeProducer(cluster), ProducerOptions(tracer_provider=shop))
    for kind in ("failed", "waited", *(f"other {number}" for number in range(ORDERS))):
        with shop.get_tracer("shop").start_as_current_span(f"order {kind}") as span:
            known[kind] = f"{span.get_span_context().trace_id:032x}"
            sent = time.time() - (60 if kind == "waited" else 0)
            producer.send("orders", kind.encode(), timestamp_ms=int(sent * 1000))
    bare = FakeConsumer("orders", cluster=cluster, group_id="stock")
    consumer = wrap_consumer(bare, ConsumerOptions(tracer_provider=stock))
    for record in consumer:
        with suppress(ValueError), consumer.process(record):
            if record.value == b"failed":
                raise ValueError
    shop.shutdown()
    stock.shutdown()
    wait_until(
        lambda: set(collector.kept) >= {known["failed"], known["waited"]}, "the decisions", lambda: collector.kept
    )
    collector.wait_for_decisions()
    return known


def provider(service, collector):
    made = TracerProvider(resource=Resource.create({"service.name": service}))
    made.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{collector.endpoint}/v1/traces")))
    return made


@pytest.mark.parametrize("kind", ["failed", "waited"])
def test_trace_that_matters_is_kept_whole(collector, traces, kind):
    """With the spans of both services."""
    assert sorted(collector.kept[traces[kind]]) == [f"order {kind}", "process orders", "send orders"]


def test_other_traces_are_not_kept(collector, traces):
    assert set(collector.kept) == {traces["failed"], traces["waited"]}


def test_all_spans_are_counted(collector, traces):
    """Kept or not, by topic, group and error."""
    count = lambda: [line for line in collector.metrics().splitlines() if is_of_processing(line)]
    wait_until(
        lambda: sum(float(line.rpartition(" ")[2]) for line in count()) == ORDERS + 2, "the spans", collector.metrics
    )
    assert any('error_type="ValueError"' in line and line.endswith(" 1") for line in count())
    assert all('messaging_consumer_group_name="stock"' in line for line in count())


def is_of_processing(line):
    return line.startswith("traces_span_metrics_calls_total{") and 'span_name="process orders"' in line
