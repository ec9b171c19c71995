"""The metrics, each with its instrument, unit, buckets and attributes."""

import gc
import os
import signal
import threading
import weakref
from contextlib import suppress

import pytest
from kafka import TopicPartition
from kafka.errors import MessageSizeTooLargeError, TopicAuthorizationFailedError
from opentelemetry import context, metrics
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased

import otelkafka
from otelkafka import ConsumerOptions, ProducerOptions, process, process_batch, testing
from otelkafka.testing import MetricRecorder, SpanRecorder, fake_record
from tests.support.face import bare_of, process_batch_of, process_of, wrap_consumer, wrap_producer
from tests.support.fakes import FakeConsumer, FakeProducer, failed, record, traceparent, write
from tests.support.internals import ConsumerTime, has_instruments
from tests.support.sides import NEVER, Side, late
from tests.support.waiting import PATIENCE

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)  # the conventions'
QUEUE_BUCKETS = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14400)
OF_T = {"messaging.system": "kafka", "messaging.destination.name": "t"}
SERVER = {"server.address": "host", "server.port": 9092}
SEND = {**OF_T, **SERVER, "messaging.operation.name": "send"}
PROCESS = {
    **OF_T,
    **SERVER,
    "messaging.operation.name": "process",
    "messaging.destination.partition.id": "0",
    "messaging.consumer.group.name": "g",
}
PLACE = {name: PROCESS[name] for name in (*OF_T, "messaging.destination.partition.id", "messaging.consumer.group.name")}


class Refusing(FakeProducer):
    """A producer that refuses every record by the future, as kafka-python does for want of metadata.

    Args:
        refusal: the error.
    """

    def __init__(self, refusal):
        super().__init__()
        self.refusal = refusal

    def send(self, *_, **__):
        return failed(self.refusal)


@pytest.fixture
def recorder():
    return MetricRecorder()


@pytest.fixture(params=["sampled", "unsampled", "no SDK"])
def spans(request):
    if request.param == "no SDK":
        return {}
    sampler = None if request.param == "sampled" else ALWAYS_OFF
    return {"tracer_provider": SpanRecorder(sampler).tracer_provider}


def producer_of(recorder, bare=None, **options):
    bare = bare or FakeProducer(bootstrap_servers="host:9092", client_id="p")
    return wrap_producer(bare, ProducerOptions(meter_provider=recorder.meter_provider, **options))


def consumer_of(recorder, *records, **options):
    return wrap_consumer(FakeConsumer(*records), ConsumerOptions(meter_provider=recorder.meter_provider, **options))


def test_send_is_counted_and_measured_with_any_span(recorder, spans):
    """A counter and a histogram, with the attributes of the conventions, whatever becomes of the span."""
    producer = producer_of(recorder, **spans)
    producer.send("t", b"v").acknowledge()
    producer.send("t", b"v")
    sent = {**SEND, "messaging.destination.partition.id": "0"}
    assert recorder.points("messaging.client.sent.messages") == [(sent, 1)]
    assert recorder.points("messaging.client.operation.duration") == [({**sent, "messaging.operation.type": "send"}, 1)]
    metric = recorder.metrics["messaging.client.operation.duration"]
    assert (metric.unit, tuple(metric.data.data_points[0].explicit_bounds)) == ("s", BUCKETS)
    assert recorder.metrics["messaging.client.sent.messages"].unit == "{message}"


def test_failed_sends_carry_their_error(recorder, spans):
    """Reported by the future, never resolved: each is counted once, with its error.type."""
    producer = producer_of(recorder, **spans)
    producer.send("t", b"v").fail(ValueError())
    producer.send("t", b"v")
    producer.close()
    found = {
        shown["error.type"]: (shown["messaging.destination.name"], n)
        for shown, n in recorder.points("messaging.client.sent.messages")
    }
    assert found == {"ValueError": ("t", 1), "NotAcknowledgedError": ("t", 1)}
    durations = recorder.points("messaging.client.operation.duration")
    assert sorted(shown["error.type"] for shown, _ in durations) == sorted(found)


