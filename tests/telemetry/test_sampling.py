"""The records that matter: what waited too long, and what failed, is recorded although nobody had sampled it."""

import threading

import pytest
from kafka import TopicPartition
from opentelemetry import context, trace
from opentelemetry.propagators.b3 import B3MultiFormat
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    SamplingResult,
)

from otelkafka import ConsumerOptions, ProducerOptions, extract, process, process_batch, wrap_handler
from otelkafka.testing import SpanRecorder
from tests.support.face import bare_of, process_batch_of, process_of, wrap_consumer, wrap_producer
from tests.support.fakes import FakeConsumer, FakeProducer, ambient_of, kinds, record, traceparent
from tests.support.faults import PLACES, RAISES, WRONG_TYPE, Injection
from tests.support.internals import Limit, replace_clock_of_limits
from tests.support.sides import NEVER, ORIGINAL, REASON, UNSAMPLED, Side, late

SAMPLERS = {"never": ParentBased(ALWAYS_OFF), "ratio": ParentBasedTraceIdRatio(1e-9)}
TRACE_ID = PARENT_ID = 1
STATE = ("tracestate", b"vendor=1")


@pytest.fixture(params=SAMPLERS)
def spans(request):
    """A recorder under a sampler that follows its parent, and samples nothing by itself."""
    return SpanRecorder(SAMPLERS[request.param])


@pytest.fixture
def errors(spans, metrics):
    return Side(spans, metrics, sample_errors=True)


@pytest.fixture
def waits(spans, metrics):
    return Side(spans, metrics, sample_waits_over=1)


def ids(span):
    return span.context.trace_id, span.parent and span.parent.span_id


@pytest.mark.parametrize("headers", [[UNSAMPLED], [UNSAMPLED, STATE]], ids=["plain", "with a tracestate"])
@pytest.mark.parametrize("relation", ["parent", "link", "both"])
def test_record_that_waited_is_recorded_in_its_own_trace(spans, waits, headers, relation):
    """Same trace id, its creation context as the parent, in every relation, and why it is there; what follows, too."""
    sent = FakeProducer()
    with ambient_of(SpanRecorder(), "around"):
        for _ in waits.consumer(late(headers=headers), relation=relation):
            assert trace.get_current_span().is_recording()
            waits.producer(sent).send("u", b"v").acknowledge()
    send, span = spans.spans
    assert (span.name, span.attributes[REASON]) == ("process t", "wait")
    assert ids(span) == (TRACE_ID, PARENT_ID)
    assert kinds(span) == (["creation", "ambient"] if relation == "both" else ["ambient"])
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


def test_limit_holds_for_each_client_and_reason(spans, metrics, monkeypatch):
    """An outage does not flood the backend: the rest is counted, and processed as ever."""
    side = Side(spans, metrics, sample_waits_over=1, sample_errors=True, sample_limit=3)
    ticks = []
    replace_clock_of_limits(lambda: 1.0, monkeypatch.setattr)
    for _ in side.consumer(*[late(at) for at in range(50)]):
        ticks.append(trace.get_current_span().is_recording())
    replace_clock_of_limits(lambda: 2.0, monkeypatch.setattr)
    assert len(ticks) == 50
    assert len(spans.spans) == sum(ticks) == 3
    assert side.dropped() == {"sample_limit": 47}
    assert side.counted() == {"wait": 3}
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
def test_failed_processing_has_a_span_made_when_it_happened(spans, errors, headers, clock):
    """In the record's trace, with its true start and end, its exception, and the id that logs and headers carry."""
    before = clock.now
    with (
        pytest.raises(ValueError),
        process_of(errors.consumer(process="manual"), late(7, headers=headers, key=b"k", value=b"v")) as original,
    ):
        clock.advance(0.005)
        raise ValueError("poison")
    (span,) = spans.spans
    assert (span.name, ids(span)) == ("process t", (TRACE_ID, PARENT_ID))
    assert span.attributes[REASON] == "error"
    assert span.attributes[ORIGINAL] == f"{original.get_span_context().span_id:016x}"
    assert span.context.span_id != original.get_span_context().span_id
    assert span.attributes["messaging.kafka.offset"] == 7
    assert span.attributes["messaging.kafka.message.key"] == "k"
    assert span.attributes["otelkafka.queue.duration"] == 5
    assert (span.attributes["error.type"], span.status.description) == ("ValueError", "poison")
    assert span.events[0].attributes["exception.type"] == "ValueError"
    assert (span.start_time, span.end_time) == (before, before + 5_000_000)
    assert errors.counted() == {"error": 1}


