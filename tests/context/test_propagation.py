"""Contexts in headers: what is put there, taken from there, and merged."""

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otelkafka import Options, extract, inject
from tests.support.face import process_batch_of, process_of
from tests.support.fakes import TRACE_ID, TRACEPARENT, FakeProducer, ambient_of, consumer_of, producer_of, record
from tests.support.sides import UNSAMPLED, Side, late


def test_tracestate_and_baggage_travel(recorder):
    """tracestate and baggage pass through a relay unharmed."""
    incoming = [TRACEPARENT, ("tracestate", b"vendor=x"), ("baggage", b"tenant=a")]
    bare = FakeProducer()
    producer_of(recorder, bare).send("t", b"v", headers=incoming)
    sent = dict(bare.headers[0])
    assert (sent["tracestate"], sent["baggage"]) == (b"vendor=x", b"tenant=a")
    assert sent["traceparent"].split(b"-")[1].decode() == TRACE_ID


def test_inject_and_extract_without_a_client(recorder):
    """inject() takes the current or a given context; extract() starts from nothing."""
    with ambient_of(recorder) as ambient:
        headers = inject([("x", b"y")])
        assert not trace.get_current_span(extract([])).get_span_context().is_valid
    assert trace.get_current_span(extract(headers)).get_span_context().span_id == ambient.get_span_context().span_id
    given = context.Context()
    assert inject([("x", b"y")], given) == [("x", b"y")]


def test_header_that_a_reader_would_take_for_the_context_does_not_go_stale(recorder):
    """What the propagator reads is taken away, also where it is not among the fields that it writes."""

    class Old(TraceContextTextMapPropagator):
        """Reads a name that it does not write any more."""

        def extract(self, carrier, context=None, getter=None):
            getter.get(carrier, "old-context")
            return super().extract(carrier, context, getter)

    bare = FakeProducer()
    producer_of(recorder, bare, propagator=Old()).send("t", b"v", headers=[("old-context", b"1"), ("x", b"y")])
    assert [key for key, _ in bare.headers[0]] == ["x", "traceparent"]


def test_baggage_is_merged_entry_by_entry(recorder):
    """Sent: the ambient entries over those of the headers. Consumed: the record's over the ambient ones."""
    carried = [TRACEPARENT, ("baggage", b"both=record,record=1")]
    token = context.attach(baggage.set_baggage("ambient", "1", baggage.set_baggage("both", "ambient")))
    try:
        bare = FakeProducer()
        producer_of(recorder, bare).send("t", b"v", headers=carried)
        assert baggage.get_all(extract(bare.headers[0])) == {"both": "ambient", "ambient": "1", "record": "1"}
        for relation in ("parent", "link", "both"):
            for _ in consumer_of(recorder, record(0, headers=carried), relation=relation):
                assert baggage.get_all() == {"both": "record", "ambient": "1", "record": "1"}
    finally:
        context.detach(token)


def test_record_without_a_context_never_inherits_the_callers(recorder):
    """extract() starts from nothing, whatever is current."""
    with ambient_of(recorder):
        token = context.attach(baggage.set_baggage("a", "1"))
        found = extract([("x", b"y")])
        assert extract([("x", b"y")], Options(propagator=W3CBaggagePropagator())) == context.Context()
        context.detach(token)
    assert baggage.get_all(found) == {}
    assert not trace.get_current_span(found).get_span_context().is_valid


def test_inject_replaces_a_stale_context():
    """A stale tracestate does not travel with a context that is not its own."""
    fresh = extract([TRACEPARENT])
    stale = [("traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"), ("tracestate", b"a=b"), ("x", b"y")]
    assert inject(stale, fresh) == [("x", b"y"), TRACEPARENT]
    assert get_current_span(extract(None)).get_span_context().is_valid is False


@pytest.mark.parametrize("options", [{}, {"pipeline_time": True}, {"sample_errors": True}, {"sample_waits_over": 1}])
def test_a_header_that_is_left_out_is_counted_once(options):
    """However often it is read."""
    side = Side(**options)
    with (
        pytest.raises(ValueError),
        process_batch_of(side.consumer(process="manual"), [late(headers=[UNSAMPLED, ("baggage", b"\xff")])]),
    ):
        raise ValueError
    assert side.dropped()["header"] == 1


def test_a_header_that_is_left_out_of_a_failed_record_is_counted_once():
    """Though it is read again for the span that its failure gets."""
    side = Side(sample_errors=True)
    with (
        pytest.raises(ValueError),
        process_of(side.consumer(process="manual"), late(headers=[UNSAMPLED, ("baggage", b"\xff")])),
    ):
        raise ValueError
    assert side.dropped()["header"] == 1