def no_text(value):
    raise ValueError(value)


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (lambda: FakeProducer(value_serializer=no_text), b"v"),
        (FakeProducer, 5),
        (lambda: FakeProducer(too_large="raise", error=MessageSizeTooLargeError()), b"v"),
        (lambda: Refusing(TopicAuthorizationFailedError()), b"v"),
        (lambda: Refusing(MessageSizeTooLargeError()), b"v"),
    ],
    ids=["serializer", "type", "size", "metadata", "size by the future"],
)
@pytest.mark.parametrize("max_in_flight", [100, 0])
def test_record_that_the_client_refused_is_no_sent_message(recorder, spans, make, value, max_in_flight):
    """The conventions: what was created and not sent is not counted. Its operation has a duration, with its error."""
    producer = producer_of(recorder, make(), max_in_flight=max_in_flight, **spans)
    with suppress(Exception):
        producer.send("t", value)
    producer.close()
    assert recorder.points("messaging.client.sent.messages") == []
    ((shown, count),) = recorder.points("messaging.client.operation.duration")
    assert (shown["messaging.operation.name"], count) == ("send", 1)
    assert shown["error.type"] in {"ValueError", "TypeError", "MESSAGE_SIZE_TOO_LARGE", "TOPIC_AUTHORIZATION_FAILED"}


def test_duration_is_the_spans(recorder, clock):
    """The histogram has the span's own duration, and its context, by which exemplars lead to the trace."""
    spans = SpanRecorder()
    producer = producer_of(recorder, tracer_provider=spans.tracer_provider)
    producer.send("t", b"v").acknowledge()
    consumer = consumer_of(recorder, record(0), tracer_provider=spans.tracer_provider)
    for _ in consumer:
        clock.advance(0.002)
    found = recorder.metrics  # which resets the exemplars
    for name, span in zip(
        ("messaging.client.operation.duration", "messaging.process.duration"), spans.spans, strict=True
    ):
        (point,) = found[name].data.data_points
        assert point.sum == pytest.approx((span.end_time - span.start_time) / 1e9)
        assert [each.span_id for each in point.exemplars] == [span.context.span_id]


def test_processing_is_measured_with_any_span(recorder, spans):
    """process: its duration and the queue's, consumed and without_context by topic, whatever becomes of the span."""
    consumer = consumer_of(recorder, record(0), record(1, headers=[]), **spans)
    list(consumer)
    assert recorder.points("messaging.process.duration") == [(PROCESS, 2)]
    assert recorder.points("otelkafka.queue.duration") == [(PROCESS, 2)]
    assert recorder.points("otelkafka.records.without_context") == [(PROCESS, 1)]
    assert recorder.points("messaging.client.consumed.messages") == [
        ({**PROCESS, "messaging.operation.name": "poll"}, 2)
    ]
    assert recorder.points("messaging.client.operation.duration") == []
    metric = recorder.metrics["otelkafka.queue.duration"]
    assert (metric.unit, tuple(metric.data.data_points[0].explicit_bounds)) == ("s", QUEUE_BUCKETS)
    assert metric.data.data_points[0].sum < 5


def test_failed_processing_carries_its_error(recorder):
    """What the body raised is the error.type of the process duration."""
    consumer = consumer_of(recorder, process="manual")
    with pytest.raises(ValueError), process_of(consumer, record(0)):
        raise ValueError
    assert recorder.points("messaging.process.duration") == [({**PROCESS, "error.type": "ValueError"}, 1)]


def test_batch_is_measured_once_with_the_longest_wait(recorder, spans, clock):
    """A batch: one process duration, one queue duration, each record without a context counted."""
    now = clock.now // 1_000_000
    records = [record(0, timestamp=now - 9000), record(1, headers=[]), record(2, headers=[("traceparent", b"junk")])]
    with process_batch(records, ConsumerOptions(meter_provider=recorder.meter_provider, **spans)):
        pass
    ((_, count),) = recorder.points("messaging.process.duration")
    (point,) = recorder.metrics["otelkafka.queue.duration"].data.data_points
    assert (count, point.count) == (1, 1)
    assert point.sum == 9
    assert [value for _, value in recorder.points("otelkafka.records.without_context")] == [2]


