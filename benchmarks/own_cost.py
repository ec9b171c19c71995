"""What the instrumentation itself costs a record, with clients that do nothing.

Run as a program it times every face of one action under one mode, in turns, and prints nanoseconds of CPU time a record
as JSON.
"""

import argparse
import json
import time
from collections.abc import Callable
from itertools import islice
from statistics import median
from typing import Any, NamedTuple

import kafka
from opentelemetry import trace

from benchmarks.faces import (
    ACTIONS,
    Recorded,
    client_of,
    consuming,
    faces_of,
    sending,
    sending_by_hand,
    walking_by_hand,
)
from benchmarks.modes import MODES, configure, meters
from benchmarks.stubs import BATCH, Consumer, Producer, records
from otelkafka import ConsumerOptions

METERED = ("wrapped", "instrumented")
ALIKE = ("send", "iterate")
WITH_METRICS = " with metrics"
Work = Callable[[], Any]


class Case(NamedTuple):
    """What is timed in one process.

    Args:
        action: one of `ACTIONS`.
        mode: one of `MODES`.
    """

    action: str
    mode: str

    def client(self, face: str, given: dict[str, Any]) -> Any:
        """Return a client with a face, and with these options of otelkafka."""
        if self.action == "send":
            return client_of(face, Producer, (), {}, given)
        options = {**given, "poll_spans": True} if self.action == "poll-spans" else given
        return client_of(face, Consumer, (records(sampled=self.mode == "always"),), {}, options)

    def work(self, face: str, given: dict[str, Any]) -> Work:
        """Return what does the action for a batch."""
        client = self.client(face, given)
        if self.action != "send":
            consume = consuming(face, self.action, client, ConsumerOptions(**given))
            return lambda: consume(BATCH)
        return repeated(sending(face, client, "t"))

    def works(self) -> dict[str, Work]:
        """Return all that is timed, by name."""
        works = {face: self.work(face, {}) for face in faces_of(self.action)}
        for face in METERED:
            provider, reader = meters()
            works[face + WITH_METRICS] = work = self.work(face, {"meter_provider": provider})
            work()
            works[f"{face} histograms"] = histograms(reader)
        if self.mode == "always" and self.action in ALIKE:
            works["alike"] = self.alike()
        return {**works, "counter": counter()}

    def recorded(self) -> Recorded:
        """Return what the last span of a batch records."""
        from otelkafka.testing import SpanRecorder  # noqa: PLC0415 (not in the mode without an SDK)

        recorder = SpanRecorder()
        self.work("wrapped", {"tracer_provider": recorder.tracer_provider})()
        span = recorder.spans[-1]
        links = [(link.context, dict(link.attributes or {})) for link in span.links]
        return Recorded(dict(span.attributes or {}), links)

    def alike(self) -> Work:
        """Return what does the action with spans that are written by hand, and record what otelkafka's own do."""
        client, recorded = self.client("bare", {}), self.recorded()
        if self.action == "send":
            return repeated(sending_by_hand(client, "t", recorded))
        walk = walking_by_hand(recorded)
        return lambda: walk(islice(client, BATCH))


def histograms(reader: Any) -> Work:
    """Return what records the histograms that one batch has recorded, in an SDK of their own.

    A recording span is current meanwhile where all is sampled, as it is for those of the batch, for the SDK keeps
    exemplars of it.
    """
    calls, tracer = histogram_calls(reader), trace.get_tracer("alone")

    def record() -> None:
        context = trace.set_span_in_context(tracer.start_span("alone"))
        for record, attributes in calls:
            record(0.01, attributes, context)

    return record


def histogram_calls(reader: Any) -> list[tuple[Callable[..., None], dict[str, Any]]]:
    """Return what to call with a value and attributes, once for each time that a histogram has recorded."""
    meter = meters()[0].get_meter("alone")
    calls: list[tuple[Callable[..., None], dict[str, Any]]] = []
    for metric in _metrics(reader):
        for point in metric.data.data_points:
            if hasattr(point, "explicit_bounds"):
                bounds = point.explicit_bounds
                made = meter.create_histogram(metric.name, metric.unit, explicit_bucket_boundaries_advisory=bounds)
                calls += [(made.record, dict(point.attributes))] * point.count
    return calls


def _metrics(reader: Any) -> list[Any]:
    data = reader.get_metrics_data()
    scopes = [scope for resource in (data.resource_metrics if data else ()) for scope in resource.scope_metrics]
    return [metric for scope in scopes for metric in scope.metrics]


def counter() -> Work:
    """Return what counts a batch one by one, as what is sent and consumed is counted."""
    from otelkafka._telemetry.metrics import Totals  # noqa: PLC0415 (the one thing here that is not public)

    return repeated(Totals().of({"messaging.destination.name": "t"}).count)


def repeated(call: Work) -> Work:
    """Return what calls something for each record of a batch."""

    def repeat() -> None:
        for _ in range(BATCH):
            call()

    return repeat


def measure(works: dict[str, Work], rounds: int, settle: Work) -> dict[str, float]:
    """Return nanoseconds of all the process's threads a record, taken in turns: the median over the rounds."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            start = time.process_time_ns()  # what a neighbour on this machine takes is not counted
            work()
            settle()
            taken[name].append((time.process_time_ns() - start) / BATCH)
    return {name: round(median(times[1:]), 1) for name, times in taken.items()}


def main() -> None:
    """Time one action under one mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    settle = configure(given.mode)
    works = Case(given.action, given.mode).works()
    print(json.dumps({"kafka-python": kafka.__version__, **measure(works, given.rounds, settle)}))


if __name__ == "__main__":
    main()
