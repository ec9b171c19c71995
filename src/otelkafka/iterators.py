"""Iterators that hand over records one by one, each in its process span: from a consumer, or from a polled list."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from time import time_ns
from typing import Any, Protocol

from otelkafka.current import OpenSpan, restore
from otelkafka.wait import Handover


class Dispatcher(Protocol):
    """What opens the process spans."""

    def next(self, consumer: Any, advance: Callable[[], Any]) -> tuple[Any, OpenSpan | None]:
        """Return the next record of the consumer, and its open span, if it has one."""

    def open_listed(self, record: Any, handover: Handover, now: int | None) -> OpenSpan:
        """Open the span of a record from a polled list."""


class RecordIterator(Iterator[Any]):
    """Iterates the records of a consumer, the body of the loop inside each record's process span.

    Unlike a generator it goes on after a StopIteration or an error, as the consumer itself does.

    Args:
        dispatcher: of the consumer.
        consumer: the bare one.
        advance: returns its next record.
    """

    __slots__ = ("_advance", "_consumer", "_dispatcher", "_open")

    def __init__(self, dispatcher: Dispatcher, consumer: Any, advance: Callable[[], Any]) -> None:
        self._dispatcher = dispatcher
        self._consumer = consumer
        self._advance = advance
        self._open: OpenSpan | None = None

    def __next__(self) -> Any:
        """Return the next record, whose process span is current until the one after is asked for."""
        record, self._open = self._dispatcher.next(self._consumer, self._advance)
        return record

    def __del__(self) -> None:
        """End the span of the last record where the loop was left."""
        _end_dropped(self)


class PolledRecords(list[Any]):
    """A list of records whose first iteration runs the body of its loop inside each record's process span.

    Any other use of it is a list's; copied or pickled it is a plain list.
    """

    __slots__ = ("_dispatch",)

    def __init__(self, records: list[Any], dispatcher: Dispatcher, handover: Handover) -> None:
        super().__init__(records)
        self._dispatch: tuple[Dispatcher, Handover] | None = (dispatcher, handover)

    def spend(self) -> tuple[Dispatcher, Handover] | None:
        """Take the one dispatching iteration away; None where it was had already."""
        dispatch, self._dispatch = self._dispatch, None
        return dispatch

    def __iter__(self) -> Iterator[Any]:
        """Iterate as a list does, and dispatch the first time."""
        dispatch = self.spend()
        return super().__iter__() if dispatch is None else ListIterator(*dispatch, super().__iter__())

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copy and pickle as a plain list."""
        return list, (self[:],)


class ListIterator(Iterator[Any]):
    """Iterates a polled list, the body of the loop inside each record's process span."""

    __slots__ = ("_dispatcher", "_handover", "_open", "_records")

    def __init__(self, dispatcher: Dispatcher, handover: Handover, records: Iterator[Any]) -> None:
        self._dispatcher = dispatcher
        self._handover = handover
        self._records = records
        self._open: OpenSpan | None = None

    def __next__(self) -> Any:
        """Return the next record, whose process span is current until the one after is asked for."""
        try:
            now: int | None = time_ns()
        except Exception:  # noqa: BLE001 (whoever is given no time looks at the clock, and tells that it fails)
            now = None
        if self._open is not None:
            self._open.end(None, now)
            self._open = None
        record = next(self._records)
        self._open = self._dispatcher.open_listed(record, self._handover, now)
        return record

    def __del__(self) -> None:
        """End the span of the last record where the loop was left."""
        _end_dropped(self)


def _end_dropped(iterator: Any) -> None:
    with suppress(Exception):  # at the end of the interpreter anything may be gone
        if iterator._open is not None:
            iterator._open.end()
            restore()  # it may have ended before, in another thread