def test_poll_is_measured_where_it_returns_records_or_raises(recorder):
    """A poll() that returns records or raises, an iteration that fails; never an empty poll nor each next()."""
    consumer = consumer_of(recorder, record(0), record(1, partition=1))
    consumer.poll()
    consumer.poll()
    assert list(consumer) == []
    shown = {**OF_T, **SERVER, "messaging.operation.name": "poll", "messaging.operation.type": "receive"}
    shown["messaging.consumer.group.name"] = "g"
    assert recorder.points("messaging.client.operation.duration") == [(shown, 1)]
    consumed = {
        shown["messaging.destination.partition.id"]: n
        for shown, n in recorder.points("messaging.client.consumed.messages")
    }
    assert consumed == {"0": 1, "1": 1}
    bare_of(consumer).error_next(OSError("gone"))
    with pytest.raises(OSError):
        next(consumer)
    assert ({**shown, "error.type": "OSError"}, 1) in recorder.points("messaging.client.operation.duration")


def test_lag_is_of_the_last_record_and_goes_with_its_partition(recorder):
    """Per assigned partition, as of the last record handed over; gone when the partition is revoked."""
    consumer = wrap_consumer(FakeConsumer(), ConsumerOptions(meter_provider=recorder.meter_provider))
    consumer.subscribe(["t"])
    listener = bare_of(consumer).listener
    listener.on_partitions_assigned([TopicPartition("t", 0), TopicPartition("t", 1)])
    write(consumer, record(2), record(5), record(7, partition=1))
    consumer.poll()
    other = {**PLACE, "messaging.destination.partition.id": "1"}
    assert recorder.points("otelkafka.consumer.lag") == [(PLACE, 4), (other, 2)]
    listener.on_partitions_revoked([TopicPartition("t", 0)])
    assert recorder.points("otelkafka.consumer.lag") == [(other, 2)]
    del consumer, listener
    gc.collect()
    assert recorder.points("otelkafka.consumer.lag") == []


def test_age_shows_a_handler_that_hangs(recorder, clock):
    """How long the record in process has been so; the longest where several are, none where none is."""
    consumer = consumer_of(recorder, record(0))
    for _ in consumer:
        clock.advance(0.02)
        assert recorder.points("otelkafka.process.age") == [(PLACE, 0.02)]
    assert recorder.points("otelkafka.process.age") == []
    options = ConsumerOptions(meter_provider=recorder.meter_provider)
    with process(record(0, topic="u"), options):
        clock.advance(0.02)
        with process(record(1, topic="u"), options):
            clock.advance(0.01)
            ((_, age),) = recorder.points("otelkafka.process.age")
            assert age == 0.03


def test_consumer_time_is_busy_and_fetch_and_outlives_the_consumer(recorder, clock):
    """busy + fetch is the consumer's life; it goes on while the consumer does, and stays when that is gone."""

    class Slow(FakeConsumer):
        def poll(self):
            clock.advance(2)
            return super().poll()

    consumer = wrap_consumer(Slow(record(0)), ConsumerOptions(meter_provider=recorder.meter_provider))
    consumer.poll()
    clock.advance(3)

    def spent():
        return {shown["otelkafka.consumer.state"]: value for shown, value in recorder.points("otelkafka.consumer.time")}

    assert spent() == {"busy": 3, "fetch": 2}
    clock.advance(1)
    assert spent() == {"busy": 4, "fetch": 2}
    consumer.poll()
    consumer.close()
    clock.advance(1)
    assert spent() == {"busy": 4, "fetch": 4}
    del consumer
    gc.collect()
    assert spent() == {"busy": 4, "fetch": 4}
    assert recorder.points("otelkafka.consumer.time")[0][0] == {
        "messaging.system": "kafka",
        "messaging.consumer.group.name": "g",
        "otelkafka.consumer.state": "busy",
    }


def test_time_of_a_consumer_that_is_dropped_without_close_is_kept(recorder, clock):
    """What was spent since the last collection is not lost with its consumer."""
    consumer = consumer_of(recorder, record(0))
    consumer.poll()
    clock.advance(2)
    del consumer
    gc.collect()
    found = {shown["otelkafka.consumer.state"]: value for shown, value in recorder.points("otelkafka.consumer.time")}
    assert found["busy"] == 2


def test_consumer_that_is_collected_while_totals_are_busy_waits_for_nothing(recorder):
    """Garbage is collected anywhere, also where a thread holds the lock of the totals: no deadlock."""
    consumers = [consumer_of(recorder, record(0)) for _ in range(2)]
    for consumer in consumers:
        consumer.poll()
    time_spent = ConsumerTime(consumers[0])
    del consumer
    with time_spent.lock:
        collecting = threading.Thread(target=lambda: (consumers.clear(), gc.collect()), daemon=True)
        collecting.start()
        collecting.join(PATIENCE)
        assert not collecting.is_alive()
        assert time_spent.total_of({"reentered": True}) == 0
    assert len(recorder.points("otelkafka.consumer.time")) >= 2
    assert time_spent.count_consumers() == 0


