"""A wrapped handler behaves as the function that it wraps: it is pickled, copied, inspected and called as that is."""

import asyncio
import copy
import functools
import inspect
import multiprocessing
import pickle
import typing
from concurrent.futures import ProcessPoolExecutor

import pytest
from opentelemetry import trace

from otelkafka import ConsumerOptions, wrap_handler
from otelkafka.testing import fake_record

ONE = fake_record(offset=7)


@wrap_handler
def handle(record: object, *, times: int = 1) -> int:
    """Return the offset."""
    return record.offset * times


@wrap_handler(options=ConsumerOptions(poll_spans=True))
async def handle_later(record):
    return record.offset


def plain(record):
    return record.offset


again = wrap_handler(plain, ConsumerOptions(poll_spans=True))


class Service:
    def __init__(self, factor=2):
        self.factor = factor

    @wrap_handler
    def method(self, record):
        return record.offset * self.factor

    @wrap_handler
    @classmethod
    def of_class(cls, record):
        return cls.__name__, record.offset

    @classmethod
    @wrap_handler
    def of_class_inside(cls, record):
        return cls.__name__, record.offset

    @wrap_handler
    @staticmethod
    def static(record):
        return record.offset

    @staticmethod
    @wrap_handler
    def static_inside(record):
        return record.offset

    def undecorated(self, record):
        return record.offset * self.factor

    def __call__(self, record):
        return record.offset * self.factor


on_call = wrap_handler(Service(3))
part = wrap_handler(functools.partial(plain))


def round_trip(handler, protocol=pickle.HIGHEST_PROTOCOL):
    return pickle.loads(pickle.dumps(handler, protocol))


HANDLERS = {
    "function": lambda: handle,
    "wrapped under another name": lambda: again,
    "method": lambda: Service(3).method,
    "method of the class": lambda: functools.partial(Service.method, Service()),
    "class method": lambda: Service.of_class,
    "class method of an instance": lambda: Service().of_class,
    "class method around": lambda: Service.of_class_inside,
    "static method": lambda: Service.static,
    "static method of an instance": lambda: Service().static,
    "static method around": lambda: Service.static_inside,
    "bound method, wrapped": lambda: wrap_handler(Service(3).undecorated),
    "object that is called": lambda: on_call,
    "partial, wrapped": lambda: part,
    "partial of a wrapped one": lambda: functools.partial(handle, times=2),
    "built-in": lambda: wrap_handler(repr),
}


@pytest.mark.parametrize("name", HANDLERS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_handler_of_every_kind_is_pickled(name, protocol):
    """What comes out of the pickle returns the same, and is wrapped."""
    handler = HANDLERS[name]()
    loaded = round_trip(handler, protocol)
    assert loaded(ONE) == handler(ONE)
    assert type(loaded) is type(handler)


@pytest.mark.parametrize("name", HANDLERS)
@pytest.mark.parametrize("copies", [copy.copy, copy.deepcopy])
def test_handler_of_every_kind_is_copied(name, copies):
    """The copy returns the same, and is wrapped."""
    handler = HANDLERS[name]()
    made = copies({"handler": handler} if copies is copy.deepcopy else handler)
    made = made["handler"] if copies is copy.deepcopy else made
    assert made(ONE) == handler(ONE)
    assert type(made) is type(handler)


@pytest.mark.parametrize("same", [round_trip, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("handler", [handle, handle_later])
def test_function_is_pickled_by_name_and_never_copied(same, handler):
    """As a function, it is the same object afterwards."""
    assert same(handler) is handler


def test_wrapped_one_out_of_a_pickle_has_its_options():
    """A function under its own name is not the wrapped one: that is made again, with its options."""
    loaded = round_trip(again)
    assert loaded is not again
    assert loaded.__wrapped__ is plain
    assert round_trip(loaded).__wrapped__ is plain


def test_method_of_a_copy_is_that_of_the_copied_instance():
    """As deepcopy() has it of a plain method; copy() leaves the instance."""
    service = Service(3)
    deep = copy.deepcopy([service, service.method])
    assert deep[1].__self__ is deep[0] is not service
    assert copy.copy(service.method).__self__ is service
    wrapped = wrap_handler(service)
    assert copy.deepcopy(wrapped).__wrapped__ is not service


def test_lambda_and_local_function_fail_as_they_do_without_us():
    """The error is the one that pickle raises for what is wrapped."""

    def local(record):
        return record

    for bare in (lambda record: record, local):
        with pytest.raises(Exception, match=r"<lambda>|local") as without:
            pickle.dumps(bare)
        with pytest.raises(type(without.value)) as wrapped:
            pickle.dumps(wrap_handler(bare))
        assert str(wrapped.value) == str(without.value)
        assert copy.deepcopy(bare) is bare


def test_options_that_cannot_be_pickled_are_an_error_of_theirs():
    """A provider that holds locks is in no pickle; by its name the handler needs none."""

    class Holds:
        def get_tracer(self, *_, **__):
            return trace.NoOpTracer()

        def __reduce__(self):
            raise TypeError("holds a lock")

    with pytest.raises(TypeError, match="holds a lock"):
        pickle.dumps(wrap_handler(plain, ConsumerOptions(tracer_provider=Holds())))


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_pool_of_processes_runs_a_handler(method):
    """With each way of starting a process that there is here."""
    service = Service(5)
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        assert pool.submit(handle, ONE).result() == 7
        assert pool.submit(service.method, ONE).result() == 35
        assert pool.submit(again, ONE).result() == 7
        assert list(pool.map(handle, [ONE, ONE])) == [7, 7]


def test_handler_is_inspected_as_the_function():
    """Name, signature, annotations, docstring, source and kind are the function's."""
    assert (handle.__name__, handle.__qualname__, handle.__module__) == ("handle", "handle", __name__)
    assert list(inspect.signature(handle).parameters) == ["record", "times"]
    assert list(inspect.signature(Service().method).parameters) == ["record"]
    assert typing.get_type_hints(handle) == {"record": object, "times": int, "return": int}
    assert inspect.getdoc(handle) == "Return the offset."
    assert "record.offset * times" in inspect.getsource(handle)
    assert inspect.isfunction(handle)
    assert inspect.ismethod(Service().method)


def test_coroutine_function_is_one():
    """A framework that asks whether to await gets the function's answer, also through a partial."""
    assert inspect.iscoroutinefunction(handle_later)
    assert inspect.iscoroutinefunction(functools.partial(handle_later))
    assert inspect.iscoroutinefunction(wrap_handler(functools.partial(handle_later)))
    assert not inspect.iscoroutinefunction(handle)
    assert asyncio.run(handle_later(ONE)) == 7
    assert asyncio.run(wrap_handler(functools.partial(handle_later))(ONE)) == 7
