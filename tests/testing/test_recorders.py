"""What users' own tests get to record with: recorders, a clock that stands still, and a tree as text."""

import os
import subprocess
import sys
import time
from textwrap import dedent

import pytest

from otelkafka import ConsumerOptions, ProducerOptions, wrap_consumer, wrap_handler, wrap_producer
from otelkafka.testing import (
    FakeClock,
    FakeCluster,
    FakeConsumer,
    FakeProducer,
    SpanRecorder,
    fake_record,
    span_tree,
)
from tests.support.fakes import ambient_of


def test_recorder_that_waits_in_vain_shows_what_there_is(recorder):
    """wait_for() fails with the tree of the spans that have ended."""
    with ambient_of(recorder, "other"):
        pass
    with pytest.raises(AssertionError, match=r"0 of 1 spans 'send t' ended within 0 s; there are:\n.* other"):
        recorder.wait_for("send t", timeout=0)


def test_tree_shows_parents_order_and_failures(recorder):
    """A line a span, children below their parents in the order of their start, failures with their message."""
    with pytest.raises(ValueError), ambient_of(recorder, "root"):
        with ambient_of(recorder, "first"):
            pass
        with ambient_of(recorder, "second"):
            raise ValueError("boom")
    lines = [line.split("ms  ")[-1] for line in span_tree(recorder.spans).splitlines()]
    assert lines == ["root  ERROR ValueError: boom", "  first", "  second  ERROR ValueError: boom"]


def pipeline(clock, recorder, metrics):
    """Two questions, sent and answered without a broker, in a second of which the consumer is busy for 0.35 each."""
    providers = {"tracer_provider": recorder.tracer_provider, "meter_provider": metrics.meter_provider}
    cluster = FakeCluster()
    producer = wrap_producer(FakeProducer(cluster), ProducerOptions(**providers))
    consumer = wrap_consumer(FakeConsumer("questions", cluster=cluster, group_id="wall"), ConsumerOptions(**providers))
    producer.send("questions", b"Why?", key=b"max")
    producer.send("questions", b"How?", key=b"max")
    clock.advance(1)
    for _ in consumer:
        clock.advance(0.35)
        consumer.commit()


TREE = """\
      0.0 ms       0.0 ms  send questions
                               messaging.kafka.offset: 0
   1000.0 ms     350.0 ms    process questions
                                 messaging.kafka.offset: 0
                                 otelkafka.queue.busy_duration: 0.0
                                 otelkafka.queue.duration: 1.0
                                 otelkafka.queue.fetch_duration: 0.0
   1350.0 ms       0.0 ms      commit questions
                                   messaging.kafka.offset: 1
      0.0 ms       0.0 ms  send questions
                               messaging.kafka.offset: 1
   1350.0 ms     350.0 ms    process questions
                                 messaging.kafka.offset: 1
                                 otelkafka.queue.busy_duration: 0.35
                                 otelkafka.queue.duration: 1.35
                                 otelkafka.queue.fetch_duration: 0.0
                                 link to process questions
                                   messaging.kafka.offset: 0
   1700.0 ms       0.0 ms      commit questions
                                   messaging.kafka.offset: 2
      0.0 ms       0.0 ms  assign questions"""


@pytest.mark.parametrize("turn", ["once", "again"])
def test_whole_trace_is_one_literal(turn, metrics):
    """With the clock and counted ids, the tree of a pipeline is the same text each time, durations and links included."""
    recorder = SpanRecorder(deterministic=True)
    with FakeClock() as clock:
        pipeline(clock, recorder, metrics)
    shown = ["messaging.kafka.offset", "otelkafka.queue.*duration"]
    assert span_tree(recorder.spans, attributes=shown, links=True) == TREE
    assert [span.context.span_id for span in recorder.named("send questions")] == [1, 2]
    assert [span.context.trace_id for span in recorder.named("process questions")] == [1, 2]
    (recorded, count), *_ = metrics.points("messaging.client.consumed.messages")
    assert (recorded["messaging.consumer.group.name"], count) == ("wall", 2)


def test_clock_is_that_of_clients_made_before_it(recorder, metrics):
    """Spans, waits, metrics, records and handlers of what was made, and used, before: all have its time."""
    providers = {"tracer_provider": recorder.tracer_provider, "meter_provider": metrics.meter_provider}
    cluster, options = FakeCluster(), ConsumerOptions(**providers)
    producer = wrap_producer(FakeProducer(cluster), ProducerOptions(**providers))
    consumer = wrap_consumer(FakeConsumer("questions", cluster=cluster), options)
    producer.send("questions", b"Real?")
    next(consumer)
    with FakeClock() as clock:
        handle = wrap_handler(lambda _: clock.advance(0.5), options)
        at = clock.now
        producer.send("questions", b"Why?")
        producer.send("questions", b"How?")
        for _ in consumer:
            clock.advance(0.25)
        handle(fake_record("questions", offset=9))
    sent, processed = recorder.named("send questions")[1:], recorder.named("process questions")[1:]
    assert [span.start_time - at for span in (*sent, *processed)] == [0, 0, 0, 250_000_000, 500_000_000]
    assert [span.end_time - span.start_time for span in processed] == [250_000_000, 250_000_000, 500_000_000]
    assert processed[1].attributes["otelkafka.queue.busy_duration"] == 0.25
    assert cluster.records("questions")[1].timestamp == at // 1_000_000
    data = metrics.metrics["messaging.process.duration"].data.data_points
    assert sum(point.sum for point in data) == pytest.approx(1, abs=0.1)


def test_clock_changes_no_other_clock_and_is_put_back(recorder):
    """Spans of the SDK's have its time, too; `time.time_ns()` is what it was, and all is as before afterwards."""
    with FakeClock(now=1_000) as clock:
        with ambient_of(recorder):
            clock.advance(2e-6)
        assert time.time_ns() > 1_000_000_000
    with ambient_of(recorder):
        pass
    faked, real = recorder.spans
    assert (faked.start_time, faked.end_time) == (1_000, 3_000)
    assert real.start_time > 1_000_000_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process forks here")
def test_recorders_work_in_the_child_of_a_fork():
    """Also where a pool of threads was imported after they were made: nothing waits for a lock of the parent's."""
    program = dedent("""
        import os, signal
        from otelkafka import ConsumerOptions, process
        from otelkafka.testing import MetricRecorder, SpanRecorder, fake_record

        recorder, metrics = SpanRecorder(), MetricRecorder()
        options = ConsumerOptions(tracer_provider=recorder.tracer_provider, meter_provider=metrics.meter_provider)

        def work():
            with process(fake_record(), options):
                pass
            print(len(recorder.spans), "messaging.process.duration" in metrics.metrics, flush=True)

        work()
        from concurrent.futures import ThreadPoolExecutor
        child = os.fork()
        if child:
            signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
            signal.alarm(60)  # a child that hangs would do so for good
            status = os.waitpid(child, 0)[1]
            assert status == 0, status
        else:
            recorder.clear()
            work()
            os._exit(0)
    """)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:2] == ["1 True", "1 True"]


@pytest.mark.once
def test_without_the_sdk_the_import_says_what_to_install():
    program = "import sys; sys.modules['opentelemetry.sdk'] = None; import otelkafka.testing"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.endswith('otelkafka.testing needs the OpenTelemetry SDK: pip install "otelkafka[sdk]"\n')
