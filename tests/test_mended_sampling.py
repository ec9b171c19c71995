"""What was mended of time to glass and of what is recorded against its sampling: each of these once failed."""

import threading
import time

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.context import Context
from opentelemetry.propagators.b3 import B3MultiFormat
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
)

from otelkafka import ConsumerOptions, ProducerOptions, extract, process
from otelkafka.testing import MetricRecorder, SpanRecorder
from tests.support.face import process_batch_of, process_of, wrap_consumer, wrap_producer
from tests.support.fakes import FakeConsumer, FakeProducer, ambient_of, kinds, record, traceparent
from tests.support.internals import engine_of

REASON, ORIGINAL = "otelkafka.sampled.reason", "otelkafka.sampled.original_span_id"
PIPELINE = "otelkafka.pipeline.duration"
NEVER = ParentBased(ALWAYS_OFF)
UNSAMPLED = traceparent(0, sampled=False)


def late(offset=0, headers=(UNSAMPLED,), seconds=5, **more):
    return record(offset, headers=list(headers), timestamp=int((time.time() - seconds) * 1000), **more)


def carrying(ms_ago, *headers, more=b""):
    origin = time.time_ns() // 1_000_000 - ms_ago
    return [*headers, ("baggage", b"otelkafka.origin=%d" % origin + more)]


class Side:
    def __init__(self, sampler=NEVER, **options):
        self.spans, self.metrics = SpanRecorder(sampler), MetricRecorder()
        self.options = {
            "tracer_provider": self.spans.tracer_provider,
            "meter_provider": self.metrics.meter_provider,
            **options,
        }

    def consumer(self, *records, **more):
        return wrap_consumer(FakeConsumer(*records), ConsumerOptions(**self.options, **more))

    def producer(self, bare, **more):
        return wrap_producer(bare, ProducerOptions(**self.options, **more))

    def points(self, name, by="messaging.destination.name"):
        return {told.get(by): n for told, n in self.metrics.points(name)}

    def dropped(self):
        return self.points("otelkafka.telemetry.dropped", "otelkafka.drop.reason")


def test_baggage_of_the_headers_is_not_lost_where_an_impossible_origin_was_removed():
    """The emptied baggage of the context hides the one in the headers."""
    side, sent = Side(pipeline_time=True), FakeProducer()
    for _ in side.consumer(record(0, headers=[UNSAMPLED, ("baggage", b"otelkafka.origin=5")])):
        side.producer(sent).send("u", b"v", headers=[("baggage", b"tenant=a")])
    assert baggage.get_baggage("tenant", extract(sent.headers[0])) == "a"


def test_predecessor_of_a_failure_is_what_was_before_it():
    """Another record that was processed meanwhile is not what kept the consumer busy."""
    side = Side(sample_errors=True)
    consumer = side.consumer(process="manual")
    time.sleep(0.005)
    outer, inner = late(0), late(1)
    with process_of(consumer, late(7)):
        pass
    time.sleep(0.005)
    before = process_of(consumer, outer)
    with pytest.raises(ValueError), before:
        with process_of(consumer, inner):
            time.sleep(0.002)
        raise ValueError
    (span,) = side.spans.spans
    assert [
        each.attributes["messaging.kafka.offset"]
        for each in span.links
        if each.attributes["otelkafka.link.type"] == "predecessor"
    ] == [7]


def test_links_of_a_rescued_batch_stay_within_their_cap():
    """The link to the context around counts, too."""
    side = Side()
    token = context.attach(extract([traceparent(50, sampled=False)]))
    try:
        with process_batch_of(
            side.consumer(sample_waits_over=1, max_links=2, process="manual"),
            [late(at, headers=[traceparent(at, sampled=False)]) for at in range(4)],
        ):
            pass
    finally:
        context.detach(token)
    (span,) = side.spans.spans
    assert len(span.links) <= 2
    assert len(span.links) + span.attributes.get("otelkafka.links.dropped", 0) == 4


