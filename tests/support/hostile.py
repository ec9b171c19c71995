"""What must hold of any headers, key and value, and how to make such out of any bytes."""

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from otelkafka import HeaderCarrier, Options, extract, inject, process, process_batch
from otelkafka.testing import SpanRecorder
from tests.support.face import wrap_consumer, wrap_producer
from tests.support.fakes import TRACEPARENT, FakeConsumer, FakeProducer, is_nothing_current, options_of, record
from tests.support.internals import are_sendable
from tests.support.operations import without_context

FIELDS = ("traceparent", "tracestate", "baggage")
KEYS = (*FIELDS, *map(str.upper, FIELDS), "traceparent\0", "x", "", "é", "\ud800")


class Generally(HeaderCarrier):
    """A carrier for which there is no fast path."""


GENERALLY = Options(carrier=Generally)
RECORDERS = (SpanRecorder(), SpanRecorder(ParentBased(ALWAYS_OFF)))
CONSUMING = [options_of(each, capture_headers=("*",), poll_spans=True) for each in RECORDERS]
PRODUCING = [Options(tracer_provider=each.tracer_provider, capture_headers=("*",)) for each in RECORDERS]


def check(headers, key=None, value=None):
    """Whatever the headers, key and value of a record are, it is read, handed over and sent on as it is."""
    before = headers[:]
    context = extract(headers)
    assert type(context) is Context
    assert span_in(context) == span_in(extract(headers, GENERALLY))
    carried = inject(headers)
    assert without_context(filter(_is_pair, carried)) == without_context(filter(_is_pair, before))
    for options in CONSUMING:
        check_consumer(options, headers, key, value)
    for options in PRODUCING if are_sendable(headers) else ():
        check_producer(options, headers, key, value)
    for recorder in RECORDERS:
        recorder.clear()
    assert headers == before
    assert is_nothing_current()


def check_consumer(options, headers, key, value):
    consumed = [record(offset, headers=headers, key=key, value=value) for offset in range(2)]
    assert list(wrap_consumer(FakeConsumer(*consumed), options)) == consumed
    polled = wrap_consumer(FakeConsumer(*consumed), options).poll()
    assert [each for records in polled.values() for each in records] == consumed
    with process(consumed[0], options), process_batch(consumed, options):
        pass


def check_producer(options, headers, key, value):
    bare = FakeProducer(key_serializer=to_bytes, value_serializer=to_bytes)
    assert wrap_producer(bare, options).send("t", value, key, headers) is bare.futures[0]
    (sent,) = bare.headers
    assert are_sendable(sent)
    assert without_context(sent) == without_context(headers)
    assert len([key for key, _ in sent if key == "traceparent"]) == 1


def to_bytes(part):
    """Serialize what may be of any type."""
    return part if part is None or isinstance(part, bytes) else repr(part).encode()


def span_in(context):
    found = trace.get_current_span(context).get_span_context()
    return found.trace_id, found.span_id, int(found.trace_flags)


def _is_pair(header):
    return isinstance(header, tuple) and len(header) == 2


def headers_from(data):
    """Make headers out of bytes, most of them near to what a context looks like."""
    headers, at = [], 0
    while at + 3 <= len(data) and len(headers) < 50:
        kind, key, length = data[at : at + 3]
        part = data[at + 3 : at + 3 + length]
        headers.append(_header(kind % 8, KEYS[key % len(KEYS)], part))
        at += 3 + length
    return headers


def _header(kind, key, part):
    valid = TRACEPARENT[1]
    if kind < 3:
        return key, part
    if kind == 3:
        return "traceparent", part + valid[len(part) :]
    if kind == 4:
        return "traceparent", valid[: -len(part) or None] + part
    if kind == 5:
        return key, part * 300
    return (key, None) if kind == 6 else (key, part, part) if part else (None, valid)
