"""The dispatcher: it hands over a consumer's records one by one, from iteration or polled lists, each in its span."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final
from weakref import WeakValueDictionary

from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from otelkafka._consuming.measures import Place
from otelkafka._consuming.open_span import OpenSpan, idle_span, innermost, open_spans, start_beside
from otelkafka._consuming.process import ProcessOperation, ProcessOperations
from otelkafka._consuming.wait import SLOW, Handover, WaitHistory
from otelkafka._context.current import Attached, get_current, is_suppressed, reset, restored
from otelkafka._context.propagation import Contexts
from otelkafka._protocols import MessageBatch
from otelkafka._telemetry import attributes, clock, lifetime, semconv
from otelkafka._telemetry.attributes import Attributes
from otelkafka._telemetry.clock import MILLISECOND
from otelkafka._telemetry.destination import Destination
from otelkafka._telemetry.links import Described, describe_records
from otelkafka._telemetry.metrics import Instruments, Reading, Total
from otelkafka._telemetry.operation import Operation
from otelkafka.options import ConsumerOptions

_ENDS: Final = (StopIteration, StopAsyncIteration)
"""How a client says that there are no more records."""


class Dispatcher:
    """Returns the records of one consumer to the application, each inside its process span if the options ask for it.

    The face calls `fetching()` before each call of the client that fetches, and `received()`, `polled()` or `failed()`
    after it.

    Args:
        contexts: the contexts of the consumer.
        options: the options of the consumer.
        history: when the consumer was fetching and when it was busy.

    Attributes:
        process: the process operation of the consumer.
        operations: the process operations for options that were passed to `process()` and other calls, by options.
        inside: the context of the span that was opened directly inside the previous one, while it is open.
        stopped: True after `stop()`: remaining iterators return records without spans.
    """

    def __init__(self, contexts: Contexts, options: ConsumerOptions, history: WaitHistory) -> None:
        self.process = ProcessOperation(contexts, options, history)
        self.operations = ProcessOperations(contexts.telemetry.client, history)
        self.history = history
        self._spent, self._fetches = history.spent, history.fetches
        self.stopped = False
        self._contexts = contexts
        self._telemetry = contexts.telemetry
        self._client = contexts.telemetry.client
        self._options = options
        self._operation = Operation(self._telemetry, "poll", semconv.TYPE_RECEIVE, SpanKind.CLIENT)
        self._dispatches = options.process != "manual"
        self._iterated: OpenSpan | None = None
        self.inside: Attached | None = None
        self._telemetry.on_instruments(self._watch)
        _dispatchers[id(self)] = self

    def _watch(self, instruments: Instruments) -> None:
        instruments.consumer_lag.watch(self._read_lags)
        known: Attributes = {semconv.MESSAGING_SYSTEM: semconv.SYSTEM_KAFKA, **attributes.of_group(self._client)}
        instruments.follow(self.history, self.history.spent, known)

    def _read_lags(self) -> Iterator[Reading]:
        for (topic, partition), lag in list(self.history.lags.items()):
            named = self._telemetry.destinations[topic].metric_attributes
            yield attributes.of_place(named, partition, self._client), lag

    def fetching(self) -> int:
        """Note that the consumer fetches from now on, and end the span of the previous record.

        Returns:
            The time, Unix time in nanoseconds. Pass it to `received()`, `polled()` or `failed()`.
        """
        if lifetime.waiting:
            lifetime.finish_waiting()
        try:
            started = clock.now()
        except Exception:  # noqa: BLE001 (whatever it is, the application must not get it)
            started = self._telemetry.now()
        if type(started) is not int:
            started = self._telemetry.now()
        opened = self._iterated
        if opened is None or not self.end_one(opened, started):
            last = innermost.get()
            if (last is not None and (not last.ended or last.outer is not None)) or type(get_current()) is Attached:
                self._restore(started)
        self._iterated = None  # not before it has ended: an interrupt in there leaves it to the next
        self._spent.entered = started
        return started

    def received(self, record: Any, started: int) -> OpenSpan | None:
        """Note that the client has returned a record, and open its process span.

        Args:
            record: the record.
            started: what `fetching()` returned.

        Returns:
            The open span; None if the options ask for none.
        """
        spent, marks, now = self._spent, self._fetches, started
        spent.entered = None
        try:
            now = clock.now()
            if marks.last <= started <= now < marks.next:  # as `_note_fetch()`: it happens once a record
                spent.fetched += now - started
            else:
                self._note_fetch(started, now)
        except Exception as error:  # noqa: BLE001 (a record that was fetched must not be lost)
            now = started
            self._telemetry.guard.contain("time_ns", error)
        if self._telemetry.instruments is not None:
            self._count_one(record)
        if not self._dispatches:
            self._telemetry.guard.call("next", None, self._note_one, record, now)
            return None
        if self.inside is not None:
            opened = self._open_beside(record, None, now, is_fresh=True)
        else:
            opened = self.process.open(record, self, None, now, True)
        self._iterated = opened
        return opened

    def polled(self, polled: Any, started: int) -> Any:
        """Note that the client has returned lists of records, and return what the application gets.

        Args:
            polled: lists of records, by partition.
            started: what `fetching()` returned.

        Returns:
            The lists. If the options ask for it, their first iteration opens process spans. Anything else than lists
            of records is returned unchanged.
        """
        now = self._telemetry.now()
        self._telemetry.guard.call("time_ns", None, self._note_fetch, started, now, is_poll=True)
        return self._telemetry.guard.call("poll", polled, self._hand_over_lists, polled, started, now)

    def received_list(self, records: Mapping[tuple[str, int], Any], started: int) -> dict[tuple[str, int], Handover]:
        """Note that the client has returned records of several partitions in one list.

        Args:
            records: the records of each partition, by topic and number; at least one record each.
            started: what `fetching()` returned.

        Returns:
            The hand-over of each partition: when and how its records were returned.
        """
        now = self._telemetry.now()
        self._telemetry.guard.call("time_ns", None, self._note_fetch, started, now, is_poll=True)
        handovers: dict[tuple[str, int], Handover] = {}
        self._telemetry.guard.call("poll", None, self._note_list, records, started, now, handovers)
        return handovers

    def _note_list(
        self, records: Mapping[tuple[str, int], Any], started: int, now: int, handovers: dict[tuple[str, int], Handover]
    ) -> None:
        for (topic, partition), each in records.items():
            handover = Handover(now, self._client.highwater(topic, partition))
            handovers[topic, partition] = handover
            first, last = each[0], each[-1]
            self._note(topic, partition, first.offset, last.offset, handover)
            self._count(last, len(each), handover.highwater)
        if records and not is_suppressed():
            topics = {topic for topic, _ in records}
            self._telemetry.guard.call("poll", None, self._record_poll, topics, records.values(), started)

    def failed(self, error: BaseException, started: int, *, is_poll: bool = False) -> None:
        """Note that the client has raised.

        Args:
            error: what it raised. StopIteration and StopAsyncIteration are not failures.
            started: what `fetching()` returned.
            is_poll: whether the call returns lists.
        """
        if isinstance(error, Exception) and not isinstance(error, _ENDS) and not is_suppressed():
            self._telemetry.guard.call("poll", None, self._record_failure, started, error)
        now = self._telemetry.now()
        self._telemetry.guard.call("time_ns", None, self._note_fetch, started, now, is_poll=is_poll)

    def open_listed(self, record: Any, handover: Handover | None, now: int | None) -> OpenSpan:
        """Open the process span of a record from a polled list."""
        last = innermost.get()
        if (last is not None and (not last.ended or last.outer is not None)) or type(get_current()) is Attached:
            self._restore(now)
        if self.stopped:
            return idle_span(record)
        if self.inside is not None:
            return self._open_beside(record, handover, now)
        return self.process.open(record, self, handover, now)

    def end_one(self, opened: OpenSpan, now: int | None) -> bool:
        """End the span of the previous record, in whatever context it is, and note which span goes on inside it.

        Returns:
            Whether the context from before that span is current again, without an open span.
        """
        current = get_current()
        if (
            opened.is_alone
            and type(current) is Attached
            and current.opened is opened
            and not opened.ended
            and not opened.is_held
            and now
        ):
            try:
                reset(opened.token)
            except (TypeError, ValueError, RuntimeError):  # attached in another contextvars.Context, and left there
                pass
            else:  # as `opened.close()` does, without its calls: it happens once a record
                opened.ended, opened.ended_at, history = True, now, self.history
                if opened.is_bare and now - opened.start < SLOW and now < history.processes.next:
                    history.processed += 1
                    opened.token = opened.record = None
                    return True
                self.process.ended(opened, opened.failure)
                opened.token = opened.record = opened.dispatcher = opened.operation = opened.failure = None
                return True
        token, inside = opened.token, None
        if not opened.ended and (type(current) is not Attached or current.opened is not opened):
            inside = opened.inside()
        opened.close(None, now)
        if inside is not None and opened.token is not token:  # else it was attached in another contextvars.Context
            self.inside = inside
        return False

    def go_on_with(self, opened: OpenSpan | None) -> OpenSpan | None:
        """Switch to another iteration of the consumer, and return the span that is open for the current one.

        Args:
            opened: the span that the other iteration has open; None for none.
        """
        self._iterated, iterated = opened, self._iterated
        return iterated

    def end_here(self, opened: OpenSpan, now: int | None = None) -> None:
        """End a span if it was attached in this context. A span that this context inherited from another stays open."""
        inside, token = opened.inside(), opened.token
        if opened.is_held:
            opened.close()
        elif opened.leave():
            opened.close(None, now)
            restored()
        if inside is not None and opened.token is not token:
            self.inside = inside

    def drop_one(self, opened: OpenSpan) -> None:
        """End the span of the last record, in a finalizer. Called when a loop was left before its end."""
        inside, token = None if opened.ended else opened.inside(), opened.token
        opened.drop()
        if inside is not None and opened.token is not token:
            self.inside = inside

    def _restore(self, now: int | None = None) -> None:
        """End the span that a list left open in this context, and detach spans that have ended in another context."""
        for each in open_spans():
            if each.dispatcher is self:
                self.end_here(each, now)
        restored()

    def _open_beside(
        self, record: Any, handover: Handover | None, now: int | None, *, is_fresh: bool = False
    ) -> OpenSpan:
        """Open the span of a record beside the previous one, inside which a span of another consumer is open."""
        inside, self.inside = self.inside, None
        if inside is not None:
            start_beside(inside)
        return self.process.open(record, self, handover, now, is_fresh=is_fresh)

    def handed_over(self, record: Any) -> int | None:
        """Return when the consumer returned a record, Unix time in nanoseconds; None if it did not return it.

        If no time was noted, the result is an estimate, one millisecond for each later record. It only serves to
        compare consumers.
        """
        noted = self.history.handover_of(record)
        if noted is not None:
            return noted.time
        destination = self._telemetry.destinations.get(record.topic)
        last = None if destination is None else destination.last_offsets.get(record.partition)
        if last is None or record.offset > last:
            return None
        return self.history.fetches.last - (last - int(record.offset)) * MILLISECOND

    def end_open(self) -> None:
        """End the span that iteration left open, in any context, and the span of a list that is open in this context.

        A span that has ended in another context, but is still current in this one, is detached.
        """
        if self._iterated is not None:
            self.end_one(self._iterated, None)
            self._iterated = None
        self._restore()

    def drop(self) -> None:
        """End the span that iteration left open, in a finalizer: the consumer and its iterators have been dropped."""
        if self._iterated is not None:
            self.drop_one(self._iterated)

    def stop(self) -> None:
        """Return all further records without spans."""
        self.stopped = True
        self.end_open()

    def _note_fetch(self, started: int, now: int, *, is_poll: bool = False) -> None:
        """Note how long the client fetched; refresh once a millisecond, or after each poll."""
        # To check for changes at each record would cost more than the record.
        if self.history.note_fetch(started, now) or is_poll:
            self._telemetry.refresh(now)
            if not self.history.has_listener:
                self.history.update(self._client.assignment(), started)

    def _note_one(self, record: Any, now: int) -> None:
        """Note when a record was returned, for the call that will process it."""
        handover = Handover(now, self._client.highwater(record.topic, record.partition))
        self._note(record.topic, record.partition, record.offset, record.offset, handover)

    def _note(self, topic: str, partition: int, first: int, last: int, handover: Handover) -> None:
        self.history.note_handover(topic, partition, first, last, handover)
        self._telemetry.destinations[topic].last_offsets[partition] = last

    def _count_one(self, record: Any) -> None:
        """Count one record that is returned. Same as `_count()`, but written out, because it runs for each record."""
        telemetry, partition = self._telemetry, record.partition
        try:
            if get_current() and is_suppressed():
                return
            destination = telemetry.destinations[record.topic]
            place = destination.places.get(partition)
            if place is None or place.instruments is not telemetry.instruments or place.series.is_stale:
                place = self.process.measures.place_of(destination, partition)
            (place.consumed or self._consumed_at(place, destination, partition)).count()
            highwater = self._client.highwater(record.topic, partition)
            if highwater is not None:
                self.history.lags[record.topic, partition] = max(0, highwater - record.offset - 1)
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            telemetry.guard.contain("next", error)

    def _hand_over_lists(self, polled: Any, started: int, now: int) -> Any:
        if not polled or not isinstance(polled, Mapping):
            return polled
        handed_over = {}
        for partition, records in polled.items():
            if not records:
                handed_over[partition] = records
                continue
            handover = Handover(now, self._client.highwater(partition.topic, partition.partition))
            first, last = records[0].offset, records[-1].offset
            self._note(partition.topic, partition.partition, first, last, handover)
            self._count(records[-1], len(records), handover.highwater)
            handed_over[partition] = PolledRecords(records, self, handover)
        if not is_suppressed():
            topics = {partition.topic for partition in polled}
            self._telemetry.guard.call("poll", None, self._record_poll, topics, polled.values(), started)
        return handed_over if self._options.process == "auto" else polled

    def _count(self, last: Any, count: int, highwater: int | None) -> None:
        """Count records of one partition that are returned, and note the lag behind the last one."""
        telemetry, partition = self._telemetry, last.partition
        if telemetry.instruments is None or is_suppressed():
            return
        destination = telemetry.destinations[last.topic]
        place = self.process.measures.place_of(destination, partition)
        (place.consumed or self._consumed_at(place, destination, partition)).add(count)
        if highwater is not None:
            self.history.lags[last.topic, partition] = max(0, highwater - last.offset - 1)

    def _consumed_at(self, place: Place, destination: Destination, partition: int) -> Total:
        """Return where the records of a partition are counted, and keep it at its place."""
        series = self._operation.series(destination, partition)
        place.consumed = found = series.total(place.instruments.consumed)
        return found

    def _record_poll(self, topics: set[str], polled: Iterable[Iterable[Any]], started: int) -> None:
        if not self._options.poll_spans and self._telemetry.instruments is None:
            return
        span = self._start_poll_span(polled, started) if self._options.poll_spans else INVALID_SPAN
        self._finish(topics, span, started)

    def _start_poll_span(self, polled: Iterable[Iterable[Any]], started: int) -> Span:
        records = [record for each in polled for record in each]
        traced = [record for record in records if self._telemetry.destinations[record.topic].traced]
        if not traced:
            return INVALID_SPAN
        partitions = {(record.topic, record.partition) for record in traced}
        partition = traced[0].partition if len(partitions) == 1 else None
        return self._start_span({topic for topic, _ in partitions}, started, partition, traced)

    def _describe(self, records: list[Any]) -> Described:
        created = [self._contexts.creation_context(record) for record in records]
        attributes_of = lambda at: self._attributes_of(records[at])  # noqa: E731 (a line less)
        return describe_records(self._telemetry, records, created, self._options.max_links, attributes_of)

    def _attributes_of(self, record: Any) -> Attributes:
        found: Attributes = {}
        self._telemetry.describe_record(found, record)
        return found

    def _record_failure(self, started: int, error: BaseException) -> None:
        topics = self._client.topics() or set()
        self._finish(topics, self._start_span(topics, started), started, error)

    def _start_span(
        self, topics: set[str], started: int, partition: int | None = None, records: list[Any] | None = None
    ) -> Span:
        ambient = restored()
        span = self._operation.start(
            ambient,
            self._telemetry.destinations.of(topics),
            partition,
            start_time=started,
            more={semconv.MESSAGING_BATCH_MESSAGE_COUNT: len(records)} if records else None,
            describe=(lambda: self._describe(records)) if records else None,
            is_likely=self._contexts.is_likely_recorded(ambient),
        )
        return span or INVALID_SPAN

    def _finish(self, topics: set[str], span: Span, started: int, error: BaseException | None = None) -> None:
        self._operation.finish(started, self._telemetry.destinations.of(topics), None, span, error)


_dispatchers: Final[WeakValueDictionary[int, Dispatcher]] = WeakValueDictionary()
"""Those of the consumers that live in this process."""


def dispatcher_of(record: Any) -> Dispatcher | None:
    """Return the dispatcher of the consumer that returned a record, of several consumers the last.

    Any thread of the process may call this.
    """
    found, latest = None, None
    for reference in _dispatchers.valuerefs():
        dispatcher = reference()
        if dispatcher is None or dispatcher.stopped:
            continue
        moment = dispatcher.handed_over(record)
        if moment is not None and (latest is None or moment >= latest):
            found, latest = dispatcher, moment
    return found


class PolledRecords(list[Any]):
    """A list of records. In its first iteration, the body of the loop runs inside the process span of each record.

    In all else it behaves as a list. A copy, and what is unpickled, is a plain list.
    """

    __slots__ = ("_dispatch",)

    def __init__(self, records: list[Any], dispatcher: Dispatcher, handover: Handover) -> None:
        super().__init__(records)
        self._dispatch: tuple[Dispatcher, Handover] | None = (dispatcher, handover)

    @property
    def batch(self) -> MessageBatch | None:
        """Its records, where it is one of messages."""
        return None

    def take_dispatch(self) -> tuple[Dispatcher, Handover] | None:
        """Return what the first iteration needs, and None for later ones."""
        dispatch, self._dispatch = self._dispatch, None
        return dispatch

    def __iter__(self) -> Iterator[Any]:
        """Return an iterator; the first one opens process spans."""
        dispatch = self.take_dispatch()
        return super().__iter__() if dispatch is None else PolledIterator(*dispatch, super().__iter__())

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copy and pickle as a plain list."""
        return list, (self[:],)