@pytest.mark.parametrize("options", [{}, {"pipeline_time": True}, {"sample_errors": True}, {"sample_waits_over": 1}])
def test_a_header_that_is_left_out_is_counted_once(options):
    """However often it is read."""
    side = Side(**{name: value for name, value in options.items() if name != "sample_waits_over"})
    more = {name: value for name, value in options.items() if name == "sample_waits_over"}
    with (
        pytest.raises(ValueError),
        process_batch_of(side.consumer(process="manual", **more), [late(headers=[UNSAMPLED, ("baggage", b"\xff")])]),
    ):
        raise ValueError
    assert side.dropped()["header"] == 1


def test_a_header_that_is_left_out_of_a_failed_record_is_counted_once():
    side = Side(sample_errors=True)
    with (
        pytest.raises(ValueError),
        process_of(side.consumer(process="manual"), late(headers=[UNSAMPLED, ("baggage", b"\xff")])),
    ):
        raise ValueError
    assert side.dropped()["header"] == 1


def test_the_record_that_waited_is_told_of_in_a_batch():
    """Partition, offset and key are on no link, as its context is the parent."""
    side = Side()
    with process_batch_of(
        side.consumer(sample_waits_over=1, process="manual"),
        [late(at, headers=[traceparent(at, sampled=False)], key=b"%d" % at) for at in range(3)],
    ):
        pass
    (span,) = side.spans.spans
    told = [link.attributes for link in span.links] + [span.attributes]
    assert {each.get("messaging.kafka.offset") for each in told} >= {0, 1, 2}


def test_pipelines_of_a_batch_are_counted_by_topic():
    """As records of one topic each would be; trace_topic's too."""
    side = Side(pipeline_time=True, trace_topic=lambda topic: topic != "quiet")
    with process_batch_of(
        side.consumer(process="manual"),
        [record(0, headers=carrying(10)), record(1, topic="quiet", headers=carrying(10))],
    ):
        pass
    assert side.points(PIPELINE) == {"t": 1, "quiet": 1}


def test_pipelines_of_a_batch_of_several_topics_are_counted_by_topic():
    side = Side(pipeline_time=True)
    with process_batch_of(
        side.consumer(process="manual"), [record(0, headers=carrying(10)), record(1, topic="u", headers=carrying(10))]
    ):
        pass
    assert side.points(PIPELINE) == {"t": 1, "u": 1}


class RecordsOnly(Sampler):
    """Records all for the sake of metrics, and exports what its delegate samples."""

    def should_sample(self, *args, **kwargs):
        found = NEVER.should_sample(*args, **kwargs)
        decision = Decision.RECORD_ONLY if found.decision is Decision.DROP else found.decision
        return SamplingResult(decision, found.attributes, found.trace_state)

    def get_description(self):
        return "RecordsOnly"


def test_failures_under_a_sampler_that_records_without_sampling():
    side = Side(RecordsOnly(), sample_errors=True)
    with pytest.raises(ValueError), process_of(side.consumer(process="manual"), late()):
        raise ValueError
    side.producer(FakeProducer()).send("t", b"v").fail(OSError())
    assert [each.attributes.get(REASON) for each in side.spans.spans if each.context.trace_flags.sampled] == [
        "error"
    ] * 2


class OffWithRecording(Sampler):
    def should_sample(self, *args, **kwargs):
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self):
        return "Off"


def test_nothing_counts_as_sampled_that_the_sampler_does_not():
    side = Side(OffWithRecording())
    for _ in side.consumer(late(), sample_waits_over=1):
        assert not trace.get_current_span().get_span_context().trace_flags.sampled
    assert side.points("otelkafka.sampled.records") == {}


