"""The fakes of `otelkafka.testing` with faults on cue, and what tests ask of the spans."""

from kafka import ConsumerRebalanceListener
from kafka.errors import MessageSizeTooLargeError
from opentelemetry import trace

from otelkafka import ConsumerOptions, ProducerOptions, testing
from otelkafka.testing import FakeFuture, fake_record
from tests.support.face import bare_of, process_of, wrap_consumer, wrap_producer

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01".encode())
HIGHWATER = 10


def traceparent(number, *, sampled=True):
    """A header with a context of its own for each number."""
    return ("traceparent", f"00-{number + 1:032x}-{number + 1:016x}-{'01' if sampled else '00'}".encode())


def record(offset, **more):
    """A record as a consumer hands it over, a tombstone written just now."""
    return fake_record(headers=[TRACEPARENT])._replace(offset=offset, **more)


class FakeConsumer(testing.FakeConsumer):
    """A consumer of a group, assigned the partitions of its records, else the one partition of topic `t`.

    Each partition reaches to offset 10, whatever was written. It commits nothing by itself.
    """

    def __init__(self, *records, **config):
        of_group = {"group_id": "g", "client_id": "c", "bootstrap_servers": ["host:9092"], "enable_auto_commit": False}
        super().__init__(records=records, **{**of_group, **config})
        if not records:
            self.cluster.create_topic("t")
            self.assign(self.cluster.partitions_of("t"))

    def highwater(self, partition):
        return HIGHWATER

    @property
    def listener(self):
        """What kafka-python would call when its group assigns and revokes partitions; the test calls it."""
        return self._subscription.listener


class FakeProducer(testing.FakeProducer):
    """A producer whose sends wait until the test acknowledges them, or lets them fail.

    Args:
        too_large: how it refuses headers for their size: "raise" as kafka-python 3 does, "future" as 2.3.
        error: what `send()` raises, once it has kept the call; None to return.
        cluster: where its records go.
        config: as a `KafkaProducer` takes it.

    Attributes:
        calls: topic, value and the very headers of each send that it did not refuse.
        futures: the future of each send, also of those that it refused by the future.
    """

    def __init__(self, too_large=None, error=None, cluster=None, **config):
        super().__init__(cluster, auto_complete=False, **config)
        self.too_large = too_large
        self.error = error
        self.calls = []
        self.futures = []

    @property
    def headers(self):
        return [headers for _, _, headers in self.calls]

    def send(self, topic, value=None, key=None, headers=None, partition=None, timestamp_ms=None):
        if headers and self.too_large == "raise":
            raise MessageSizeTooLargeError
        if headers and self.too_large == "future":
            return self._keep(failed(MessageSizeTooLargeError()))
        future = super().send(topic, value, key, headers, partition, timestamp_ms)
        self.calls.append((topic, value, headers))
        if self.error is not None:
            raise self.error
        return self._keep(future)

    def acknowledge_all(self):
        """Acknowledge what is neither acknowledged nor failed."""
        for future in self.futures:
            if not future.is_done:
                future.acknowledge()

    def _keep(self, future):
        self.futures.append(future)
        return future


def failed(error):
    """A future that has failed before anybody added a callback."""
    future = FakeFuture()
    future.fail(error)
    return future


class RepeatingFuture(FakeFuture):
    """A future that calls back each time it is resolved, where kafka-python's does so once."""

    def __init__(self):
        super().__init__()
        self._added = []

    def add_callback(self, function):
        self._added.append((function, True))
        return self

    def add_errback(self, function):
        self._added.append((function, False))
        return self

    def success(self, value):
        return self._call(value, succeeded=True)

    def failure(self, error):
        return self._call(error, succeeded=False)

    def _call(self, result, *, succeeded):
        for function, of_success in self._added:
            if of_success is succeeded:
                function(result)
        return self


class Listener(ConsumerRebalanceListener):
    """Keeps what becomes of partitions."""

    def __init__(self):
        self.calls = []

    def on_partitions_assigned(self, assigned):
        self.calls.append(("assigned", len(assigned)))

    def on_partitions_revoked(self, revoked):
        self.calls.append(("revoked", len(revoked)))

    def on_partitions_lost(self, lost):
        self.calls.append(("lost", len(lost)))


def write(consumer, *records):
    """Write more records for a consumer, traced or not."""
    for each in records:
        bare_of(consumer).cluster.write(each)


def fill(cluster, count=3, topic="t", partition=0):
    """Write records to a cluster, each in the same trace."""
    for offset in range(count):
        cluster.write(fake_record(topic, b"v", key=b"k", headers=[TRACEPARENT], partition=partition, offset=offset))


def attended_since(recorder, consumer, partition=0):
    """Since when a record of topic `t` could have been fetched, Unix time in nanoseconds; to be used with a clock.

    It is what the wait of a very old record says: busy and fetch are counted from then on.
    """
    with process_of(consumer, record(0, partition=partition, timestamp=0)):
        pass
    attributes = recorder.spans[-1].attributes
    parts = attributes["otelkafka.queue.busy_duration"] + attributes["otelkafka.queue.fetch_duration"]
    return recorder.spans[-1].start_time - round(parts * 1e9)


def consumer_of(recorder, *records, **options):
    return wrap_consumer(FakeConsumer(*records), options_of(recorder, **options))


def producer_of(recorder, bare, **options):
    return wrap_producer(bare, ProducerOptions(tracer_provider=recorder.tracer_provider, **options))


def options_of(recorder, **options):
    return ConsumerOptions(tracer_provider=recorder.tracer_provider, **options)


def ambient_of(recorder, name="ambient"):
    return recorder.tracer_provider.get_tracer("test").start_as_current_span(name)


def current():
    return trace.get_current_span().get_span_context()


def is_nothing_current():
    return not current().is_valid


def kinds(span):
    return [link.attributes["otelkafka.link.type"] for link in span.links]
