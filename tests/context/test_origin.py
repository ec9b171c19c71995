"""Time to glass: the origin of a pipeline travels as baggage, and the time since is measured for every record."""

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, ParentBasedTraceIdRatio

from otelkafka import ConsumerOptions, ProducerOptions, extract, inject, process_batch
from otelkafka.testing import FakeClock, SpanRecorder
from tests.support.face import process_batch_of, process_of, wrap_consumer, wrap_producer
from tests.support.fakes import TRACEPARENT, FakeConsumer, FakeProducer, record, traceparent
from tests.support.sides import UNSAMPLED, Side

ORIGIN = "otelkafka.origin"
PIPELINE = "otelkafka.pipeline.duration"
QUEUE_BUCKETS = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14400)
NOW = FakeClock().now // 1_000_000
DAY = 24 * 3600 * 1000
SAMPLERS = {
    "no SDK": None,
    "always": ParentBased(ALWAYS_ON),
    "never": ParentBased(ALWAYS_OFF),
    "ratio": ParentBasedTraceIdRatio(1e-9),
}


@pytest.fixture(autouse=True)
def _clock_that_stands_still(clock):
    """What is sent and processed is so at `NOW`, unless the test lets time go on."""
    assert clock.now // 1_000_000 == NOW


def origin_in(headers):
    shown = baggage.get_baggage(ORIGIN, extract(headers))
    return None if shown is None else int(shown)


def carrying(origin, *headers):
    return [*headers, ("baggage", f"{ORIGIN}={origin}".encode())]


@pytest.fixture(params=SAMPLERS)
def provider(request):
    sampler = SAMPLERS[request.param]
    return trace.NoOpTracerProvider() if sampler is None else SpanRecorder(sampler).tracer_provider


class Pipeline:
    """Topics whose producers and consumers have the same options."""

    def __init__(self, provider, metrics, **options):
        self.options = {"tracer_provider": provider, "meter_provider": metrics.meter_provider, **options}
        self.metrics = metrics

    def send(self, topic="t", **more):
        """Send one record, and return its headers."""
        bare = FakeProducer()
        wrap_producer(bare, ProducerOptions(**self.options)).send(topic, b"v", **more).acknowledge()
        (sent,) = bare.headers
        return sent

    def consume(self, *headers, **more):
        """Return a consumer of a record for each list of headers."""
        records = [record(at, headers=each) for at, each in enumerate(headers)]
        return wrap_consumer(FakeConsumer(*records), ConsumerOptions(**self.options, **more))

    def measured(self, name=PIPELINE):
        metric = self.metrics.metrics.get(name)
        return [(point.count, point.sum) for point in metric.data.data_points] if metric else []

    def dropped(self):
        return {shown["otelkafka.drop.reason"]: n for shown, n in self.metrics.points("otelkafka.telemetry.dropped")}


@pytest.fixture
def pipeline(provider, metrics):
    return Pipeline(provider, metrics, pipeline_time=True)


def test_off_nothing_is_carried_or_measured(provider, metrics):
    """The default: no baggage, no histogram."""
    pipeline = Pipeline(provider, metrics)
    headers = pipeline.send()
    assert origin_in(headers) is None
    for _ in pipeline.consume(carrying(NOW - 5000)):
        pass
    assert pipeline.measured() == []


def test_first_send_is_the_origin_for_every_record(pipeline, clock):
    """Sampled or not, with an SDK or none: from the send to the end of the body, through a relay."""
    headers = pipeline.send()
    assert origin_in(headers) == NOW
    clock.advance(0.01)
    for _ in pipeline.consume(headers):
        relayed = pipeline.send("u")
        clock.advance(0.005)
    assert origin_in(relayed) == NOW
    for each in pipeline.consume(relayed, process="manual"), pipeline.consume(headers, process="manual"):
        with process_of(each, record(0, topic="u", headers=relayed)):
            clock.advance(0.005)
    counts, sums = zip(*pipeline.measured(), strict=True)
    assert sum(counts) == 3
    assert sum(sums) == pytest.approx(0.015 + 0.02 + 0.025)
    metric = pipeline.metrics.metrics[PIPELINE]
    assert (metric.unit, tuple(metric.data.data_points[0].explicit_bounds)) == ("s", QUEUE_BUCKETS)


def test_polled_lists_and_handlers_measure_too(pipeline):
    """Each way of processing a record ends its pipeline."""
    headers = carrying(NOW - 1000, TRACEPARENT)
    for records in pipeline.consume(headers, headers).poll().values():
        for _ in records:
            pass
    ((count, total),) = pipeline.measured()
    assert count == 2
    assert total == 2