def test_without_an_sdk_nothing_counts_against_the_limit_whatever_the_propagator():
    side = Side(tracer_provider=trace.NoOpTracerProvider(), propagator=B3MultiFormat(), sample_limit=0)
    headers = [("x-b3-traceid", b"1" * 32), ("x-b3-spanid", b"2" * 16), ("x-b3-sampled", b"0")]
    for _ in side.consumer(late(headers=headers), sample_waits_over=1):
        pass
    assert side.dropped() == {}


def test_gone_partition_is_told_by_the_span_made_after_the_failure():
    from kafka import TopicPartition

    side = Side(sample_errors=True)
    consumer = side.consumer(process="manual")
    with pytest.raises(ValueError), process_of(consumer, late()):
        engine_of(consumer).processing.in_process.tell_gone({TopicPartition("t", 0)}, "revoke")
        raise ValueError
    (span,) = side.spans.spans
    assert len(span.events) == 2


def test_lag_is_on_the_span_made_after_the_failure_in_a_loop():
    side = Side(sample_errors=True)
    with pytest.raises(ValueError):
        for each in (consumer := side.consumer(late(0))):
            with process_of(consumer, each):
                raise ValueError
    consumer.close()
    (span,) = side.spans.spans
    assert span.attributes.get("otelkafka.consumer.lag") == 9


def test_limit_holds_where_options_cannot_be_hashed():
    """process() without a consumer: an outage must not flood the backend."""

    class Unhashable(B3MultiFormat):
        __hash__ = None

        def extract(self, carrier, context=None, getter=None):
            return extract([UNSAMPLED])

    side = Side(sample_errors=True, sample_limit=2, propagator=Unhashable())
    options = ConsumerOptions(**side.options)
    for at in range(50):
        with pytest.raises(ValueError), process(late(at), options):
            raise ValueError
    assert len(side.spans.spans) <= 6


def test_pipeline_duration_of_span_and_metric_are_one_where_the_clock_was_set_back(monkeypatch):
    side = Side(ALWAYS_ON, pipeline_time=True)
    consumer = side.consumer(process="manual")
    with process_of(consumer, record(0, headers=carrying(2000, traceparent(0)))):
        import otelkafka.telemetry as module

        real = module.time_ns
        monkeypatch.setattr(module, "time_ns", lambda: real() - 1_000_000_000)
    (span,) = side.spans.spans
    (metric,) = side.metrics.metrics[PIPELINE].data.data_points
    assert span.attributes[PIPELINE] == pytest.approx(metric.sum)


def test_without_context_is_the_same_whether_sampled_or_not():
    found = []
    for sampler in (NEVER, ALWAYS_ON):
        side = Side(sampler, trace_topic=lambda topic: topic != "quiet")
        with process_batch_of(side.consumer(process="manual"), [late(0), late(1, topic="quiet", headers=[])]):
            pass
        found.append(sum(side.points("otelkafka.records.without_context").values()))
    assert found[0] == found[1]


def test_key_is_not_kept_in_flight_where_nobody_will_tell_it():
    import weakref

    class Key(str):
        __slots__ = ("__weakref__",)

    side = Side(ALWAYS_ON, sample_errors=True)
    key = Key("k")
    dead = weakref.ref(key)
    bare = FakeProducer(key_serializer=str.encode)
    side.producer(bare, capture_key=False).send("t", b"v", key)  # else the span has it
    del key
    assert dead() is None


def test_ambient_link_of_a_failure():
    """docs/spans.md: "parent": the current span, if any."""
    side = Side(sample_errors=True)
    with ambient_of(SpanRecorder()), pytest.raises(ValueError), process_of(side.consumer(process="manual"), late()):
        raise ValueError
    (span,) = side.spans.spans
    assert kinds(span) == ["ambient"]


def test_ambient_link_of_a_failed_batch():
    side = Side(sample_errors=True)
    token = context.attach(extract([traceparent(50, sampled=False)]))
    try:
        with pytest.raises(ValueError), process_batch_of(side.consumer(process="manual"), [late()]):
            raise ValueError
    finally:
        context.detach(token)
    (span,) = side.spans.spans
    assert kinds(span) == ["ambient"]


