"""The least that is taken for a client, with faults on cue; and what tests ask of the spans.

Clients that behave as kafka-python's own do, without a broker, are in `otelkafka.testing`.
"""

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.errors import MessageSizeTooLargeError
from opentelemetry import trace

from otelkafka import ConsumerOptions, ProducerOptions
from otelkafka.testing import fake_record
from tests.support.face import wrap_consumer, wrap_producer

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01".encode())


def traceparent(number, *, sampled=True):
    """A header with a context of its own for each number."""
    return ("traceparent", f"00-{number + 1:032x}-{number + 1:016x}-{'01' if sampled else '00'}".encode())


def record(offset, **more):
    """A record as a consumer hands it over, a tombstone written just now."""
    return fake_record(headers=[TRACEPARENT])._replace(offset=offset, **more)


class FakeConsumer:
    """Hands over the records that it was given; exceptions among them are raised."""

    config = {"group_id": "g", "bootstrap_servers": ["host:9092"], "client_id": "c"}

    def __init__(self, *records):
        self.records = list(records)
        self.closed = 0

    def __iter__(self):
        return self

    def __next__(self):
        if not self.records:
            raise StopIteration
        found = self.records.pop(0)
        if isinstance(found, BaseException):
            raise found
        return found

    def poll(self):
        polled, self.records = self.records, []
        if polled and isinstance(polled[0], BaseException):
            raise polled[0]
        found = {}
        for each in polled:
            found.setdefault(TopicPartition(each.topic, each.partition), []).append(each)
        return found

    def highwater(self, partition):
        return 10

    def assignment(self):
        return {TopicPartition("t", 0)}

    def close(self):
        self.closed += 1


class Metadata:
    """What a broker acknowledges."""

    topic, partition, offset = "t", 2, 7


class FakeFuture:
    """A future that is resolved when the test says so."""

    def __init__(self, exception=None):
        self.exception = exception
        self.is_done = exception is not None
        self.callbacks, self.errbacks = [], []

    def add_callback(self, function):
        self.callbacks.append(function)

    def add_errback(self, function):
        self.errbacks.append(function)

    def acknowledge(self, metadata=Metadata):
        for each in self.callbacks:
            each(metadata)

    def fail(self, error):
        for each in self.errbacks:
            each(error)


class FakeProducer:
    """Keeps what it is asked to send.

    Args:
        config: its configuration.
        too_large: how it refuses headers for their size: "raise" as kafka-python 3 does, "future" as 2.3.
    """

    def __init__(self, config=None, too_large=None):
        self.config = config or {}
        self.too_large = too_large
        self.calls = []
        self.futures = []

    @property
    def headers(self):
        return [headers for _, _, headers in self.calls]

    def send(self, topic, value=None, key=None, headers=None, partition=None, timestamp_ms=None):
        if headers and self.too_large == "raise":
            raise MessageSizeTooLargeError
        failed = MessageSizeTooLargeError() if headers and self.too_large == "future" else None
        self.futures.append(FakeFuture(failed))
        if failed is None:
            self.calls.append((topic, value, headers))
        return self.futures[-1]

    def close(self):
        pass


def consumer_of(recorder, *records, **options):
    return wrap_consumer(FakeConsumer(*records), ConsumerOptions(tracer_provider=recorder.tracer_provider, **options))


def producer_of(recorder, bare, **options):
    return wrap_producer(bare, ProducerOptions(tracer_provider=recorder.tracer_provider, **options))


def is_nothing_current():
    return not trace.get_current_span().get_span_context().is_valid


def options_of(recorder, **options):
    return ConsumerOptions(tracer_provider=recorder.tracer_provider, **options)


def ambient_of(recorder, name="ambient"):
    return recorder.tracer_provider.get_tracer("test").start_as_current_span(name)


def current():
    return trace.get_current_span().get_span_context()


def kinds(span):
    return [link.attributes["otelkafka.link.type"] for link in span.links]


class GroupConsumer(FakeConsumer):
    """Takes a listener, and calls it as its group would."""

    def subscribe(self, topics=(), pattern=None, listener=None):
        self.listener = listener


class Listener(ConsumerRebalanceListener):
    """Hears what becomes of partitions."""

    def __init__(self):
        self.heard = []

    def on_partitions_assigned(self, assigned):
        self.heard.append(("assigned", len(assigned)))

    def on_partitions_revoked(self, revoked):
        self.heard.append(("revoked", len(revoked)))

    def on_partitions_lost(self, lost):
        self.heard.append(("lost", len(lost)))