def test_failure_of_a_handler_and_of_a_record_without_context(spans, errors):
    """A trace that began here unsampled keeps its id; its first span, which nobody recorded, is the parent."""
    options = ConsumerOptions(**errors.options)
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


def test_failure_in_a_loop_that_process_records(spans, errors):
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


def test_failure_under_both_relations(spans, errors, clock):
    """The span that is made after it is a child of the send, too, and links to it."""
    consumer = errors.consumer(process="manual", relation="both")
    for headers in ([UNSAMPLED], []):
        with pytest.raises(ValueError), process_of(consumer, record(0, headers=headers)) as original:
            raise ValueError
    continued, root = spans.spans
    assert ids(continued) == (TRACE_ID, PARENT_ID)
    assert [(link.context.span_id, link.attributes["otelkafka.link.type"]) for link in continued.links] == [
        (PARENT_ID, "creation")
    ]
    assert (ids(root)[0], root.links) == (original.get_span_context().trace_id, ())


def test_what_succeeds_or_is_sampled_is_not_recorded_twice(spans, errors):
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
def test_batch_takes_the_first_unsampled_context_and_links_all(spans, metrics, reason):
    """The first that is not sampled is the parent; every creation context is linked."""
    side = Side(spans, metrics, **({"sample_waits_over": 1} if reason == "wait" else {"sample_errors": True}))
    records = [
        late(at, headers=[traceparent(at, sampled=at == 0)] if at < 3 else [], key=b"%d" % at) for at in range(4)
    ]
    with pytest.raises(ValueError), process_batch_of(side.consumer(process="manual"), records) as given:
        raise ValueError
    (span,) = spans.spans
    assert ids(span) == (2, 2)
    assert [link.context.trace_id for link in span.links] == [1, 2, 3]
    assert kinds(span) == ["creation"] * 3
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
    options = waits.consumer_options(tracer_provider=everything.tracer_provider)
    with ambient_of(everything), process_batch([late()], options) as span:
        assert REASON not in span.attributes
        assert kinds(span) == ["creation"]


def test_batch_of_one_that_did_not_wait(spans, waits):
    """Nothing is recorded."""
    with process_batch_of(waits.consumer(process="manual"), [late(seconds=0)]):
        pass
    assert spans.spans == []


@pytest.mark.parametrize("how", ["raised", "reported", "never resolved"])
@pytest.mark.parametrize("around", [[], [UNSAMPLED], [UNSAMPLED, STATE]], ids=["root", "inside", "with a tracestate"])
def test_failed_send_has_a_span_made_when_it_happened(spans, errors, how, around, clock):
    """In its own trace, with its true start, its error and its key."""
    bare = FakeProducer(error=OSError("gone") if how == "raised" else None)
    producer, before = errors.producer(bare), clock.now
    token = context.attach(extract(around))
    try:
        if how == "raised":
            with pytest.raises(OSError):
                producer.send("t", b"v", b"k", partition=1)
        else:
            future = producer.send("t", b"v", b"k", partition=1)
    finally:
        context.detach(token)
    if how != "raised":
        clock.advance(0.005)
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
    assert span.start_time == before
    assert span.end_time - before == (0 if how == "raised" else 5_000_000)
    assert errors.counted() == {"error": 1}


def test_acknowledged_sends_are_not_recorded(spans, errors):
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


def test_without_metrics_it_records_reason(spans):
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


def test_what_failed_and_kept_the_consumer_busy_is_linked_by_its_recorded_span(spans, metrics, clock):
    """The link of the next one leads to the span that is there."""
    side = Side(spans, metrics, sample_errors=True)
    consumer = side.consumer(process="manual")
    with pytest.raises(ValueError), process_of(consumer, late(0)):
        clock.advance(0.005)
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
    shown = {
        "tracer_provider": injection.provider(sampler=ParentBased(ALWAYS_OFF)),
        "meter_provider": injection.metrics.meter_provider,
        "pipeline_time": True,
        "sample_errors": True,
        **PLACES[place].arrange(injection),
    }
    consuming = {name: value for name, value in shown.items() if name not in {"on_send", "on_ack"}}
    producing = {name: value for name, value in shown.items() if name != "on_process"}
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


def test_links_of_a_failure_are_to_what_was_before_it(clock):
    """Another record that was processed meanwhile is not what kept the consumer busy."""
    side = Side(sample_errors=True)
    consumer = side.consumer(process="manual")
    clock.advance(0.005)
    outer, inner = late(0), late(1)
    with process_of(consumer, late(7)):
        clock.advance(0.003)
    before = process_of(consumer, outer)
    with pytest.raises(ValueError), before:
        with process_of(consumer, inner):
            clock.advance(0.002)
        raise ValueError
    (span,) = side.spans.spans
    assert [
        each.attributes["messaging.kafka.offset"]
        for each in span.links
        if each.attributes["otelkafka.link.type"] == "busy"
    ] == [7]