def test_tombstone_and_headers_of_a_failed_send_are_told():
    side = Side(sample_errors=True)
    side.producer(FakeProducer(), capture_headers=("x",)).send("t", None, b"k", [("x", b"1")]).fail(OSError())
    (span,) = side.spans.spans
    assert span.attributes["messaging.kafka.message.tombstone"] is True
    assert span.attributes["messaging.header.x"] == ("1",)


def test_send_without_context_is_told_by_a_failure():
    side = Side(sample_errors=True)
    bare = FakeProducer(too_large="raise")
    side.producer(bare).send("t", b"v", b"k").fail(OSError())
    (span,) = side.spans.spans
    assert span.attributes.get("otelkafka.send.without_context") is True


def test_limit_holds_where_threads_meet_at_the_turn_of_a_second(monkeypatch):
    from otelkafka import sampling

    limit, admitted = sampling.Limit(5), []

    def monotonic():
        monkeypatch.setattr(sampling, "monotonic", lambda: 1.0)
        other = threading.Thread(target=lambda: admitted.extend(limit.admits() for _ in range(9)))
        other.start()
        other.join()
        return 1.0

    monkeypatch.setattr(sampling, "monotonic", monotonic)
    admitted += [limit.admits() for _ in range(9)]
    assert sum(admitted) == 5


def test_error_type_is_on_the_count_of_both_sides_or_of_none():
    side = Side(sample_errors=True)
    with pytest.raises(ValueError), process_of(side.consumer(process="manual"), late()):
        raise ValueError
    side.producer(FakeProducer()).send("t", b"v").fail(OSError())
    told = [each for each, _ in side.metrics.points("otelkafka.sampled.records")]
    assert len({"error.type" in each for each in told}) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_base_exceptions_leave_nothing_open(error):
    side = Side(sample_errors=True, pipeline_time=True)

    class Interrupted(FakeProducer):
        def send(self, *args, **kwargs):
            raise error

    with pytest.raises(error):
        side.producer(Interrupted()).send("t", b"v")
    with pytest.raises(error), process_of(side.consumer(process="manual", sample_waits_over=1), late()):
        raise error
    with pytest.raises(error), process_batch_of(side.consumer(process="manual"), [late()]):
        raise error
    assert context.get_current() == Context()
    assert all(each.end_time for each in side.spans.spans)


def test_nothing_is_kept_of_a_failed_or_rescued_record():
    import gc
    import weakref

    class Value:
        pass

    side = Side(sample_errors=True, pipeline_time=True)
    consumer = side.consumer(process="manual", sample_waits_over=1)
    for how in ("process", "process_batch"):
        for seconds in (0, 5):
            value = Value()
            dead = weakref.ref(value)
            one = late(value=value, seconds=seconds)
            try:
                with process_of(consumer, one) if how == "process" else process_batch_of(consumer, [one]):
                    raise ValueError
            except ValueError:
                pass
            del one, value
            gc.collect()
            assert dead() is None


def test_lag_of_a_record_that_was_put_aside_is_its_own_or_none():
    """What is known of the one handed over last is not true of those before it."""
    side = Side(ALWAYS_ON)
    consumer = side.consumer(*[late(at, headers=[traceparent(at)]) for at in range(6)])
    first, *_ = list(consumer)
    side.spans.clear()
    with process_of(consumer, first):
        pass
    (span,) = side.spans.spans
    assert span.attributes.get("otelkafka.consumer.lag") in {None, 9}


