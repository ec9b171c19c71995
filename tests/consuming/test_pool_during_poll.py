"""A pool that ends records while its consumer is inside `poll()`."""

import threading

from otelkafka import process
from tests.support.fakes import FakeConsumer, record, write


class Fetching(FakeConsumer):
    """Each poll takes a second, and a thread ends the records that it was given half a second into it."""

    def __init__(self, clock):
        super().__init__()
        self.clock, self.work = clock, []

    def poll(self, *args, **kwargs):
        self.clock.advance(0.5)
        for one in self.work:
            thread = threading.Thread(target=self.run, args=(one,))
            thread.start()
            thread.join()
        self.clock.advance(0.5)
        return super().poll()

    def run(self, one):
        with process(one):
            self.clock.advance(0.01)


def test_record_that_ends_during_a_fetch_is_no_clock_set_back(recorder, clock, wrap, metrics):
    """before + busy + fetch stay what they are, and the consumer is not said to be busy while it polls."""
    old = clock.now // 1_000_000
    clock.advance(60)
    bare = Fetching(clock)
    consumer = wrap(bare, process="manual")
    for offset in range(3):
        write(consumer, record(offset, timestamp=old))
        bare.work = [one for records in consumer.poll().values() for one in records]
    with process(bare.work[0]):
        pass
    assert recorder.spans[-1].attributes["otelkafka.queue.busy_duration"] == 0
    points = metrics.metrics["otelkafka.consumer.time"].data.data_points
    assert {point.attributes["otelkafka.consumer.state"]: point.value for point in points}["busy"] == 0