def test_spans_in_flight_count_once_where_a_producer_is_wrapped_again(recorder):
    """What waits from before is neither lost nor counted by each wrapper that lives."""
    spans = SpanRecorder()
    options = ProducerOptions(tracer_provider=spans.tracer_provider, meter_provider=recorder.meter_provider)
    producers = [otelkafka.wrap_producer(FakeProducer(), options)]
    for expected in (1, 2, 3):
        producers[-1].send("t", b"v")
        assert recorder.points("otelkafka.spans.in_flight") == [({"messaging.system": "kafka"}, expected)]
        producers.append(otelkafka.wrap_producer(producers[-1], options))
    assert recorder.points("otelkafka.spans.in_flight") == [({"messaging.system": "kafka"}, 3)]


def test_spans_in_flight_are_those_that_wait(recorder):
    """Recording send spans that wait for their acknowledgement, of all producers together."""
    spans = SpanRecorder()
    producers = [producer_of(recorder, tracer_provider=spans.tracer_provider) for _ in range(2)]
    first = [producer.send("t", b"v") for producer in producers][0]
    first.acknowledge()
    producers[1].send("t", b"v")
    assert recorder.points("otelkafka.spans.in_flight") == [({"messaging.system": "kafka"}, 2)]
    unsampled = producer_of(recorder, tracer_provider=SpanRecorder(ALWAYS_OFF).tracer_provider)
    unsampled.send("t", b"v")
    assert recorder.points("otelkafka.spans.in_flight") == [({"messaging.system": "kafka"}, 2)]


def test_what_is_left_out_is_counted_by_reason(recorder):
    """in_flight, header and links."""
    spans = SpanRecorder()
    producer_of(recorder, tracer_provider=spans.tracer_provider, max_in_flight=0).send("t", b"v")
    consumer = consumer_of(recorder, record(0, headers=[("traceparent", b"\xff")]))
    list(consumer)
    options = {"meter_provider": recorder.meter_provider, "tracer_provider": spans.tracer_provider}
    with process_batch(
        [record(at, headers=[traceparent(at)]) for at in range(5)], ConsumerOptions(max_links=2, **options)
    ):
        pass
    found = {shown["otelkafka.drop.reason"]: n for shown, n in recorder.points("otelkafka.telemetry.dropped")}
    assert found == {"in_flight": 1, "header": 1, "links": 3}


def test_failures_that_were_contained_are_counted(recorder):
    """By the call and its error.type, each time."""

    def boom(*_):
        raise OSError

    producer = producer_of(recorder, on_send=boom, span_name=boom)
    for topic in "ab":
        producer.send(topic, b"v")
    found = {
        (shown["otelkafka.call"], shown["error.type"]): n for shown, n in recorder.points("otelkafka.telemetry.errors")
    }
    assert found == {("on_send", "OSError"): 2, ("span_name", "OSError"): 2}


def test_template_stands_for_its_topics(recorder):
    """A topic of a template is counted under the template's name, and never under its own."""
    producer = producer_of(recorder, destination_template=lambda _: "tenant-*")
    for topic in ("tenant-1", "tenant-2"):
        producer.send(topic, b"v").acknowledge()
    ((shown, count),) = recorder.points("messaging.client.sent.messages")
    assert count == 2
    assert shown["messaging.destination.template"] == "tenant-*"
    assert "messaging.destination.name" not in shown


def test_topic_left_out_still_counts(recorder):
    """trace_topic=False: no span, and the metrics nevertheless."""
    options = {"trace_topic": lambda _: False}
    producer_of(recorder, **options).send("t", b"v").acknowledge()
    list(consumer_of(recorder, record(0), **options))
    for name in ("messaging.client.sent.messages", "messaging.client.consumed.messages", "messaging.process.duration"):
        assert [count for _, count in recorder.points(name)] == [1]


def test_suppression_counts_nothing(recorder):
    """suppress_instrumentation(): no metrics."""
    token = context.attach(context.set_value("suppress_instrumentation", True))
    try:
        producer_of(recorder).send("t", b"v").acknowledge()
        consumer = consumer_of(recorder, record(0))
        next(consumer)
        bare_of(consumer).error_next(OSError())
        with pytest.raises(OSError):
            next(consumer)
    finally:
        context.detach(token)
    assert set(recorder.metrics) <= {"otelkafka.consumer.time", "otelkafka.spans.in_flight"}


