"""Clients with the same options, for tests of what is recorded although it was not sampled."""

from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from otelkafka import ConsumerOptions, ProducerOptions
from otelkafka.testing import MetricRecorder, SpanRecorder
from tests.support.face import wrap_consumer, wrap_producer
from tests.support.fakes import FakeConsumer, record, traceparent

REASON, ORIGINAL = "otelkafka.sampled.reason", "otelkafka.sampled.original_span_id"
NEVER = ParentBased(ALWAYS_OFF)
UNSAMPLED = traceparent(0, sampled=False)


class Side:
    """Clients with the same options, and what is recorded of them.

    Args:
        spans: None for a recorder under a sampler that follows its parent, and samples nothing by itself.
        metrics: None for a recorder of its own.
        options: of both clients; a producer does without those of consumers.
    """

    def __init__(self, spans=None, metrics=None, **options):
        self.spans = SpanRecorder(NEVER) if spans is None else spans
        self.metrics = metrics or MetricRecorder()
        providers = {"tracer_provider": self.spans.tracer_provider, "meter_provider": self.metrics.meter_provider}
        self.options = {**providers, **options}

    def consumer(self, *records, **more):
        return wrap_consumer(FakeConsumer(*records), self.consumer_options(**more))

    def consumer_options(self, **more):
        return ConsumerOptions(**{**self.options, **more})

    def producer(self, bare, **more):
        options = {name: value for name, value in self.options.items() if name != "sample_waits_over"}
        return wrap_producer(bare, ProducerOptions(**options, **more))

    def points(self, name, by="messaging.destination.name"):
        return {attributes.get(by): n for attributes, n in self.metrics.points(name)}

    def counted(self):
        """How many were recorded although they were not sampled, by the reason."""
        return self.points("otelkafka.sampled.records", REASON)

    def dropped(self):
        return self.points("otelkafka.telemetry.dropped", "otelkafka.drop.reason")


def late(offset=0, headers=(UNSAMPLED,), seconds=5, **more):
    """A record that has waited for so many seconds."""
    written = record(offset, headers=list(headers), **more)
    return written._replace(timestamp=written.timestamp - int(seconds * 1000))
