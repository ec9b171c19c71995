"""Carriers of headers: what they do with them, and that one of the user's own is used on both sides."""

from otelkafka import HeaderCarrier
from tests.support.fakes import FakeProducer, consumer_of, producer_of, record


class Prefixed(HeaderCarrier):
    """A carrier of the user's own."""

    def set(self, key, value):
        super().set(f"my-{key}", value)

    def get(self, key):
        return super().get(f"my-{key}")

    def keys(self):
        keys = super().keys()
        return [key.removeprefix("my-") for key in keys]


class BrokenCarrier(HeaderCarrier):
    def set(self, key, value):
        raise RuntimeError("set")

    def get(self, key):
        raise RuntimeError("get")


def test_carrier_of_the_users_own(recorder):
    """A carrier that adds a prefix is used on both sides, and a stale context of its own goes."""
    bare = FakeProducer()
    producer_of(recorder, bare, carrier=Prefixed, max_in_flight=0).send("t", b"v", headers=[("my-traceparent", b"old")])
    (headers,) = bare.headers
    assert [key for key, _ in headers] == ["my-traceparent"]
    list(consumer_of(recorder, record(0, headers=headers), carrier=Prefixed))
    sent, processed = recorder.spans
    assert processed.parent.span_id == sent.context.span_id


def test_broken_carrier_costs_nothing(recorder, caplog):
    """A carrier that raises neither loses a record nor keeps one from being sent."""
    bare = FakeProducer()
    producer_of(recorder, bare, carrier=BrokenCarrier).send("t", b"v", headers=[("x", b"y")])
    assert bare.headers == [[("x", b"y")]]
    assert len(list(consumer_of(recorder, record(0), carrier=BrokenCarrier))) == 1
    assert {each.args[0] for each in caplog.records} <= {"inject", "extract"}


def test_carrier_works_on_a_copy():
    """Set replaces every header of the key, get returns the last valid one, other headers stay as they are."""
    given = [("k", b"1"), ("x", None), ("k", b"2"), ("k", b"\xff"), "junk", (b"k", b"3")]
    carrier = HeaderCarrier(given)
    assert carrier.get("k") == "2"
    assert carrier.get("x") is None
    assert carrier.keys() == ["k", "x"]
    carrier.set("k", "new")
    assert carrier.headers == [("x", None), "junk", (b"k", b"3"), ("k", b"new")]
    assert len(given) == 6
    assert HeaderCarrier().headers == HeaderCarrier(()).headers == []


def test_carrier_with_headers_that_cannot_be_sent_is_contained(recorder, caplog):
    """What send() would refuse is not given to it: the record goes out as the caller gave it."""

    class Tuples(HeaderCarrier):
        headers = property(lambda self: tuple(super().headers))

    bare = FakeProducer()
    producer_of(recorder, bare, carrier=Tuples).send("t", b"v", headers=[("x", b"y")])
    assert bare.headers == [[("x", b"y")]]
    assert "must be a list" in caplog.text