class DispatchingIterator:
    """An iterator of records, sync or async. The body of the loop runs inside the process span of each record."""

    __slots__ = ("_dispatcher", "_open")
    _dispatcher: Dispatcher
    _open: OpenSpan | None

    def __del__(self) -> None:
        """End the span of the last record where the loop was left."""
        with suppress(Exception):  # at the end of the interpreter anything may be gone, and `_open` was never there
            if self._open is not None:
                self._dispatcher.drop_one(self._open)


class PolledIterator(DispatchingIterator, Iterator[Any]):
    """Iterates a polled list."""

    __slots__ = ("_handover", "_records")

    def __init__(self, dispatcher: Dispatcher, handover: Handover, records: Iterator[Any]) -> None:
        self._dispatcher = dispatcher
        self._handover = handover
        self._records = records
        self._open = None

    def __next__(self) -> Any:
        """Return the next record. Its process span is current until the record after it is requested."""
        try:
            now: int | None = clock.now()
        except Exception:  # noqa: BLE001 (who is given no time reads the clock, and contains its failure)
            now = None
        if type(now) is not int:
            now = None
        opened, dispatcher = self._open, self._dispatcher
        is_plain = opened is not None and dispatcher.end_one(opened, now)
        self._open = None
        record = next(self._records)
        if is_plain and dispatcher.inside is None and not dispatcher.stopped:
            self._open = dispatcher.process.open(record, dispatcher, self._handover, now)
        else:
            self._open = dispatcher.open_listed(record, self._handover, now)
        return record
