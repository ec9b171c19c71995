"""The records that matter: what waited too long, and what failed, is recorded although nobody had sampled it."""

import time

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, ParentBasedTraceIdRatio

from otelkafka import ConsumerOptions, ProducerOptions, extract, process, process_batch, wrap_handler
from otelkafka.testing import MetricRecorder, SpanRecorder
from tests.support.face import process_batch_of, process_of, wrap_consumer, wrap_producer
from tests.support.fakes import FakeConsumer, FakeProducer, ambient_of, kinds, record, traceparent
from tests.support.faults import PLACES, RAISES, WRONG_TYPE, Injection

REASON, ORIGINAL = "otelkafka.sampled.reason", "otelkafka.sampled.original_span_id"
SAMPLERS = {"never": ParentBased(ALWAYS_OFF), "ratio": ParentBasedTraceIdRatio(1e-9)}
UNSAMPLED = traceparent(0, sampled=False)
TRACE_ID = PARENT_ID = 1
STATE = ("tracestate", b"vendor=1")


@pytest.fixture(params=SAMPLERS)
def spans(request):
    """A recorder under a sampler that follows its parent, and samples nothing by itself."""
    return SpanRecorder(SAMPLERS[request.param])


class Side:
    """Clients with the same options."""

    def __init__(self, spans, metrics, **options):
        self.providers = {"tracer_provider": spans.tracer_provider, "meter_provider": metrics.meter_provider}
        self.options = options
        self.metrics = metrics

    def consumer(self, *records, **more):
        return wrap_consumer(FakeConsumer(*records), ConsumerOptions(**self.providers, **self.options, **more))

    def producer(self, bare, **more):
        options = {name: value for name, value in self.options.items() if name != "sample_waits_over"}
        return wrap_producer(bare, ProducerOptions(**self.providers, **options, **more))

    def counted(self):
        return {told[REASON]: n for told, n in self.metrics.points("otelkafka.sampled.records")}

    def dropped(self):
        return {told["otelkafka.drop.reason"]: n for told, n in self.metrics.points("otelkafka.telemetry.dropped")}


@pytest.fixture
def errors(spans, metrics):
    return Side(spans, metrics, sample_errors=True)


@pytest.fixture
def waits(spans, metrics):
    return Side(spans, metrics, sample_waits_over=1)


def late(offset=0, headers=(UNSAMPLED,), seconds=5, **more):
    return record(offset, headers=list(headers), timestamp=int((time.time() - seconds) * 1000), **more)


def ids(span):
    return span.context.trace_id, span.parent and span.parent.span_id


@pytest.mark.parametrize("headers", [[UNSAMPLED], [UNSAMPLED, STATE]], ids=["plain", "with a tracestate"])
@pytest.mark.parametrize("relation", ["parent", "link"])
def test_record_that_waited_is_recorded_in_its_own_trace(spans, waits, headers, relation):
    """Same trace id, its creation context as the parent, in both relations, and why it is there; what follows, too."""
    sent = FakeProducer()
    with ambient_of(SpanRecorder(), "around"):
        for _ in waits.consumer(late(headers=headers), relation=relation):
            assert trace.get_current_span().is_recording()
            waits.producer(sent).send("u", b"v").acknowledge()
    send, span = spans.spans
    assert (span.name, span.attributes[REASON]) == ("process t", "wait")
    assert ids(span) == (TRACE_ID, PARENT_ID)
    assert kinds(span) == ["ambient"]
    assert 5 <= span.attributes["otelkafka.queue.duration"] < 60
    assert ids(send) == (TRACE_ID, span.context.span_id)
    downstream = trace.get_current_span(extract(sent.headers[0])).get_span_context()
    assert downstream.trace_flags.sampled
    assert waits.counted() == {"wait": 1}
    assert waits.dropped() == {}


OTHERS = {
    "short wait": lambda: late(seconds=0.1),
    "no context": lambda: late(headers=[]),
    "timestamp of none": lambda: record(0, headers=[UNSAMPLED], timestamp=-1),
    "no timestamp": lambda: record(0, headers=[UNSAMPLED], timestamp=None),
    "general path": lambda: late(headers=[UNSAMPLED, STATE], seconds=0),
}