def test_clients_of_one_provider_share_their_instruments(recorder):
    """Two clients, one provider: equal attribute sets are one series, and nothing is lost to a second instrument."""
    for _ in range(2):
        producer = producer_of(recorder)
        producer.send("t", b"v").acknowledge()
        del producer
        gc.collect()
    ((_, count),) = recorder.points("messaging.client.sent.messages")
    assert count == 2


def test_counts_from_many_threads_add_up(recorder):
    """Plain integers, and none is lost."""
    bare = FakeProducer(bootstrap_servers="host:9092")
    producer = producer_of(recorder, bare)

    def send():
        for _ in range(500):
            producer.send("t", b"v").acknowledge()

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ((_, count),) = recorder.points("messaging.client.sent.messages")
    assert count == 4000


def test_attribute_sets_are_bounded(recorder):
    """Beyond 2000 attribute sets the rest goes into one, and that is counted."""
    producer = producer_of(recorder)
    for at in range(2100):
        producer.send(f"t{at}", b"v").acknowledge()
    points = recorder.points("messaging.client.sent.messages")
    assert len(points) == 2001
    assert sum(count for _, count in points) == 2100
    assert ({"otel.metric.overflow": True}, 100) in points
    assert recorder.points("otelkafka.telemetry.dropped") == [({"otelkafka.drop.reason": "attribute_sets"}, 100)]


def test_nothing_is_counted_where_nobody_listens(monkeypatch):
    """No SDK, or one that is disabled: no instruments at all."""
    for provider in (None, NoOpMeterProvider()):
        producer = wrap_producer(FakeProducer(), ProducerOptions(meter_provider=provider))
        assert not has_instruments(producer)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    disabled = ProducerOptions(meter_provider=MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False))
    assert not has_instruments(wrap_producer(FakeProducer(), disabled))


def test_global_provider_that_comes_later_is_used(recorder, monkeypatch, clock):
    """A client that was wrapped before the SDK was set up counts from then on."""
    producer = wrap_producer(FakeProducer())
    producer.send("t", b"v").acknowledge()
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: recorder.meter_provider)
    clock.advance(10)
    producer.send("t", b"v").acknowledge()
    assert [count for _, count in recorder.points("messaging.client.sent.messages")] == [1]


class BrokenMeterProvider(metrics.MeterProvider):
    def get_meter(self, *_, **__):
        raise OSError


class BrokenMeter(metrics.NoOpMeter):
    def __getattribute__(self, name):
        if name.startswith("create"):
            raise OSError
        return super().__getattribute__(name)


class BrokenInstruments(metrics.MeterProvider):
    def get_meter(self, *_, **__):
        return type("M", (), {})()


