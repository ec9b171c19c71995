"""Faults of Kafka while records are sent: each function is what one side does.

Where it yields for the first time the broker is killed, where it yields for the second time it has come back.
"""

import gc
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.soak.sides import Side
from testbroker.wait import PATIENCE

# Long enough for a delivery to a busy machine's broker, and not much longer than needed for one that expires.
QUICK: dict[str, Any] = {"request_timeout_ms": 8000, "delivery_timeout_ms": 15_000}
LARGEST = 2000


def killed_while_sending(side: Side) -> Iterator[None]:
    """Send all the while."""
    side.open_producer()
    side.send(300)
    sending = side.meanwhile(lambda: side.send(600, pace=0.002))
    yield
    yield
    sending.result()
    side.send(300)
    side.settle()


def deliveries_expire(side: Side) -> Iterator[None]:
    """Send while the broker stays away for longer than a delivery may take."""
    yield from _send_through_an_outage(side, enable_idempotence=False)


def without_acks(side: Side) -> Iterator[None]:
    """Do the same where an acknowledgement means only that the record was written to a socket."""
    yield from _send_through_an_outage(side, enable_idempotence=False, acks=0)


def idempotent_deliveries_expire(side: Side) -> Iterator[None]:
    """Do the same with an idempotent producer, closed in the outage: it may never resolve anything again."""
    side.open_producer(**QUICK)
    side.send(50)
    side.settle()
    yield
    side.send(50)
    side.settle()
    side.attempt("close", lambda: side.producer.close(timeout=1))
    yield


def closed_in_an_outage(side: Side) -> Iterator[None]:
    """Close while records wait for a broker that is gone; send and close again after that."""
    side.open_producer()
    side.send(50)
    side.settle()
    yield
    side.send(50)
    side.attempt("close", lambda: side.producer.close(timeout=0.5))
    side.send(3)
    side.attempt("close again", lambda: side.producer.close(timeout=0.5))
    side.note_outcomes()  # before the broker is back, which a closed producer may still send to
    yield


def metadata_never_comes(side: Side) -> Iterator[None]:
    """Send first when the broker is gone, so that the topic's partitions are not known."""
    side.open_producer(**QUICK, max_block_ms=500)
    yield
    side.send(3)
    side.settle()
    yield


def flushed_in_an_outage(side: Side) -> Iterator[None]:
    """Flush while records wait for a broker that is gone, and go on when it is back."""
    side.open_producer()
    side.send(50)
    side.settle()
    yield
    side.send(50)
    side.attempt("flush", lambda: side.producer.flush(timeout=0.5))
    yield
    side.settle()
    side.attempt("flush", lambda: side.producer.flush(timeout=PATIENCE))


def dropped_in_an_outage(side: Side) -> Iterator[None]:
    """Let go of a producer while its records wait for a broker that is gone."""
    side.open_producer()
    side.send(50)
    side.settle()
    yield
    side.send(50)
    is_sent = side.producer.drop()
    gc.collect()
    if not is_sent:
        side.note_outcomes()
    yield
    side.settle()


def waiting_is_given_up(side: Side) -> Iterator[None]:
    """Give up waiting for records that wait for a broker that is gone."""
    side.open_producer()
    side.send(5)
    side.settle()
    yield
    side.send(5)
    side.give_up(seconds=0.1)
    yield
    side.settle()


def transaction_through_an_outage(side: Side) -> Iterator[None]:
    """Have the broker, which is the coordinator too, go inside of a transaction."""
    side.open_producer(transactional_id=side.topic, transaction_timeout_ms=600_000)
    side.producer.init_transactions()
    side.producer.begin_transaction()
    side.send(5)
    side.settle()
    yield
    side.send(5)
    committing = side.meanwhile(lambda: side.attempt("commit", side.producer.commit_transaction))
    yield
    committing.result()
    side.settle()


def too_large(side: Side) -> None:
    """Send a record that is too large for the topic, with others around it."""
    side.open_producer(enable_idempotence=False)
    for size in (100, 3 * LARGEST, 100):
        side.send(1, size=size)
        side.settle()


def too_large_and_idempotent(side: Side) -> None:
    """Do the same with an idempotent producer, all of whose later sends fail too."""
    side.open_producer(**QUICK)
    for size in (100, 3 * LARGEST, 100, 100):
        side.send(1, size=size)
        side.settle()


def batch_is_split(side: Side) -> None:
    """Send a batch that is too large for the topic, of records none of which is."""
    side.open_producer(linger_ms=100, batch_size=50 * LARGEST)
    side.send(100)
    side.settle()


def transaction_is_fenced(side: Side) -> None:
    """Have a second producer take the transactional id over inside of a transaction."""
    first, second = (side.open_producer(transactional_id=side.topic, **QUICK) for _ in range(2))
    side.producer = first
    first.init_transactions()
    first.begin_transaction()
    side.send(5)
    side.attempt("commit", first.commit_transaction)
    first.begin_transaction()
    side.voided.update(range(side.sent, side.sent + 2))
    side.send(2)
    side.settle()
    second.init_transactions()
    for _ in range(3):
        side.send(1)
        side.settle()
        time.sleep(0.5)  # until the client has understood what the broker said
    side.attempt("commit of the fenced", first.commit_transaction)
    side.attempt("abort of the fenced", first.abort_transaction)
    side.producer = second
    second.begin_transaction()
    side.send(2)
    side.attempt("commit", second.commit_transaction)
    side.settle()


def _send_through_an_outage(side: Side, **config: Any) -> Iterator[None]:
    side.open_producer(**QUICK, **config)
    side.send(50)
    side.settle()
    yield
    time.sleep(0.3)  # until the client has noticed: a socket takes a few records more
    side.send(50)
    side.settle()
    yield
    side.send(50)
    side.settle()
