"""Headers of subclasses: what the client accepts without us it accepts with us, and it carries the context."""

from typing import NamedTuple

import pytest
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otelkafka import HeaderCarrier, ProducerOptions, extract, inject
from otelkafka.testing import FakeProducer
from tests.support.face import wrap_producer
from tests.support.fakes import TRACEPARENT
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.per_client


class Header(NamedTuple):
    key: str
    value: bytes


class OfList(list):
    pass


class OfTuple(tuple):
    __slots__ = ()


class OfStr(str):
    __slots__ = ()


class OfBytes(bytes):
    pass


HEADERS = {
    "plain": [("k", b"v")],
    "empty": [],
    "named tuples": [Header("k", b"v"), ("k", b"w")],
    "subclass of tuple": [OfTuple(("k", b"v"))],
    "subclass of list": OfList([("k", b"v")]),
    "empty subclass of list": OfList(),
    "subclass of str": [(OfStr("k"), b"v")],
    "subclass of bytes": [("k", OfBytes(b"v"))],
    "a context in a named tuple": [Header(*TRACEPARENT), Header("k", b"v")],
    "a context under a subclass of str": [(OfStr(TRACEPARENT[0]), TRACEPARENT[1])],
    "bytearray": [("k", bytearray(b"v"))],
    "memoryview": [("k", memoryview(b"v"))],
    "text": [("k", "v")],
    "no value": [("k", None)],
    "lists": [["k", b"v"]],
    "tuple": (("k", b"v"),),
    "empty tuple": (),
    "triples": [("k", b"v", 1)],
    "dict": {"k": b"v"},
}


def outcome(producer, headers):
    """What becomes of a send: None, or the error of the client."""
    try:
        producer.send("t", b"v", headers=headers)
    except (TypeError, AssertionError) as error:
        return type(error), str(error)
    return None


@pytest.mark.parametrize("name", HEADERS)
def test_client_accepts_and_refuses_headers_as_without_us(bare_producer, make_producer, make_consumer, topic, name):
    """The same error, or the record with its headers and the context of its send."""
    headers = HEADERS[name]
    try:
        bare_producer.send(topic, b"v", headers=headers).get(PATIENCE)
        refusal = None
    except (TypeError, AssertionError) as error:
        refusal = error
    producer = make_producer()
    if refusal is not None:
        with pytest.raises(type(refusal)) as wrapped:
            producer.send(topic, b"v", headers=headers)
        assert str(wrapped.value) == str(refusal)
        return
    producer.send(topic, b"v", headers=headers).get(PATIENCE)
    consumer = make_consumer(process="manual")
    bare, traced = next(consumer), next(consumer)
    rest = [header for header in traced.headers if header[0] != TRACEPARENT[0]]
    assert rest == [header for header in bare.headers if header[0] != TRACEPARENT[0]]
    assert len(traced.headers) == len(rest) + 1


@pytest.mark.parametrize("name", HEADERS)
def test_fake_accepts_and_refuses_headers_as_the_client(bare_producer, topic, recorder, name):
    """By the same kind of error; and wrapped as bare."""
    headers = HEADERS[name]
    try:
        bare_producer.send(topic, b"v", headers=headers).get(PATIENCE)
        refusal = None
    except (TypeError, AssertionError) as error:
        refusal = type(error)
    assert (outcome(FakeProducer(), headers) or [None])[0] is refusal
    bare = FakeProducer()
    wrapped = wrap_producer(bare, ProducerOptions(tracer_provider=recorder.tracer_provider))
    assert outcome(wrapped, headers) == outcome(FakeProducer(), headers)
    sent = [key for record in bare.history for key, _ in record.headers]
    assert sent.count(TRACEPARENT[0]) == (refusal is None)


def test_serializer_gets_headers_of_the_class_that_the_caller_gave(recorder, monkeypatch):
    """With the context in them, and whatever else such a list can do; the caller's own is left as it was."""
    accepted = outcome(FakeProducer(), OfList()) is None
    seen = seen_by_send(monkeypatch)
    for headers in ([], [Header("k", b"v")]):
        given = OfList(headers)
        given.more = "more"
        wrap_producer(FakeProducer(), options_of(recorder)).send("t", b"v", headers=given)
        sent = seen.pop()
        assert (type(sent), sent.more) == (OfList, "more")
        assert [key for key, _ in sent] == [*dict(headers), *([TRACEPARENT[0]] if accepted else [])]
        assert given == headers


def test_headers_that_cannot_be_copied_are_sent_as_they_are(recorder, monkeypatch):
    """A list that returns itself as its copy would be changed."""

    class Single(OfList):
        def __copy__(self):
            return self

    class Refusing(OfList):
        def __copy__(self):
            raise OSError

    seen = seen_by_send(monkeypatch)
    for given in (Single([("k", b"v")]), Refusing([("k", b"v")])):
        wrap_producer(FakeProducer(), options_of(recorder)).send("t", b"v", headers=given)
        assert seen.pop() is given
        assert given == [("k", b"v")]


def seen_by_send(monkeypatch):
    seen, send = [], FakeProducer.send

    def seeing(self, topic, value, headers):
        seen.append(headers)
        return send(self, topic, value)

    monkeypatch.setattr(FakeProducer, "send", seeing)
    return seen


def options_of(recorder):
    return ProducerOptions(tracer_provider=recorder.tracer_provider)


def test_inject_keeps_headers_of_subclasses(recorder):
    """Without a producer at hand it is for the caller's producer to accept them."""
    context = extract([TRACEPARENT])
    given = OfList([Header("k", b"v")])
    assert inject(given, context) == [Header("k", b"v"), TRACEPARENT]
    assert type(inject(given, context)[0]) is Header


def test_carrier_may_return_subclasses_where_the_client_takes_them(recorder):
    """Headers of a carrier of the user's are no stricter than the client is."""

    class Named(HeaderCarrier):
        @property
        def headers(self):
            return [Header(*header) for header in super().headers]

    class Propagator(TraceContextTextMapPropagator):
        """Not exactly the API's own, so that the carrier is asked."""

    bare = FakeProducer()
    options = ProducerOptions(tracer_provider=recorder.tracer_provider, carrier=Named, propagator=Propagator())
    takes = outcome(FakeProducer(), [Header("k", b"v")]) is None
    wrap_producer(bare, options).send("t", b"v", headers=[("k", b"v")])
    assert [key for key, _ in bare.history[0].headers] == ["k", TRACEPARENT[0]][: 1 + takes]
