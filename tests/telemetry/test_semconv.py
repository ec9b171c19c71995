"""Our names, units and types, held against the conventions."""

import importlib.metadata
import re

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otelkafka import ConsumerOptions, ProducerOptions, process_batch
from otelkafka.testing import FakeConsumer, FakeProducer, MetricRecorder
from tests.support.face import wrap_consumer, wrap_producer
from tests.support.fakes import record, traceparent
from tests.support.internals import semconv

CONVENTIONS = importlib.metadata.version("opentelemetry-semantic-conventions")
KNOWS_METRICS = int(re.match(r"0\.(\d+)b", CONVENTIONS).group(1)) >= 51

# Source: semantic conventions v1.44, registry of attributes; the package has the names and not the types.
TYPES = {
    "error.type": str,
    "messaging.batch.message_count": int,
    "messaging.client.id": str,
    "messaging.consumer.group.name": str,
    "messaging.destination.name": str,
    "messaging.destination.partition.id": str,
    "messaging.destination.template": str,
    "messaging.kafka.cluster.id": str,
    "messaging.kafka.message.key": str,
    "messaging.kafka.message.tombstone": bool,
    "messaging.kafka.offset": int,
    "messaging.operation.name": str,
    "messaging.operation.type": str,
    "messaging.system": str,
    "server.address": str,
    "server.port": int,
}


def test_names_of_attributes_are_the_conventions():
    """Those of the conventions are those of the installed package, where that knows them."""
    from opentelemetry.semconv._incubating.attributes import messaging_attributes as theirs

    ours = {name: value for name, value in vars(semconv).items() if name.startswith("MESSAGING_")}
    assert {n: v for n, v in vars(theirs).items() if n in ours} == {n: v for n, v in ours.items() if hasattr(theirs, n)}
    operations = {each.value for each in theirs.MessagingOperationTypeValues}
    assert {value for name, value in vars(semconv).items() if name.startswith("TYPE_")} <= operations
    assert semconv.SYSTEM_KAFKA in {each.value for each in theirs.MessagingSystemValues}


@pytest.fixture
def emitted(recorder):
    """Run clients through all that they do, and give what came of it."""
    metrics = MetricRecorder()
    providers = {"tracer_provider": recorder.tracer_provider, "meter_provider": metrics.meter_provider}
    bare = FakeProducer(auto_complete=False)
    producer = wrap_producer(bare, ProducerOptions(destination_template=lambda _: "t*", **providers))
    producer.send("t", None, b"key")
    producer.send("t", b"v")
    bare.complete_next()
    bare.error_next(OSError())
    bare = FakeConsumer(records=[record(0, key=b"k"), record(1)], group_id="g")
    consumer = wrap_consumer(bare, ConsumerOptions(poll_spans=True, **providers))
    consumer.poll()
    with process_batch([record(2, headers=[traceparent(1)])], ConsumerOptions(**providers)):
        pass
    bare.cluster.write(record(3))
    next(consumer)
    bare.error_next(OSError())
    with pytest.raises(OSError):
        next(consumer)
    return recorder, metrics


def test_types_of_values_are_the_conventions(emitted):
    """Every attribute of the conventions on a span, a link or a data point has its type."""
    spans, metrics = emitted
    shown = [dict(span.attributes) for span in spans.spans]
    shown += [dict(link.attributes) for span in spans.spans for link in span.links]
    shown += [attributes for name in metrics.metrics for attributes, _ in metrics.points(name)]
    of_the_conventions = [(k, v) for each in shown for k, v in each.items() if not k.startswith("otelkafka.")]
    assert {(name, type(value)) for name, value in of_the_conventions} <= set(TYPES.items())
    assert {name for name, _ in of_the_conventions} == set(TYPES) - {"messaging.kafka.cluster.id"}


@pytest.mark.skipif(not KNOWS_METRICS, reason=f"semantic conventions {CONVENTIONS} are older than these metrics")
def test_metrics_are_the_conventions(emitted):
    """Name, unit and kind of each metric of the conventions are those that their own package would make."""
    from opentelemetry.semconv._incubating.metrics import messaging_metrics as theirs

    _, metrics = emitted
    ours = {name: metric for name, metric in metrics.metrics.items() if name.startswith("messaging.")}
    known = {value for name, value in vars(semconv).items() if name.startswith("METRIC_")}
    assert set(ours) == {name for name in known if name.startswith("messaging.")}
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("theirs")
    for name in ours:
        create = getattr(theirs, f"create_{name.replace('.', '_')}")
        instrument = create(meter)
        measure = instrument.record if hasattr(instrument, "record") else instrument.add
        measure(1)
    ((scope,),) = [resource.scope_metrics for resource in reader.get_metrics_data().resource_metrics]
    for metric in scope.metrics:
        mine = ours[metric.name]
        assert (mine.unit, type(mine.data)) == (metric.unit, type(metric.data))
        assert getattr(mine.data, "is_monotonic", None) == getattr(metric.data, "is_monotonic", None)