@pytest.mark.parametrize("one", OTHERS.values(), ids=OTHERS)
def test_others_are_not(spans, waits, one):
    """A short wait, no context that says "not sampled", no timestamp."""
    for _ in waits.consumer(one()):
        assert not trace.get_current_span().is_recording()
    assert spans.spans == []
    assert waits.counted() == {}


def test_sampled_record_that_waited_has_no_reason(spans, waits):
    """It is recorded anyway."""
    for _ in waits.consumer(late(headers=[traceparent(0)])):
        pass
    (span,) = spans.spans
    assert REASON not in span.attributes
    assert waits.counted() == {}


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ParentBased(ALWAYS_OFF, remote_parent_sampled=ALWAYS_OFF)])
@pytest.mark.parametrize("headers", [[UNSAMPLED], [UNSAMPLED, STATE]], ids=["plain", "with a tracestate"])
def test_where_a_sampler_decides_otherwise_its_word_stands(metrics, sampler, headers):
    """Nothing is recorded, and what goes on says so."""
    spans, sent = SpanRecorder(sampler), FakeProducer()
    side = Side(spans, metrics, sample_waits_over=1, sample_errors=True)
    with pytest.raises(ValueError), process_of(side.consumer(process="manual"), late(headers=headers)):
        side.producer(sent).send("u", b"v").acknowledge()
        raise ValueError
    assert spans.spans == []
    downstream = trace.get_current_span(extract(sent.headers[0])).get_span_context()
    assert (downstream.trace_id, downstream.trace_flags.sampled) == (TRACE_ID, False)
    assert side.counted() == {}


def test_without_an_sdk_the_context_is_carried_on_as_it_is(metrics):
    """No flag is set by whom nobody records for, and nothing counts against the limit."""
    options = {"tracer_provider": trace.NoOpTracerProvider(), "meter_provider": metrics.meter_provider}
    for headers in ([UNSAMPLED], [UNSAMPLED, STATE]):
        sent, more = FakeProducer(), {"sample_errors": True, "sample_limit": 0}
        consumer = wrap_consumer(FakeConsumer(), ConsumerOptions(**options, **more, sample_waits_over=1))
        with pytest.raises(ValueError), process_of(consumer, late(headers=headers)):
            wrap_producer(sent, ProducerOptions(**options, **more)).send("u", b"v").fail(OSError())
            raise ValueError
        found = trace.get_current_span(extract(sent.headers[0])).get_span_context()
        assert (found.trace_id, found.span_id, int(found.trace_flags)) == (TRACE_ID, PARENT_ID, 0)
    assert metrics.points("otelkafka.telemetry.dropped") == []


def test_limit_holds_for_each_client_and_reason(spans, metrics):
    """An outage does not flood the backend: the rest is counted, and processed as ever."""
    side = Side(spans, metrics, sample_waits_over=1, sample_errors=True, sample_limit=3)
    ticks = []
    began = int(time.monotonic())
    for _ in side.consumer(*[late(at) for at in range(50)]):
        ticks.append(trace.get_current_span().is_recording())
    seconds = int(time.monotonic()) - began + 1
    assert len(ticks) == 50
    assert 3 <= len(spans.spans) == sum(ticks) <= 3 * seconds
    assert side.dropped() == {"sample_limit": 50 - sum(ticks)}
    assert side.counted() == {"wait": sum(ticks)}
    with pytest.raises(ValueError), process_of(side.consumer(), record(0, headers=[UNSAMPLED])):
        raise ValueError
    assert side.counted()["error"] == 1


def test_no_room_at_all(spans, metrics):
    """sample_limit=0: none."""
    side = Side(spans, metrics, sample_waits_over=0, sample_errors=True, sample_limit=0)
    with pytest.raises(ValueError), process_of(side.consumer(), late()):
        raise ValueError
    assert spans.spans == []
    assert side.dropped() == {"sample_limit": 2}


