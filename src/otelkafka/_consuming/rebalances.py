"""The rebalances of a consumer: a span and a count for each, inside of which the user's listener runs."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from otelkafka._consuming.process import ProcessOperation
from otelkafka._consuming.wait import WaitHistory
from otelkafka._context.current import is_suppressed
from otelkafka._telemetry import attributes, clock, lifetime, semconv
from otelkafka._telemetry.operation import Operation

_QUIETLY = (False, False, False)  # it ends later, and what is raised is recorded then


class Rebalances:
    """The rebalances of one consumer.

    Args:
        history: the history of the consumer's time: it notes what the consumer is assigned.
        process: the process operation of the consumer, whose records may be in process when their partition goes.

    Attributes:
        is_stopped: whether nothing is recorded any more.
    """

    def __init__(self, history: WaitHistory, process: ProcessOperation) -> None:
        self.history = history
        self.is_stopped = False
        self._process = process
        self._telemetry = process.telemetry
        self._operations = {
            kind: Operation(process.telemetry, kind, None, SpanKind.INTERNAL) for kind in ("assign", "revoke", "lose")
        }

    @contextmanager
    def rebalance(self, kind: str, partitions: Iterable[Any]) -> Iterator[None]:
        """Record a rebalance. Its span is current in the `with` block, in which the user's listener runs.

        Args:
            kind: `assign`, `revoke` or `lose`.
            partitions: the partitions that are assigned or taken away.
        """
        if self.is_stopped or lifetime.is_collecting():  # a finalizer that closes a consumer takes no lock
            yield
            return
        contained = self._telemetry.guard.call
        changed = contained("rebalance", set(), _pairs, partitions)
        contained("rebalance", None, self._note, kind, changed)
        # A consumer may be closed by a finalizer; and a first assignment is preceded by a revocation of nothing.
        if is_suppressed() or lifetime.collects_for_certain() or (kind != "assign" and not changed):
            yield
            return
        started = self._telemetry.now()
        span = contained("rebalance", INVALID_SPAN, self._start, kind, changed, started)
        # Without a span of its own, what the listener does stays where it would be without us.
        current = nullcontext() if span is INVALID_SPAN else trace.use_span(span, *_QUIETLY)
        try:
            with current:
                yield
        except BaseException as error:
            contained("rebalance", None, self._finish, kind, changed, span, error)
            raise
        contained("rebalance", None, self._finish, kind, changed, span, None)

    def stop(self) -> None:
        """Record no further rebalance."""
        self.is_stopped = True

    def _note(self, kind: str, changed: set[tuple[str, int]]) -> None:
        if kind == "assign":
            self.history.assign(changed, clock.now())
        else:
            self.history.revoke(changed)

    def _start(self, kind: str, changed: set[tuple[str, int]], started: int) -> Span:
        telemetry = self._telemetry
        traced = {topic for topic, _ in changed if telemetry.destinations[topic].traced}
        if not self._process.options.rebalance_spans or (changed and not traced):
            return INVALID_SPAN
        destination = telemetry.destinations.of(traced) if len(traced) == 1 else telemetry.destinations.of(set())
        span = self._operations[kind].start(Context(), destination, start_time=started) or INVALID_SPAN
        partitions = [attributes.encodable(f"{topic}-{partition}") for topic, partition in sorted(changed)]
        telemetry.set_attributes(span, lambda: {semconv.REBALANCE_PARTITIONS: partitions})
        return span

    def _finish(self, kind: str, changed: set[tuple[str, int]], span: Span, error: BaseException | None) -> None:
        telemetry = self._telemetry
        if kind != "assign":
            telemetry.guard.call("rebalance", None, self._process.note_gone, changed, semconv.EVENT_GONE[kind])
        instruments = telemetry.instruments
        if instruments is not None:
            nowhere = telemetry.destinations.of(set())
            self._operations[kind].series(nowhere, None, error).total(instruments.rebalances).add()
        telemetry.end_span(span, error)


def _pairs(partitions: Iterable[Any]) -> set[tuple[str, int]]:
    return {(each.topic, each.partition) for each in partitions}
