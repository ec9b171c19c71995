"""The life of a process span around records that are handed over one by one, by iteration or in polled lists."""

from collections.abc import Callable, Mapping
from time import time_ns
from typing import Any

from opentelemetry import context as context_api
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from otelkafka import attributes, client, semconv
from otelkafka.ambient import is_suppressed
from otelkafka.attributes import Attributes
from otelkafka.current import OpenSpan, restore
from otelkafka.iterators import PolledRecords
from otelkafka.links import add_creation_links
from otelkafka.operation import Operation
from otelkafka.options import ConsumerOptions
from otelkafka.processing import Processing
from otelkafka.propagation import context_in
from otelkafka.wait import Handover, WaitHistory


class Dispatcher:
    """Hands over the records of one consumer, each in its process span where the options want that.

    Args:
        consumer: whose configuration is asked; it is not kept.
        options: its options.
        history: where its time went.

    Attributes:
        stopped: whether iterators that live on hand over their records without spans.
    """

    def __init__(self, consumer: object, options: ConsumerOptions, history: WaitHistory) -> None:
        self.processing = Processing(consumer, options, history)
        self.history = history
        self._telemetry = self.processing.telemetry
        self._operation = Operation(
            self._telemetry, self.processing.facts, "poll", semconv.TYPE_RECEIVE, SpanKind.CLIENT
        )
        self._options = options
        self._dispatches = options.process != "manual"
        self._iterated: OpenSpan | None = None
        self.stopped = False

    def poll(self, consumer: Any, poll: Callable[[], Any]) -> Any:
        """Call `poll`, and return its lists so that iterating them dispatches."""
        started = self._telemetry.now()
        self.end_open()
        records, now = self._fetch(consumer, poll, started, looks=True)
        return self._telemetry.guard.call("poll", records, self._hand_over_lists, consumer, records, started, now)

    def next(self, consumer: Any, advance: Callable[[], Any]) -> tuple[Any, OpenSpan | None]:
        """Call `advance` for the next record, and open its process span; None where it gets none."""
        if self.stopped:
            return advance(), None
        iterated, telemetry = self._iterated, self._telemetry
        try:
            started = time_ns()
        except Exception:  # noqa: BLE001 (whatever it is, the application must not get it)
            started = telemetry.now()
        if iterated is not None:
            iterated.end(None, started)  # before it is forgotten: an interrupt in there leaves it to the next call
            self._iterated = None
        restore(self)
        record, now = self._fetch(consumer, advance, started)
        if telemetry.instruments is not None:
            telemetry.guard.call("next", None, self._count_one, consumer, record)
        if not self._dispatches:
            telemetry.guard.call("next", None, self._note_one, consumer, record, now)
            return record, None
        self._iterated = opened = self.processing.open(record, self, None, consumer, now)
        return record, opened

    def open_listed(self, record: Any, handover: Handover, now: int | None) -> OpenSpan:
        """Open the process span of a record from a polled list."""
        restore(self)
        if self.stopped:
            return self.processing.idle(record)
        return self.processing.open(record, self, handover, None, now)

    def end_open(self) -> None:
        """End the span that iteration left open, wherever it is, and one of a list that was left in this context.

        A span that ended in another context than this, where it is still current, is so no longer.
        """
        if self._iterated is not None:
            self._iterated.end()
            self._iterated = None
        restore(self)

    def _fetch(self, consumer: Any, call: Callable[[], Any], started: int, *, looks: bool = False) -> tuple[Any, int]:
        """Return what `call` returns, and when it did; look what has changed once a millisecond, or each time."""
        history = self.history
        history.spent.entered = started
        try:
            fetched = call()
        except StopIteration:
            raise
        except Exception as error:
            if not is_suppressed():
                self._telemetry.guard.call("poll", None, self._tell_failure, consumer, started, error)
            raise
        finally:
            now = started
            try:
                now = time_ns()
                # To look for each record would cost more than the record.
                if history.note_fetch(started, now) or looks:
                    self._telemetry.look(now)
                    if not history.told:
                        history.update(client.assignment(consumer), started)
            except Exception as error:  # noqa: BLE001 (a record that was fetched must not be lost)
                self._telemetry.guard.contain("time_ns", error)
        return fetched, now

    def _note_one(self, consumer: Any, record: Any, now: int) -> None:
        """Note when a record was handed over, for who will process it."""
        handover = Handover(now, client.highwater(consumer, record.topic, record.partition))
        self.history.note_handover(record.topic, record.partition, record.offset, record.offset, handover)

    def _count_one(self, consumer: Any, record: Any) -> None:
        self._count(record, 1, client.highwater(consumer, record.topic, record.partition))

    def _hand_over_lists(self, consumer: Any, polled: Any, started: int, now: int) -> Any:
        if not polled or not isinstance(polled, Mapping):
            return polled
        handed_over = {}
        for partition, records in polled.items():
            if not records:
                handed_over[partition] = records
                continue
            handover = Handover(now, client.highwater(consumer, partition.topic, partition.partition))
            first, last = records[0].offset, records[-1].offset
            self.history.note_handover(partition.topic, partition.partition, first, last, handover)
            self._count(records[-1], len(records), handover.highwater)
            handed_over[partition] = PolledRecords(records, self, handover)
        if not is_suppressed():
            self._telemetry.guard.call("poll", None, self._tell_poll, polled, started)
        return handed_over if self._options.process == "auto" else polled

    def _count(self, last: Any, count: int, highwater: int | None) -> None:
        """Count records of one partition that are handed over, `last` the last of them, and note what lies behind."""
        instruments = self._telemetry.instruments
        if instruments is None or is_suppressed():
            return
        series = self._operation.series(self._telemetry.destinations[last.topic], last.partition)
        series.total(instruments.consumed).add(count)
        behind = attributes.lag(last.offset, highwater)
        if behind is not None:
            self.history.lags[last.topic, last.partition] = behind

    def _tell_poll(self, polled: Mapping[Any, list[Any]], started: int) -> None:
        span = self._start_poll_span(polled, started) if self._options.poll_spans else INVALID_SPAN
        self._finish({partition.topic for partition in polled}, span, started)

    def _start_poll_span(self, polled: Mapping[Any, list[Any]], started: int) -> Span:
        records = [record for each in polled.values() for record in each]
        traced = [record for record in records if self._telemetry.destinations[record.topic].traced]
        if not traced:
            return INVALID_SPAN
        span = self._start_span({record.topic for record in traced}, started, len(traced))
        if span.is_recording():
            room = self._options.max_links
            created = [context_in(self._telemetry, record) for record in traced]
            tell = lambda at: attributes.of_position(traced[at])  # noqa: E731 (a line less)
            self._telemetry.guard.call("poll", None, add_creation_links, self._telemetry, span, created, room, tell)
        return span

    def _tell_failure(self, consumer: Any, started: int, error: BaseException) -> None:
        topics = client.topics(consumer) or set()
        self._finish(topics, self._start_span(topics, started), started, error)

    def _start_span(self, topics: set[str], started: int, count: int | None = None) -> Span:
        destination = self._telemetry.destinations.of(topics)
        ambient = context_api.get_current()
        told: Attributes = {} if count is None else {semconv.MESSAGING_BATCH_MESSAGE_COUNT: count}
        return self._operation.start(ambient, destination, start_time=started, told=told) or INVALID_SPAN

    def _finish(self, topics: set[str], span: Span, started: int, error: BaseException | None = None) -> None:
        self._operation.finish(started, self._telemetry.destinations.of(topics), None, span, error)