@pytest.mark.parametrize("headers", [[UNSAMPLED], [UNSAMPLED, STATE]], ids=["plain", "with a tracestate"])
def test_failed_processing_is_told_by_a_span_made_when_it_happened(spans, errors, headers):
    """In the record's trace, with its true start and end, its exception, and the id that logs and headers carry."""
    before = time.time_ns()
    with (
        pytest.raises(ValueError),
        process_of(errors.consumer(process="manual"), late(7, headers=headers, key=b"k", value=b"v")) as original,
    ):
        time.sleep(0.005)
        raise ValueError("poison")
    (span,) = spans.spans
    assert (span.name, ids(span)) == ("process t", (TRACE_ID, PARENT_ID))
    assert span.attributes[REASON] == "error"
    assert span.attributes[ORIGINAL] == f"{original.get_span_context().span_id:016x}"
    assert span.context.span_id != original.get_span_context().span_id
    assert span.attributes["messaging.kafka.offset"] == 7
    assert span.attributes["messaging.kafka.message.key"] == "k"
    assert span.attributes["otelkafka.queue.duration"] >= 5
    assert (span.attributes["error.type"], span.status.description) == ("ValueError", "poison")
    assert span.events[0].attributes["exception.type"] == "ValueError"
    assert before <= span.start_time <= span.end_time - 5_000_000
    assert errors.counted() == {"error": 1}


def test_failure_of_a_handler_and_of_a_record_without_context(spans, errors):
    """A trace that began here unsampled keeps its id; its first span, which nobody recorded, is the parent."""
    options = ConsumerOptions(**errors.providers, **errors.options)
    seen = []

    @wrap_handler(options=options)
    def handle(record):
        seen.append(trace.get_current_span().get_span_context())
        raise ValueError

    with pytest.raises(ValueError):
        handle(record(0, headers=[]))
    with pytest.raises(KeyError), process(record(0, headers=[UNSAMPLED]), options):
        raise KeyError
    first, second = spans.spans
    assert ids(first) == (seen[0].trace_id, seen[0].span_id)
    assert first.attributes[ORIGINAL] == f"{seen[0].span_id:016x}"
    assert ids(second) == (TRACE_ID, PARENT_ID)


def test_failure_in_a_loop_that_process_tells(spans, errors):
    """A loop cannot see it; process() on its record can."""
    with pytest.raises(ValueError):
        for each in (consumer := errors.consumer(record(0, headers=[UNSAMPLED]))):
            with process_of(consumer, each):
                raise ValueError
    consumer.close()
    (span,) = spans.spans
    assert (ids(span), span.attributes["error.type"]) == ((TRACE_ID, PARENT_ID), "ValueError")


def test_failure_under_a_link(spans, errors):
    """The span stays in the trace that the body was in, and links its record."""
    consumer = errors.consumer(process="manual", relation="link")
    with pytest.raises(ValueError), process_of(consumer, record(0, headers=[UNSAMPLED])) as original:
        raise ValueError
    (span,) = spans.spans
    assert span.context.trace_id == original.get_span_context().trace_id != TRACE_ID
    assert [(link.context.trace_id, link.attributes["otelkafka.link.type"]) for link in span.links] == [
        (TRACE_ID, "creation")
    ]


def test_what_succeeds_or_is_sampled_is_not_told_twice(spans, errors):
    """One span for a sampled failure, none for an unsampled success."""
    consumer = errors.consumer(process="manual")
    with process_of(consumer, record(0, headers=[UNSAMPLED])):
        pass
    with pytest.raises(ValueError), process_of(consumer, record(1, headers=[traceparent(1)])):
        raise ValueError
    (span,) = spans.spans
    assert REASON not in span.attributes
    assert errors.counted() == {}


def test_wait_and_error_make_one_span(spans, metrics):
    """What was recorded for its wait records its failure itself."""
    side = Side(spans, metrics, sample_waits_over=1, sample_errors=True)
    with pytest.raises(ValueError), process_of(side.consumer(process="manual"), late()):
        raise ValueError
    (span,) = spans.spans
    assert (span.attributes[REASON], span.attributes["error.type"]) == ("wait", "ValueError")