def test_links_of_a_batch_that_waited_stay_within_max_links():
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
    assert len(span.links) + span.attributes.get("otelkafka.links.dropped", 0) == 5


def test_record_whose_context_is_the_parent_of_its_batch_is_described_as_the_others_are():
    """Topic, partition, offset and key are on its link; the span has what all share."""
    side = Side()
    records = [late(at, headers=[traceparent(at, sampled=False)], topic="tu"[at], key=b"%d" % at) for at in range(2)]
    with process_batch_of(side.consumer(sample_waits_over=1, process="manual"), records):
        pass
    (span,) = side.spans.spans
    names = "messaging.destination.name", "messaging.kafka.offset", "messaging.kafka.message.key"
    assert [tuple(link.attributes[name] for name in names) for link in span.links] == [("t", 0, "0"), ("u", 1, "1")]
    assert span.attributes.keys().isdisjoint(names)


class RecordsOnly(Sampler):
    """Records all for the sake of metrics, and exports what its delegate samples."""

    def should_sample(self, *args, **kwargs):
        found = NEVER.should_sample(*args, **kwargs)
        decision = Decision.RECORD_ONLY if found.decision is Decision.DROP else found.decision
        return SamplingResult(decision, found.attributes, found.trace_state)

    def get_description(self):
        return "RecordsOnly"


def test_failures_under_a_sampler_that_records_without_sampling():
    """Such a span is exported no more than one that is not recorded: each failure has one that is."""
    side = Side(SpanRecorder(RecordsOnly()), sample_errors=True)
    with pytest.raises(ValueError), process_of(side.consumer(process="manual"), late()):
        raise ValueError
    side.producer(FakeProducer()).send("t", b"v").fail(OSError())
    assert [each.attributes.get(REASON) for each in side.spans.spans if each.context.trace_flags.sampled] == [
        "error"
    ] * 2


class OffWithRecording(Sampler):
    """Records all, and exports nothing."""

    def should_sample(self, *args, **kwargs):
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self):
        return "Off"


def test_nothing_counts_as_sampled_that_the_sampler_does_not():
    """Where the sampler's word is "record only" also for what waited, that stands."""
    side = Side(SpanRecorder(OffWithRecording()))
    for _ in side.consumer(late(), sample_waits_over=1):
        assert not trace.get_current_span().get_span_context().trace_flags.sampled
    assert side.points("otelkafka.sampled.records") == {}


def test_without_an_sdk_nothing_counts_against_the_limit_whatever_the_propagator():
    """Nothing would be recorded, also where the format of the context is not known to the fast path."""
    side = Side(tracer_provider=trace.NoOpTracerProvider(), propagator=B3MultiFormat(), sample_limit=0)
    headers = [("x-b3-traceid", b"1" * 32), ("x-b3-spanid", b"2" * 16), ("x-b3-sampled", b"0")]
    for _ in side.consumer(late(headers=headers), sample_waits_over=1):
        pass
    assert side.dropped() == {}


def test_revoked_partition_is_an_event_of_the_span_made_after_the_failure():
    """As it is of a span that was recorded from its start."""
    side = Side(sample_errors=True)
    consumer = side.consumer(process="manual")
    consumer.subscribe(["t"])
    with pytest.raises(ValueError), process_of(consumer, late()):
        bare_of(consumer).listener.on_partitions_revoked([TopicPartition("t", 0)])
        raise ValueError
    (span,) = side.spans.spans
    assert [event.name for event in span.events] == ["exception", "otelkafka.partition.revoked"]


def test_lag_is_on_the_span_made_after_the_failure_in_a_loop():
    """As it was when the record was handed over."""
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


def test_failure_that_is_recorded_anyway_reads_no_context_again():
    """A sampled batch has its span: what its records carry is read once."""
    read = []

    class Counting(B3MultiFormat):
        def extract(self, carrier, context=None, getter=None):
            read.append(carrier)
            return extract([traceparent(1)])

    side = Side(SpanRecorder(ALWAYS_ON), sample_errors=True, propagator=Counting())
    consumer = side.consumer(process="manual")
    with pytest.raises(ValueError), process_batch_of(consumer, [late(at) for at in range(3)]):
        raise ValueError
    assert len(read) == 3


def test_ambient_link_of_a_failure():
    """docs/spans.md: "parent": the current span, if any."""
    side = Side(sample_errors=True)
    with ambient_of(SpanRecorder()), pytest.raises(ValueError), process_of(side.consumer(process="manual"), late()):
        raise ValueError
    (span,) = side.spans.spans
    assert kinds(span) == ["ambient"]