def test_callers_timestamp_is_the_origin(pipeline):
    """timestamp_ms is when it happened; one that cannot be is left out and counted."""
    then = NOW - 3000
    assert origin_in(pipeline.send(timestamp_ms=then)) == then
    assert pipeline.dropped() == {}
    assert origin_in(pipeline.send(timestamp_ms=NOW + 60_000)) is None
    assert origin_in(pipeline.send(timestamp_ms=NOW - 30 * DAY)) is None
    assert pipeline.dropped() == {"origin": 2}


IMPOSSIBLE = {
    "no number": b"soon",
    "negative": b"-5",
    "a fraction": b"1700000000000.5",
    "with a property": b"1700000000000;unit=ms",
    "future": str(NOW + 3600_000).encode(),
    "too old": str(NOW - 8 * DAY).encode(),
    "of other digits": b"%D9%A1%D9%A7",
    "too long": b"9" * 400,
}


@pytest.mark.parametrize("shown", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_cannot_be_an_origin_is_left_out_and_counted(pipeline, shown):
    """It is measured nowhere, and what is sent on begins again."""
    for _ in pipeline.consume([TRACEPARENT, ("baggage", b"tenant=a," + ORIGIN.encode() + b"=" + shown)]):
        assert baggage.get_baggage(ORIGIN) is None
        assert baggage.get_baggage("tenant") == "a"
        relayed = pipeline.send("u")
    assert pipeline.measured() == []
    assert pipeline.dropped()["origin"] == 1
    assert origin_in(relayed) == NOW


def test_earliest_is_kept(pipeline):
    """Of the context around and the headers, whichever has it."""
    early, late = NOW - 9000, NOW - 4000
    for here, there in ((early, late), (late, early)):
        token = context.attach(baggage.set_baggage("tenant", "a", baggage.set_baggage(ORIGIN, str(here))))
        try:
            sent = pipeline.send(headers=carrying(there))
            injected = inject(carrying(there), options=ProducerOptions(pipeline_time=True))
            for _ in pipeline.consume(carrying(there)):
                assert int(baggage.get_baggage(ORIGIN)) == early
        finally:
            context.detach(token)
        assert origin_in(sent) == origin_in(injected) == early
        assert baggage.get_baggage("tenant", extract(sent)) == "a"
    (_, total), *_ = pipeline.measured()
    assert total == 13  # each record by its own


def test_batch_measures_each_and_carries_the_earliest_alone(pipeline):
    """No other baggage of its records is current in the body."""
    early, late = NOW - 9000, NOW - 4000
    shown = [("baggage", f"tenant=a,{ORIGIN}={late}".encode())]
    consumer = pipeline.consume(process="manual")
    records = [record(at, headers=each) for at, each in enumerate(([], shown, carrying(early, traceparent(1)), []))]
    with process_batch_of(consumer, records) as span:
        assert dict(baggage.get_all()) == {ORIGIN: str(early)}
        relayed = pipeline.send("u")
    assert origin_in(relayed) == early
    assert baggage.get_all(extract(relayed)).keys() == {ORIGIN}
    ((count, total),) = pipeline.measured()
    assert count == 2
    assert total == 13
    if span.is_recording():
        assert span.attributes[PIPELINE] == 9
    assert baggage.get_baggage(ORIGIN) is None


def test_forwarded_headers_keep_it(pipeline):
    """A dead letter or a retry, sent outside of the body with the record's headers."""
    origin = NOW - 5000
    (header,) = [each for each in pipeline.send(headers=carrying(origin, TRACEPARENT)) if each[0] == "baggage"]
    assert header[1].decode() == f"{ORIGIN}={origin}"


def test_a_topic_without_spans_keeps_it_and_begins_none(provider, metrics):
    """trace_topic: the first *traced* send is the origin."""
    pipeline = Pipeline(provider, metrics, pipeline_time=True, trace_topic=lambda topic: topic != "quiet")
    assert origin_in(pipeline.send("quiet") or []) is None
    origin = NOW - 5000
    assert origin_in(pipeline.send("quiet", headers=carrying(origin))) == origin
    for _ in pipeline.consume(carrying(origin)):
        assert origin_in(pipeline.send("quiet")) == origin
    assert [count for count, _ in pipeline.measured()] == [1]


def test_span_has_it(recorder, metrics):
    """The attribute is what the histogram has."""
    pipeline = Pipeline(recorder.tracer_provider, metrics, pipeline_time=True)
    for _ in pipeline.consume(carrying(NOW - 2000, TRACEPARENT)):
        pass
    (span,) = recorder.named("process t")
    ((_, total),) = pipeline.measured()
    assert span.attributes[PIPELINE] == pytest.approx(total)
    assert total == 2


def test_link_relation_measures_too(recorder, metrics):
    """A replay is no other trace's, and has its time nevertheless."""
    pipeline = Pipeline(recorder.tracer_provider, metrics, pipeline_time=True)
    for _ in pipeline.consume(carrying(NOW - 2000, TRACEPARENT), relation="link"):
        pass
    assert [count for count, _ in pipeline.measured()] == [1]


def test_failed_processing_is_measured_with_its_error(pipeline):
    """As messaging.process.duration is."""
    with (
        pytest.raises(ValueError),
        process_of(pipeline.consume(process="manual"), record(0, headers=carrying(NOW))),
    ):
        raise ValueError
    ((shown, count),) = pipeline.metrics.points(PIPELINE)
    assert (shown["error.type"], shown["messaging.operation.name"], count) == ("ValueError", "process", 1)


def test_without_a_consumer(provider, metrics):
    """process_batch() of the module, with options."""
    options = ConsumerOptions(tracer_provider=provider, meter_provider=metrics.meter_provider, pipeline_time=True)
    with process_batch([record(0, headers=carrying(NOW - 100))], options):
        pass
    assert metrics.points(PIPELINE)[0][1] == 1


def test_what_the_propagator_does_not_carry_travels_not(metrics, recorder):
    """A propagator without baggage: nothing is measured, and nothing breaks."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    pipeline = Pipeline(
        recorder.tracer_provider, metrics, pipeline_time=True, propagator=TraceContextTextMapPropagator()
    )
    headers = pipeline.send()
    assert [key for key, _ in headers] == ["traceparent"]
    for _ in pipeline.consume(carrying(NOW - 100, TRACEPARENT)):
        pass
    assert pipeline.measured() == []
    assert len(recorder.spans) == 2


def test_context_is_left_as_it_was(pipeline):
    """After send() and after the loop nothing of it is current."""
    pipeline.send()
    for _ in pipeline.consume(carrying(NOW)):
        pass
    assert context.get_current() == Context()


def test_baggage_of_the_headers_is_not_lost_where_an_impossible_origin_was_removed():
    """The emptied baggage of the context hides the one in the headers."""
    side, sent = Side(pipeline_time=True), FakeProducer()
    for _ in side.consumer(record(0, headers=[UNSAMPLED, ("baggage", b"otelkafka.origin=5")])):
        side.producer(sent).send("u", b"v", headers=[("baggage", b"tenant=a")])
    assert baggage.get_baggage("tenant", extract(sent.headers[0])) == "a"


def test_pipelines_of_a_batch_are_counted_by_topic():
    """As records of one topic each would be; trace_topic's too."""
    side = Side(pipeline_time=True, trace_topic=lambda topic: topic != "quiet")
    with process_batch_of(
        side.consumer(process="manual"),
        [record(0, headers=carrying(NOW - 10)), record(1, topic="quiet", headers=carrying(NOW - 10))],
    ):
        pass
    assert side.points(PIPELINE) == {"t": 1, "quiet": 1}


def test_pipelines_of_a_batch_of_several_topics_are_counted_by_topic():
    """Each under its own, where the batch has no topic."""
    side = Side(pipeline_time=True)
    with process_batch_of(
        side.consumer(process="manual"),
        [record(0, headers=carrying(NOW - 10)), record(1, topic="u", headers=carrying(NOW - 10))],
    ):
        pass
    assert side.points(PIPELINE) == {"t": 1, "u": 1}


def test_pipeline_duration_of_span_and_metric_are_one_where_the_clock_was_set_back(clock):
    """Neither says more or less than the other."""
    side = Side(SpanRecorder(ALWAYS_ON), pipeline_time=True)
    consumer = side.consumer(process="manual")
    with process_of(consumer, record(0, headers=carrying(NOW - 2000, traceparent(0)))):
        clock.advance(-1)
    (span,) = side.spans.spans
    (metric,) = side.metrics.metrics[PIPELINE].data.data_points
    assert span.attributes[PIPELINE] == pytest.approx(metric.sum)


def test_the_last_baggage_counts_in_a_batch_too():
    """As HeaderCarrier reads it, and as a record by itself is read."""
    headers = [*carrying(NOW - 100), ("baggage", b"tenant=a")]
    side = Side(pipeline_time=True)
    consumer, one = side.consumer(process="manual"), record(0, headers=headers)
    for make, argument in ((process_of, one), (process_batch_of, [one])):
        with make(consumer, argument):
            assert baggage.get_baggage("otelkafka.origin") is None, make
