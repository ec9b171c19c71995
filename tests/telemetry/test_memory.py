"""What a record leaves behind in memory: nothing, and nothing that waits for a collection of garbage."""

import gc
import sys
from contextlib import suppress
from functools import cache
from itertools import islice

import pytest
from kafka import TopicPartition
from kafka.errors import KafkaTimeoutError
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, ParentBasedTraceIdRatio

from otelkafka import ConsumerOptions, HeaderCarrier, ProducerOptions
from otelkafka.testing import FakeFuture
from tests.support.face import bare_of, process_batch_of, process_of, wrap_consumer, wrap_producer
from tests.support.fakes import FakeConsumer, FakeProducer, failed, record, traceparent

ROUNDS = 200
ATTEMPTS = 4
MOST_BLOCKS = ROUNDS // 2
"""All rounds together may leave so many: what is bounded grows now and then until it is full."""

SAMPLERS = {
    "no SDK": None,
    "never": ParentBased(ALWAYS_OFF),
    "always": ParentBased(ALWAYS_ON),
    "seldom": ParentBasedTraceIdRatio(1e-9),
}
HEADERS = {
    "none": [],
    "sampled": [traceparent(0)],
    "unsampled": [traceparent(0, sampled=False)],
    "more": [traceparent(0), ("x", b"y")],
}


@cache
def records_with(headers):
    """To make them while memory is measured would leave some in the interpreter's list of free tuples."""
    return [record(at, headers=HEADERS[headers]) for at in range(10 * ROUNDS * ATTEMPTS)]


class Ready(FakeConsumer):
    """Hands over records that were made before."""

    def __init__(self, headers):
        super().__init__()
        self._records = iter(records_with(headers))

    def __next__(self):
        return self._records.__next__()

    def poll(self, *args, **kwargs):
        return {TopicPartition("t", 0): [*islice(self._records, 3)]}


class Forgetful(FakeProducer):
    """Keeps nothing of its sends, which it acknowledges, refuses or lets fail."""

    outcome = "acknowledged"

    def send(self, topic, *args, **kwargs):
        if self.outcome == "raised":
            raise KafkaTimeoutError(topic)
        if self.outcome == "refused":
            return failed(KafkaTimeoutError(topic))
        future = FakeFuture(topic)
        if self.outcome == "acknowledged":
            future.acknowledge()
        else:
            future.fail(KafkaTimeoutError(topic))
        return future


def options_of(sampler, metrics, *, measured, general):
    provider = trace.NoOpTracerProvider()
    if sampler is not None:
        provider = TracerProvider(sampler=sampler, resource=Resource.get_empty(), shutdown_on_exit=False)
    meters = {"meter_provider": metrics.meter_provider} if measured else {}
    own = {"carrier": type("Own", (HeaderCarrier,), {})} if general else {}
    return {"tracer_provider": provider, **meters, **own}


def check_leaves_nothing(act, metrics):
    """Neither a cycle of references, nor anything that is kept.

    What a debugger or coverage does is not counted. Another thread may keep something just then, but not each time.
    """
    for _ in range(ATTEMPTS):
        more, found = left_by(act, metrics)
        if more < MOST_BLOCKS and found < 2 * ROUNDS:
            return
    pytest.fail(
        f"{more} blocks of memory are kept of {ROUNDS} rounds, {found} objects of twice as many wait for a collection"
    )


def left_by(act, metrics):
    """Return how many blocks of memory are kept of some rounds, and how many objects of twice as many are garbage."""
    gc.disable()
    gc.freeze()  # what was there before is neither counted nor searched
    traced = sys.gettrace()
    sys.settrace(None)
    try:
        kept = []
        for _ in range(2):  # the first time fills what the interpreter keeps for the next one
            for _ in range(ROUNDS):
                act()
            assert metrics.metrics is not None  # this merges the points that wait for it
            kept.append(sys.getallocatedblocks())
        found = gc.collect()
    finally:
        sys.settrace(traced)
        gc.unfreeze()
        gc.enable()
    return kept[1] - kept[0], found


pytestmark = [
    pytest.mark.per_telemetry,
    pytest.mark.parametrize("general", [False, True], ids=["fast", "general"]),
    pytest.mark.parametrize("measured", [False, True], ids=["", "measured"]),
    pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS),
    pytest.mark.usefixtures("clock"),
]


@pytest.mark.parametrize("headers", HEADERS)
def test_record_leaves_nothing(sampler, measured, general, headers, metrics):
    """Iterated, polled and processed in a block or a batch, with success or not."""
    options = options_of(sampler, metrics, measured=measured, general=general)
    consumer = wrap_consumer(Ready(headers), ConsumerOptions(**options))
    manual = wrap_consumer(Ready(headers), ConsumerOptions(process="manual", **options))
    records = iter(consumer)

    def act():
        next(records)
        for each in consumer.poll().values():
            list(each)
        one = next(manual)
        with process_of(manual, one):
            pass
        with process_batch_of(manual, [one]):
            pass
        for block in (process_of, process_batch_of):
            with suppress(LookupError), block(manual, one if block is process_of else [one]):
                raise LookupError

    check_leaves_nothing(act, metrics)


@pytest.mark.parametrize("outcome", ["acknowledged", "failed", "refused", "raised"])
def test_send_leaves_nothing(sampler, measured, general, outcome, metrics):
    """Alone, and inside of a record."""
    options = options_of(sampler, metrics, measured=measured, general=general)
    producer = wrap_producer(Forgetful(), ProducerOptions(**options))
    consumer = wrap_consumer(Ready("unsampled"), ConsumerOptions(**options))
    bare_of(producer).outcome = outcome

    def act():
        for _ in range(2):
            with suppress(KafkaTimeoutError):
                producer.send("t", b"v", b"k")
        for _ in consumer:
            with suppress(KafkaTimeoutError):
                producer.send("t", b"v")
            break
        consumer.poll()

    check_leaves_nothing(act, metrics)