def test_ambient_link_of_a_failed_batch():
    """The same for a batch, also where the span around was not sampled; it comes before the records."""
    side = Side(sample_errors=True)
    token = context.attach(extract([traceparent(50, sampled=False)]))
    try:
        with pytest.raises(ValueError), process_batch_of(side.consumer(process="manual"), [late()]):
            raise ValueError
    finally:
        context.detach(token)
    (span,) = side.spans.spans
    assert kinds(span) == ["ambient", "creation"]


def test_tombstone_and_headers_of_a_failed_send_are_attributes():
    """Of the span that is made when it has failed, as of any other."""
    side = Side(sample_errors=True)
    side.producer(FakeProducer(), capture_headers=("x",)).send("t", None, b"k", [("x", b"1")]).fail(OSError())
    (span,) = side.spans.spans
    assert span.attributes["messaging.kafka.message.tombstone"] is True
    assert span.attributes["messaging.header.x"] == ("1",)


def test_failed_send_without_context_says_so():
    """Our header made the record too large, and then the send failed."""
    side = Side(sample_errors=True)
    bare = FakeProducer(too_large="raise")
    side.producer(bare).send("t", b"v", b"k").fail(OSError())
    (span,) = side.spans.spans
    assert span.attributes.get("otelkafka.send.without_context") is True


def test_limit_holds_where_threads_meet_at_the_turn_of_a_second(monkeypatch):
    """No more spans a second than the limit, also where two threads both find that a second has begun."""
    limit, admitted = Limit(5), []

    def monotonic():
        replace_clock_of_limits(lambda: 1.0, monkeypatch.setattr)
        other = threading.Thread(target=lambda: admitted.extend(limit.acquire() for _ in range(9)))
        other.start()
        other.join()
        return 1.0

    replace_clock_of_limits(monotonic, monkeypatch.setattr)
    admitted += [limit.acquire() for _ in range(9)]
    assert sum(admitted) == 5


def test_error_type_is_on_the_count_of_both_sides_or_of_none():
    """Producers and consumers count what was recorded against its sampling with the same attributes."""
    side = Side(sample_errors=True)
    with pytest.raises(ValueError), process_of(side.consumer(process="manual"), late()):
        raise ValueError
    side.producer(FakeProducer()).send("t", b"v").fail(OSError())
    shown = [each for each, _ in side.metrics.points("otelkafka.sampled.records")]
    assert len({"error.type" in each for each in shown}) == 1


def test_batch_inside_a_span_that_is_recorded_but_not_sampled():
    """It will be exported no more than one outside of it."""
    side = Side(SpanRecorder(RecordsOnly()))
    with ambient_of(side.spans), process_batch_of(side.consumer(sample_waits_over=1, process="manual"), [late()]):
        pass
    assert [each.attributes.get(REASON) for each in side.spans.spans if each.context.trace_flags.sampled] == ["wait"]


def test_wait_of_what_failed_is_what_it_was_when_it_began(clock):
    """A partition that is revoked meanwhile, because of which it fails, changes nothing of how long it waited."""
    found = []
    for sampler in (ALWAYS_ON, NEVER):
        side = Side(SpanRecorder(sampler), sample_errors=True)
        consumer = side.consumer(process="manual")
        consumer.subscribe(["t"])
        listener, partitions = bare_of(consumer).listener, [TopicPartition("t", 0)]
        clock.advance(1)
        listener.on_partitions_assigned(partitions)
        clock.advance(2)
        header = traceparent(1, sampled=sampler is ALWAYS_ON)
        with pytest.raises(ValueError), process_of(consumer, late(headers=[header])):
            listener.on_partitions_revoked(partitions)
            raise ValueError
        (span,) = side.spans.named("process t")
        found.append(span.attributes["otelkafka.queue.busy_duration"])
    assert found == [2, 2]


def test_with_a_disabled_sdk_nothing_counts_against_the_limit(monkeypatch):
    """Nothing would be recorded."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    side = Side(sample_limit=0, sample_errors=True)
    with pytest.raises(ValueError), process_of(side.consumer(process="manual", sample_waits_over=1), late()):
        raise ValueError
    monkeypatch.delenv("OTEL_SDK_DISABLED")
    assert side.dropped() == {}


def test_records_that_share_a_context_have_a_link_each():
    """A service without an SDK sends many records with the one context that it was given."""
    side = Side()
    with process_batch_of(side.consumer(sample_waits_over=1, process="manual"), [late(at) for at in range(3)]):
        pass
    (span,) = side.spans.spans
    assert {link.attributes["messaging.kafka.offset"] for link in span.links} == {0, 1, 2}
