"""Rebalances: what a consumer is told of them, around the user's own listener."""

import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import time_ns
from typing import Any

import kafka
from kafka import ConsumerRebalanceListener
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from otelkafka import semconv
from otelkafka.ambient import is_suppressed
from otelkafka.operation import Operation
from otelkafka.processing import Processing
from otelkafka.wait import WaitHistory


class Rebalances:
    """Notes what a consumer is assigned, and makes a span and a count of each turn.

    Args:
        history: of the consumer.
        processing: of the consumer, whose records may be in process when their partition goes.
    """

    def __init__(self, history: WaitHistory, processing: Processing) -> None:
        self.history = history
        self._processing = processing
        self._operations = {
            kind: Operation(processing.telemetry, processing.facts, kind, None, SpanKind.INTERNAL)
            for kind in ("assign", "revoke", "lose")
        }

    @contextmanager
    def turn(self, kind: str, partitions: Iterable[Any]) -> Iterator[None]:
        """Tell of a rebalance, in whose span the user's listener runs.

        Args:
            kind: `assign`, `revoke` or `lose`.
            partitions: those that come or go.
        """
        contained = self._processing.telemetry.guard.call
        turned = contained("rebalance", set(), _pairs, partitions)
        contained("rebalance", None, self._note, kind, turned)
        if is_suppressed() or (kind != "assign" and not turned):  # a first assignment is preceded by such a revocation
            yield
            return
        started = self._processing.telemetry.now()
        span = contained("rebalance", INVALID_SPAN, self._start, kind, turned, started)
        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                yield
        except Exception as error:
            contained("rebalance", None, self._finish, kind, turned, span, error)
            raise
        contained("rebalance", None, self._finish, kind, turned, span, None)

    def _note(self, kind: str, turned: set[tuple[str, int]]) -> None:
        if kind == "assign":
            self.history.assign(turned, time_ns())
        else:
            self.history.revoke(turned)

    def _start(self, kind: str, turned: set[tuple[str, int]], started: int) -> Span:
        telemetry = self._processing.telemetry
        traced = {topic for topic, _ in turned if telemetry.destinations[topic].traced}
        if not self._processing.options.rebalance_spans or (turned and not traced):
            return INVALID_SPAN
        destination = telemetry.destinations.of(traced) if len(traced) == 1 else telemetry.destinations.of(set())
        span = self._operations[kind].start(Context(), destination, start_time=started) or INVALID_SPAN
        partitions = [f"{topic}-{partition}" for topic, partition in sorted(turned)]
        telemetry.tell(span, lambda: {semconv.REBALANCE_PARTITIONS: partitions})
        return span

    def _finish(self, kind: str, turned: set[tuple[str, int]], span: Span, error: Exception | None) -> None:
        if kind != "assign":
            tell_gone = self._processing.in_process.tell_gone
            self._processing.telemetry.guard.call("rebalance", None, tell_gone, turned, kind)
        instruments = self._processing.telemetry.instruments
        if instruments is not None:
            nowhere = self._processing.telemetry.destinations.of(set())
            self._operations[kind].series(nowhere, None, error).total(instruments.rebalances).add()
        self._processing.telemetry.end_span(span, error)


def listen(rebalances: Rebalances, listener: object) -> Any:
    """Return a listener that notes rebalances and calls the user's; what is no listener, for Kafka to refuse."""
    known = (ConsumerRebalanceListener, getattr(kafka, "AsyncConsumerRebalanceListener", ConsumerRebalanceListener))
    if listener is not None and not isinstance(listener, known):
        return listener
    is_async = known[1] is not known[0] and any(
        inspect.iscoroutinefunction(getattr(listener, name, None))
        for name in ("on_partitions_assigned", "on_partitions_revoked", "on_partitions_lost")
    )
    return AsyncRebalanceListener(rebalances, listener) if is_async else RebalanceListener(rebalances, listener)


class RebalanceListener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells of the partitions that a consumer is assigned, and calls the user's listener.

    Args:
        rebalances: of the consumer.
        listener: the user's; None for none.
    """

    def __init__(self, rebalances: Rebalances, listener: Any = None) -> None:
        self.rebalances = rebalances
        self.listener = listener

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> Any:
        """Tell of the assignment, and let the user's listener know."""
        with self.rebalances.turn("assign", assigned):
            return None if self.listener is None else self.listener.on_partitions_assigned(assigned)

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> Any:
        """Tell of the revocation, and let the user's listener know."""
        with self.rebalances.turn("revoke", revoked):
            return None if self.listener is None else self.listener.on_partitions_revoked(revoked)

    def on_partitions_lost(self, lost: Iterable[Any]) -> Any:
        """Tell of the loss, and let the user's listener know."""
        with self.rebalances.turn("lose", lost):
            return None if self.listener is None else self.listener.on_partitions_lost(lost)


class AsyncRebalanceListener(RebalanceListener):
    """The same for a user's listener with async methods, which kafka-python awaits since 3.0."""

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Tell of the assignment, and let the user's listener know."""
        with self.rebalances.turn("assign", assigned):
            await _awaited(self.listener.on_partitions_assigned(assigned))

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Tell of the revocation, and let the user's listener know."""
        with self.rebalances.turn("revoke", revoked):
            await _awaited(self.listener.on_partitions_revoked(revoked))

    async def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        """Tell of the loss, and let the user's listener know."""
        with self.rebalances.turn("lose", lost):
            await _awaited(self.listener.on_partitions_lost(lost))


async def _awaited(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


def _pairs(partitions: Iterable[Any]) -> set[tuple[str, int]]:
    return {(each.topic, each.partition) for each in partitions}