@pytest.mark.parametrize("reason", ["wait", "error"])
def test_batch_takes_the_first_unsampled_context_and_links_the_rest(spans, metrics, reason):
    """The first that is not sampled is the parent; the other creation contexts stay links."""
    side = Side(spans, metrics, **({"sample_waits_over": 1} if reason == "wait" else {"sample_errors": True}))
    records = [
        late(at, headers=[traceparent(at, sampled=at == 0)] if at < 3 else [], key=b"%d" % at) for at in range(4)
    ]
    with pytest.raises(ValueError), process_batch_of(side.consumer(process="manual"), records) as given:
        raise ValueError
    (span,) = spans.spans
    assert ids(span) == (2, 2)
    assert [link.context.trace_id for link in span.links] == [1, 3]
    assert kinds(span) == ["creation"] * 2
    assert span.attributes[REASON] == reason
    assert span.attributes["messaging.batch.message_count"] == 4
    assert span.attributes["error.type"] == "ValueError"
    if reason == "error":
        assert span.attributes[ORIGINAL] == f"{given.get_span_context().span_id:016x}"
    without = {n for _, n in metrics.points("otelkafka.records.without_context")}
    assert without == {1}
    assert side.counted() == {reason: 4}


def test_batch_inside_a_recorded_span_needs_no_other(spans, waits):
    """It is recorded in that trace, with its links."""
    with ambient_of(everything := SpanRecorder()):
        pass
    providers = {**waits.providers, "tracer_provider": everything.tracer_provider}
    with ambient_of(everything), process_batch([late()], ConsumerOptions(**providers, sample_waits_over=1)) as span:
        assert REASON not in span.attributes
        assert kinds(span) == ["creation"]


def test_batch_of_one_that_did_not_wait(spans, waits):
    """Nothing is recorded."""
    with process_batch_of(waits.consumer(process="manual"), [late(seconds=0)]):
        pass
    assert spans.spans == []


@pytest.mark.parametrize("how", ["raised", "reported", "never resolved"])
@pytest.mark.parametrize("around", [[], [UNSAMPLED], [UNSAMPLED, STATE]], ids=["root", "inside", "with a tracestate"])
def test_failed_send_is_told_by_a_span_made_when_it_happened(spans, errors, how, around):
    """In its own trace, with its true start, its error and its key."""

    class Refusing(FakeProducer):
        def send(self, *args, **kwargs):
            super().send(*args, **kwargs)
            raise OSError("gone")

    bare = Refusing() if how == "raised" else FakeProducer()
    producer, before = errors.producer(bare), time.time_ns()
    token = context.attach(extract(around))
    try:
        if how == "raised":
            with pytest.raises(OSError):
                producer.send("t", b"v", b"k", partition=1)
        else:
            future = producer.send("t", b"v", b"k", partition=1)
    finally:
        context.detach(token)
    time.sleep(0.005)
    if how == "reported":
        future.fail(OSError("gone"))
    producer.close()
    (span,) = spans.spans
    original = trace.get_current_span(extract(bare.headers[0])).get_span_context()
    assert (span.name, span.context.trace_id) == ("send t", original.trace_id)
    assert span.parent.span_id == (PARENT_ID if around else original.span_id)
    assert span.attributes[ORIGINAL] == f"{original.span_id:016x}"
    assert span.attributes[REASON] == "error"
    assert span.attributes["messaging.kafka.message.key"] == "k"
    assert span.attributes["messaging.destination.partition.id"] == "1"
    assert span.attributes["otelkafka.send.blocked_duration"] >= 0
    assert span.attributes["error.type"] == ("NotAcknowledgedError" if how == "never resolved" else "OSError")
    assert before <= span.start_time <= span.end_time
    if how != "raised":
        assert span.end_time - span.start_time >= 5_000_000
    assert errors.counted() == {"error": 1}


