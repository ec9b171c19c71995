"""Faults of Kafka while records are consumed: each function is what one side does, as in `sending`."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from benchmarks.soak.libraries.library import Consumer
from benchmarks.soak.sides import Side

RECORDS = 400
GROUP: dict[str, Any] = {
    "enable_auto_commit": False,
    "session_timeout_ms": 60_000,
    "heartbeat_interval_ms": 500,
    "max_poll_records": 10,
}
ATTEMPTS, ATTEMPT_SECONDS = 10, 30.0


def killed_while_iterating(side: Side) -> Iterator[None]:
    """Iterate all the while."""
    yield from _consume_through_an_outage(side, side.iterate, consumer_timeout_ms=500)


def killed_while_polling(side: Side) -> Iterator[None]:
    """Poll all the while."""
    yield from _consume_through_an_outage(side, side.poll)


def reading_is_given_up(side: Side) -> Iterator[None]:
    """Give up waiting for a record while there is no broker, and go on when there is one again."""
    _fill(side, 5)
    side.open_consumer(consumer_timeout_ms=500)
    side.take(5)
    yield
    for _ in range(3):
        side.attempt("next", lambda: side.consumer.next(side.note))
    yield
    _fill(side, 5)
    side.take(10)


def coordinator_goes(side: Side) -> Iterator[None]:
    """Commit and poll as a member of a group while there is no coordinator, and when there is one again."""
    _fill(side, 20)
    side.open_consumer(side.topic, group_id=side.topic, **GROUP)
    side.poll(10)
    side.attempt("commit", side.consumer.commit)
    yield
    time.sleep(0.3)
    side.attempt("commit", side.consumer.commit_soon)
    yield
    side.poll(20)
    side.attempt("commit", side.consumer.commit)


def rebalance_while_a_record_is_processed(side: Side) -> None:
    """Have a second member take a partition over while the first one is inside of a record's processing."""
    _fill(side, 10)
    first = side.open_consumer(side.topic, group_id=side.topic, **GROUP)
    side.poll(1)
    second = _share(side, first)
    side.attempt(f"{first.assigned()} and {second.assigned()} assigned", lambda: None)
    for member in (first, second):
        side.consumer = member
        side.poll_to_the_end()
        side.attempt("commit", member.commit)
        side.attempt("close", member.close)


def _share(side: Side, first: Consumer) -> Consumer:
    """Return a second member that has one of the two partitions, the first one the other.

    Now and then kafka-python's members end uneven, traced or not, and stay so: then another one joins in its place.
    """
    for _ in range(ATTEMPTS):
        second = side.open_consumer(side.topic, group_id=side.topic, **GROUP)
        until = time.monotonic() + ATTEMPT_SECONDS
        while time.monotonic() < until:
            for member in (first, second):
                member.poll(side.note)
            if first.assigned() == second.assigned() == 1:
                return second
        with suppress(side.library.errors):
            second.commit()
        second.close()
    msg = f"waited {ATTEMPTS} times {ATTEMPT_SECONDS:.0f} s for a partition at each of two members of {side.topic}"
    raise TimeoutError(msg)


def iteration_times_out(side: Side) -> None:
    """Iterate until `consumer_timeout_ms` ends it, and go on by iteration and by `next()`."""
    consumer = side.open_consumer(consumer_timeout_ms=500)
    for count, advance in ((5, side.iterate), (8, side.iterate), (10, side.take)):
        _fill(side, count - side.sent)
        advance(count)
        side.attempt("loop", lambda: consumer.iterate(side.note, lambda: False))
        side.attempt("next", lambda: consumer.next(side.note))


def closed(side: Side) -> None:
    """Use a closed consumer."""
    consumer = side.open_consumer(consumer_timeout_ms=500)
    _fill(side, 5)
    side.iterate(5)
    side.attempt("close", consumer.close)
    side.attempt("loop", lambda: consumer.iterate(side.note, lambda: False))
    side.attempt("next", lambda: consumer.next(side.note))
    side.attempt("poll", lambda: consumer.poll(side.note))
    side.attempt("commit", consumer.commit)
    side.attempt("close", consumer.close)


def _consume_through_an_outage(side: Side, consume: Callable[[int], None], **config: Any) -> Iterator[None]:
    _fill(side, RECORDS)
    side.open_consumer(max_poll_records=20, **config)
    consume(RECORDS // 4)
    consuming = side.meanwhile(lambda: consume(RECORDS * 2))
    yield
    yield
    _fill(side, RECORDS)
    consuming.result()


def _fill(side: Side, count: int) -> None:
    if not side.sent:
        side.open_producer()
    side.send(count)
    side.settle()