@pytest.mark.parametrize("provider", [BrokenMeterProvider, BrokenInstruments])
def test_meter_provider_that_fails_costs_no_record(provider):
    """Whatever a meter provider raises, records go out and come in."""
    bare = FakeProducer()
    producer = wrap_producer(bare, ProducerOptions(meter_provider=provider()))
    producer.send("t", b"v").acknowledge()
    assert len(bare.calls) == 1
    consumer = wrap_consumer(FakeConsumer(record(0), record(1)), ConsumerOptions(meter_provider=provider()))
    assert [each.offset for each in consumer] == [0, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_child_of_a_fork_starts_from_zero(recorder):
    """What the parent counted is not counted once more by its child."""
    producer = producer_of(recorder)
    producer.send("t", b"v").acknowledge()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        producer.send("t", b"v").acknowledge()
        ((_, count),) = recorder.points("messaging.client.sent.messages")
        os.write(writing, str(int(count)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 10) == b"1"
    for end in (reading, writing):
        os.close(end)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_child_of_a_fork_reads_the_time_of_a_consumer_that_its_parent_was_reading(recorder, clock, monkeypatch):
    """By a provider of its own: it waits for no thread of the parent, and leaves to that one what had passed."""
    monkeypatch.setattr("opentelemetry.metrics._internal._METER_PROVIDER", recorder.meter_provider)
    consumer = wrap_consumer(FakeConsumer(record(0)))
    held, leave = threading.Event(), threading.Event()
    lock = ConsumerTime(consumer).lock_of_reading

    def hold():
        with lock:
            held.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    clock.advance(5)
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        own = MetricRecorder()
        clock.advance(2)
        monkeypatch.setattr("opentelemetry.metrics._internal._METER_PROVIDER", own.meter_provider)
        next(consumer)
        os._exit(int(sum(value for _, value in own.points("otelkafka.consumer.time"))))
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2


@pytest.mark.parametrize("call", ["get_meter", "create_histogram"])
def test_interrupt_while_instruments_are_made_leaves_no_client_without(recorder, monkeypatch, call):
    """A KeyboardInterrupt reaches the application, and the next client is measured."""
    owner = recorder.meter_provider
    if call == "create_histogram":
        owner = type(owner.get_meter("m"))

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, call, interrupted)
        with pytest.raises(KeyboardInterrupt):
            producer_of(recorder).send("t", b"v")
    producer_of(recorder).send("t", b"v").acknowledge()
    assert recorder.metrics["messaging.client.operation.duration"].data.data_points[0].count == 1
    assert [count for _, count in recorder.points("messaging.client.sent.messages")] == [1]


def test_metrics_keep_no_client_alive(recorder):
    """Instruments hold clients weakly: without a collection, they go when their wrapper does."""
    gc.disable()
    try:
        for make in (lambda: consumer_of(recorder, record(0)), lambda: producer_of(recorder)):
            wrapped = make()
            gone = weakref.ref(bare_of(wrapped))
            if hasattr(wrapped, "poll"):
                list(wrapped)
            else:
                wrapped.send("t", b"v").acknowledge()
            del wrapped
            assert gone() is None
    finally:
        gc.enable()


def test_metrics_are_the_same_sampled_or_not():
    """Counters and counts of histograms do not depend on the sampler."""
    found = []
    for sampler in (None, ParentBased(ALWAYS_OFF), ALWAYS_OFF):
        recorder, options = MetricRecorder(), {"tracer_provider": SpanRecorder(sampler).tracer_provider}
        producer = producer_of(recorder, **options)
        for _ in range(3):
            producer.send("t", b"v").acknowledge()
        consumer = consumer_of(recorder, *(record(at) for at in range(3)), **options)
        for records in consumer.poll().values():
            list(records)
        names = sorted(set(recorder.metrics) - {"otelkafka.consumer.time", "otelkafka.process.age"})
        found.append({name: recorder.points(name) for name in names})
    assert found[0] == found[1] == found[2]


def test_failed_send_is_measured_with_the_partition_that_it_was_given(metrics):
    """Sampled or not: the partition of the call is known where the broker never said one."""
    for sampler in (None, ParentBased(ALWAYS_OFF)):
        producer = producer_of(metrics, tracer_provider=SpanRecorder(sampler).tracer_provider)
        producer.send("t", b"v", partition=3)
        bare_of(producer).futures[0].fail(OSError("gone"))
    counted = [
        (shown.get("messaging.destination.partition.id"), count)
        for shown, count in metrics.points("messaging.client.sent.messages")
    ]
    assert counted == [("3", 2)]


def test_without_context_is_the_same_whether_sampled_or_not():
    """Records of a batch that carried none are counted alike."""
    found = []
    for sampler in (NEVER, ALWAYS_ON):
        side = Side(SpanRecorder(sampler), trace_topic=lambda topic: topic != "quiet")
        with process_batch_of(side.consumer(process="manual"), [late(0), late(1, topic="quiet", headers=[])]):
            pass
        found.append(sum(side.points("otelkafka.records.without_context").values()))
    assert found[0] == found[1]


@pytest.mark.parametrize("leave", ["close", "unsubscribe", "assign"])
def test_lag_goes_with_the_assignment(recorder, leave):
    """A gauge vanishes with what it describes, however the partitions go."""
    records = [fake_record("t", offset=at) for at in range(9)]
    consumer = wrap_consumer(
        testing.FakeConsumer(records=records), ConsumerOptions(meter_provider=recorder.meter_provider)
    )
    for each in consumer:
        if each.offset == 2:
            break
    assert [lag for _, lag in recorder.points("otelkafka.consumer.lag")] == [6]
    getattr(consumer, leave)(*([[]] if leave == "assign" else []))
    assert recorder.points("otelkafka.consumer.lag") == []
    consumer.close()