def test_lag_of_a_record_from_elsewhere_is_its_own_or_none():
    """An offset that was handed over long ago, or beyond what the client knows."""
    side = Side(ALWAYS_ON)
    consumer = side.consumer(late(5, headers=[traceparent(5)]))
    list(consumer)
    side.spans.clear()
    with process_of(consumer, late(700, headers=[traceparent(7)])):
        pass
    (span,) = side.spans.spans
    assert span.attributes.get("otelkafka.consumer.lag") in {None, 0}


def test_spans_before_are_not_kept_alive_in_a_chain():
    import gc
    import weakref

    from otelkafka.current import OpenSpan

    side = Side(sample_errors=True)
    consumer = side.consumer(process="manual")
    opened = []
    for at in range(50):
        each = process_of(consumer, late(at))
        each.__enter__()
        opened.append(weakref.ref(each._open))
        each.__exit__(None, None, None)
        del each
    gc.collect()
    assert sum(each() is not None for each in opened) <= 2, OpenSpan


def test_batches_are_not_kept_after_their_end_whatever_the_options():
    import gc
    import weakref

    class Value:
        pass

    for options in ({}, {"sample_errors": True}, {"sample_waits_over": 1}):
        side = Side(**{name: each for name, each in options.items() if name == "sample_errors"})
        more = {name: each for name, each in options.items() if name != "sample_errors"}
        consumer = side.consumer(process="manual", **more)
        value = Value()
        dead = weakref.ref(value)
        with process_batch_of(consumer, [late(value=value)]):
            pass
        del value
        gc.collect()
        assert dead() is None, options


def test_the_last_baggage_counts_in_a_batch_too():
    """As HeaderCarrier reads it, and as a record by itself is read."""
    headers = [*carrying(100), ("baggage", b"tenant=a")]
    side = Side(pipeline_time=True)
    for how in ("process", "process_batch"):
        one = record(0, headers=headers)
        consumer = side.consumer(process="manual")
        with process_of(consumer, one) if how == "process" else process_batch_of(consumer, [one]):
            assert baggage.get_baggage("otelkafka.origin") is None, how


def test_batch_inside_a_span_that_is_recorded_but_not_sampled():
    """It will be exported no more than one outside of it."""
    side = Side(RecordsOnly())
    with ambient_of(side.spans), process_batch_of(side.consumer(sample_waits_over=1, process="manual"), [late()]):
        pass
    assert [each.attributes.get(REASON) for each in side.spans.spans if each.context.trace_flags.sampled] == ["wait"]


def test_wait_of_what_failed_is_what_it_was_when_it_began():
    """A partition that is revoked meanwhile, because of which it fails, changes nothing of how long it waited."""
    found = []
    for sampler in (ALWAYS_ON, NEVER):
        side = Side(sampler, sample_errors=True)
        consumer = side.consumer(process="manual")
        history = engine_of(consumer).history
        time.sleep(0.05)
        history.assign({("t", 0)}, time.time_ns())
        header = traceparent(1, sampled=sampler is ALWAYS_ON)
        with pytest.raises(ValueError), process_of(consumer, late(headers=[header])):
            history.revoke({("t", 0)})
            raise ValueError
        (span,) = side.spans.spans
        found.append(span.attributes["otelkafka.queue.busy_duration"])
    assert found[1] == pytest.approx(found[0], abs=0.02)


def test_with_a_disabled_sdk_nothing_counts_against_the_limit(monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    side = Side(sample_limit=0, sample_errors=True)
    with pytest.raises(ValueError), process_of(side.consumer(process="manual", sample_waits_over=1), late()):
        raise ValueError
    monkeypatch.delenv("OTEL_SDK_DISABLED")
    assert side.dropped() == {}


def test_records_that_share_the_parents_context_keep_their_links():
    """A service without an SDK sends many records with the one context that it was given."""
    side = Side()
    with process_batch_of(side.consumer(sample_waits_over=1, process="manual"), [late(at) for at in range(3)]):
        pass
    (span,) = side.spans.spans
    assert {link.attributes["messaging.kafka.offset"] for link in span.links} >= {1, 2}
