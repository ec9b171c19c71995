"""Methods that a subclass adds and that call the client itself: no wrapper sees that, and a warning says so."""

from unittest.mock import MagicMock

import pytest

from otelkafka import wrap_consumer, wrap_producer
from otelkafka.testing import FakeConsumer, FakeProducer
from tests.support.internals import Patch, ProducerFace


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if "past the wrapper" in record.getMessage()]


class Publishing(FakeProducer):
    def publish(self, value):
        return self.send("t", value)


def test_helper_is_named_once_a_class(caplog):
    """With what to use instead."""

    class Own(Publishing):
        pass

    for _ in range(2):
        wrap_producer(Own())
    (warning,) = warnings(caplog)
    assert warning.startswith("Own.publish() calls send() of the client itself, past the wrapper")
    assert "KafkaInstrumentor" in warning


class Iterating(FakeConsumer):
    def each(self):
        yield from self


class Looping(FakeConsumer):
    def each(self, process):
        for record in self:
            process(record)


class Taking(FakeConsumer):
    def first(self):
        return next(self)


class Polling(FakeConsumer):
    def later(self):
        return lambda: self.poll(100)


class Base(FakeConsumer):
    def poll_all(self):
        return super().poll()


class Inheriting(Base):
    pass


@pytest.mark.parametrize("own", [Iterating, Looping, Taking, Polling, Inheriting])
def test_helper_of_a_consumer(own, caplog):
    """A loop over itself, `next()`, a call in a function inside, by `super()`, inherited."""
    wrap_consumer(own())
    assert len(warnings(caplog)) == 1


class Overriding(FakeProducer):
    def __init__(self):
        super().__init__()
        self.others = []

    def send(self, topic, value=None, **more):
        return super().send(topic, value, **more)

    def close(self, *args, **kwargs):
        self.send("t", b"bye")
        return super().close(*args, **kwargs)

    def __enter__(self):
        self.send("t", b"hello")
        return self

    def stop_others(self):
        for other in self.others:
            other.close()

    def name_of_send(self):
        return self.others and self.others[0].send


@pytest.mark.parametrize("own", [FakeProducer, Overriding])
def test_no_warning_for_what_the_wrapper_sees(own, caplog):
    """What overrides a traced method, and what calls other objects than the client."""
    wrap_producer(own())
    assert warnings(caplog) == []


def test_no_warning_where_the_class_is_patched(caplog):
    """Zero code traces what a helper calls."""
    library = type("Library", (FakeProducer,), {})
    Patch(library, ProducerFace, lambda client: None).apply()

    class Own(library):
        def publish(self, value):
            return self.send("t", value)

    wrap_producer(Own())
    assert warnings(caplog) == []


def test_no_warning_for_a_client_that_is_no_subclass(caplog):
    """A client of the application's own making is the application's to trace."""

    class Alike:
        def send(self, topic):
            pass

        def publish(self):
            self.send("t")

    wrap_producer(Alike())
    assert warnings(caplog) == []


def test_code_of_what_is_no_subclass_of_the_clients_is_not_read(monkeypatch, caplog):
    """A mock has a class of its own each, with a hundred methods: to read them takes longer than many a test."""
    monkeypatch.setattr("dis.get_instructions", lambda _: pytest.fail("read"))
    wrap_producer(MagicMock())
    wrap_consumer(MagicMock())
    assert warnings(caplog) == []
