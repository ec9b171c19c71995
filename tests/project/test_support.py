"""What tests share does what it says."""

import gc
import re
import weakref
from pathlib import Path

import pytest
from kafka.errors import MessageSizeTooLargeError

from tests.support import internals
from tests.support.fakes import FakeConsumer, FakeProducer, RepeatingFuture, record
from tests.support.memory import count_alive, largest_within
from tests.support.waiting import wait_until

pytestmark = pytest.mark.once

TESTS = Path(__file__).parents[1]
SHORT = re.compile(r"\.get\([1-9]|consumer_timeout_ms\W{1,4}[1-9]|timeout=[1-9]|\.(?:join|wait)\([1-9]")


def test_waiting_returns_what_it_waited_for():
    """What the condition returned when it was true at last."""
    turns = [0, "", [], "there"]
    assert wait_until(lambda: turns.pop(0), "a word") == "there"
    assert turns == []


@pytest.mark.parametrize(("seen", "shown"), [(None, "0"), (lambda: [1, 2], r"\[1, 2\]")])
def test_waiting_in_vain_says_for_what_and_what_was_seen(seen, shown):
    """What the condition returned, or what the test says that it looks at."""
    with pytest.raises(AssertionError, match=f"waited 0 s for three records; seen: {shown}$"):
        wait_until(lambda: 0, "three records", seen, patience=0)


def test_memory_is_measured_where_weak_proxies_are_dead():
    """Somebody's proxy may be among all objects, and what it stood for gone: to ask it anything but its type raises."""
    dead = weakref.proxy(type("Gone", (), {})())
    assert largest_within([dead, [1, 2, 3]]) == 3
    assert count_alive() >= 0


def test_no_test_waits_for_less_than_patience():
    """A wait of some seconds ends too early on a busy machine; a long one costs nothing where the condition comes."""
    sources = {path: path.read_text().splitlines() for path in sorted(TESTS.rglob("*.py"))}
    found = {
        f"{path.relative_to(TESTS)}:{number}": line.strip()
        for path, lines in sources.items()
        for number, line in enumerate(lines, 1)
        if SHORT.search(line)
    }
    assert found == {}, "wait for PATIENCE of tests.support.waiting"


def test_producer_keeps_what_it_is_given_and_refuses_on_cue():
    """The very headers; a refusal for their size is raised, or is the future's, and no other send fails."""
    bare, headers = FakeProducer(too_large="raise"), [("x", b"y")]
    with pytest.raises(MessageSizeTooLargeError):
        bare.send("t", b"v", headers=headers)
    assert (bare.calls, bare.futures) == ([], [])
    bare.too_large = "future"
    assert type(bare.send("t", b"v", headers=headers).exception) is MessageSizeTooLargeError
    bare.too_large = None
    future = bare.send("t", b"v", headers=headers)
    assert bare.headers[0] is headers
    assert not future.is_done
    bare.acknowledge_all()
    assert future.value.offset == 0


def test_consumer_is_assigned_what_its_records_are_of():
    """Without records, one partition of a topic; the listener is the one that it was given."""
    assert {each.topic for each in FakeConsumer(record(0), record(0, topic="u")).assignment()} == {"t", "u"}
    bare, listener = FakeConsumer(), object()
    assert [(each.topic, each.partition) for each in bare.assignment()] == [("t", 0)]
    bare.subscribe(["t"], listener=listener)
    assert bare.listener is listener


def test_repeating_future_calls_back_each_time():
    """In the order in which it is resolved."""
    called, future = [], RepeatingFuture()
    future.add_callback(called.append).add_errback(called.append)
    error = OSError()
    future.acknowledge(7)
    future.fail(error)
    future.acknowledge(8)
    assert [getattr(each, "offset", each) for each in called] == [7, error, 8]


@pytest.mark.parametrize(
    ("patch", "make"), [(internals.patched_producer, FakeProducer), (internals.patched_consumer, FakeConsumer)]
)
def test_class_that_is_patched_for_one_client_goes_with_it(patch, make):
    """The options of each test, and what its providers recorded, do not stay until the suite ends."""
    kept = weakref.ref(type(patch(make(), None)))
    gc.collect()
    assert kept() is None