def test_acknowledged_sends_are_not_told(spans, errors):
    """Nothing is recorded of what went well; nothing waits any more."""
    producer = errors.producer(FakeProducer())
    for _ in range(3):
        producer.send("t", b"v").acknowledge()
    producer.close()
    assert spans.spans == []


def test_off_nothing_is_recorded(spans, metrics):
    """The default."""
    side = Side(spans, metrics)
    with pytest.raises(ValueError), process_of(side.consumer(process="manual"), late()):
        raise ValueError
    side.producer(FakeProducer()).send("t", b"v").fail(OSError())
    assert spans.spans == []


def test_without_metrics_it_records_all_the_same(spans):
    """Nobody listens to metrics: nothing is counted, the spans are there."""
    options = {"tracer_provider": spans.tracer_provider, "sample_errors": True}
    wrap_producer(FakeProducer(), ProducerOptions(**options)).send("t", b"v").fail(OSError())
    with pytest.raises(ValueError), process(late(), ConsumerOptions(**options)):
        raise ValueError
    for _ in wrap_consumer(FakeConsumer(late()), ConsumerOptions(**options, sample_waits_over=1)):
        pass
    assert [span.attributes[REASON] for span in spans.spans] == ["error", "error", "wait"]


def test_exemplar_of_a_late_record_leads_to_its_trace(spans, metrics):
    """The histograms are recorded with the context of the span that stands for it."""
    with (
        pytest.raises(ValueError),
        process_of(Side(spans, metrics, sample_errors=True).consumer(process="manual"), late()),
    ):
        raise ValueError
    (point,) = metrics.metrics["messaging.process.duration"].data.data_points
    (exemplar,) = point.exemplars
    assert (exemplar.trace_id, exemplar.span_id) == (TRACE_ID, spans.spans[0].context.span_id)


@pytest.mark.parametrize("recorder", [MetricRecorder], ids=["fresh"])
def test_predecessor_that_failed_is_named_by_its_recorded_span(spans, recorder):
    """The link of the next one leads to the span that is there."""
    side = Side(spans, recorder(), sample_errors=True)
    consumer = side.consumer(process="manual")
    with pytest.raises(ValueError), process_of(consumer, late(0)):
        time.sleep(0.005)
        raise ValueError
    with process_of(consumer, late(1, headers=[traceparent(5)])):
        pass
    first, second = spans.spans
    assert [link.context.span_id for link in second.links] == [first.context.span_id]


@pytest.mark.parametrize("kind", [RAISES, WRONG_TYPE])
@pytest.mark.parametrize("place", PLACES)
def test_no_fault_of_telemetry_shows(place, kind, monkeypatch):
    """Whatever fails of it while what failed or waited is recorded: the application sees its own error alone."""
    injection = Injection(kind, monkeypatch.setattr)
    told = {
        "tracer_provider": injection.provider(sampler=ParentBased(ALWAYS_OFF)),
        "meter_provider": injection.metrics.meter_provider,
        "pipeline_time": True,
        "sample_errors": True,
        **PLACES[place].arrange(injection),
    }
    consuming = {name: value for name, value in told.items() if name not in {"on_send", "on_ack"}}
    producing = {name: value for name, value in told.items() if name != "on_process"}
    for over in (None, 0):
        options = ConsumerOptions(**consuming, sample_waits_over=over)
        for headers in ([UNSAMPLED], [UNSAMPLED, STATE]):
            with pytest.raises(KeyError), process_of(wrap_consumer(FakeConsumer(), options), late(headers=headers)):
                raise KeyError
            with pytest.raises(KeyError), process_batch([late(headers=headers)], options):
                raise KeyError
    bare = FakeProducer()
    producer = wrap_producer(bare, ProducerOptions(**producing))
    producer.send("t", b"v", b"k").fail(OSError())
    producer.close()
    assert len(bare.calls) == 1
    assert context.get_current() == {}
    assert [span.name for span in injection.spans if span.end_time is None] == [] or place == "Span.end"
