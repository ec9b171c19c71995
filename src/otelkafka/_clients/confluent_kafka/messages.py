"""Lists of messages as `consume()` returns them, whose iteration runs inside the process span of each."""

from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import KafkaException

from otelkafka._consuming.dispatcher import Dispatcher, DispatchingIterator, PolledRecords
from otelkafka._consuming.wait import Handover
from otelkafka._protocols import MessageRecord


def hand_over(
    dispatcher: Dispatcher,
    messages: Any,
    started: int,
    failed: Callable[[BaseException, int], None],
    *,
    dispatches: bool,
) -> Any:
    """Note that the client has handed over messages, and return what the application gets.

    Args:
        dispatcher: of the consumer.
        messages: a list of messages, errors among them.
        started: what `fetching()` returned.
        failed: notes each error.
        dispatches: whether iterating the list is to open process spans.
    """
    if type(messages) is not list:
        return messages
    records: dict[tuple[str, int], list[Any]] = {}
    for message in messages:
        error = message.error()
        if error is not None:
            failed(KafkaException(error), started)
            continue
        records.setdefault((message.topic(), message.partition()), []).append(message)
    handovers = dispatcher.received_list({place: Messages(each) for place, each in records.items()}, started)
    if not dispatches or not records:
        return messages
    return PolledMessages(messages, dispatcher, handovers)


class Messages:
    """Messages of one partition, as the engine counts and describes them.

    Args:
        messages: at least one.
    """

    __slots__ = ("_messages",)

    def __init__(self, messages: list[Any]) -> None:
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    def __getitem__(self, at: int) -> MessageRecord:
        return MessageRecord(self._messages[at])

    def __iter__(self) -> Iterator[MessageRecord]:
        return map(MessageRecord, self._messages)


class PolledMessages(PolledRecords):
    """A list of messages whose first iteration runs the body of its loop inside each one's process span."""

    __slots__ = ("_handovers",)

    def __init__(self, messages: list[Any], dispatcher: Dispatcher, handovers: dict[tuple[str, int], Handover]) -> None:
        super().__init__(messages, dispatcher, Handover(0, None))
        self._handovers = handovers

    def __iter__(self) -> Iterator[Any]:
        """Iterate as a list does, and dispatch the first time."""
        dispatch = self.take_dispatch()
        messages = list.__iter__(self)
        return messages if dispatch is None else MessageIterator(dispatch[0], self._handovers, messages)


class MessageIterator(DispatchingIterator, Iterator[Any]):
    """Iterates a list of messages; one that is an error has no span."""

    __slots__ = ("_handovers", "_messages")

    def __init__(
        self, dispatcher: Dispatcher, handovers: dict[tuple[str, int], Handover], messages: Iterator[Any]
    ) -> None:
        self._dispatcher = dispatcher
        self._handovers = handovers
        self._messages = messages
        self._open = None

    def __next__(self) -> Any:
        """Return the next message, whose process span is current until the one after is asked for."""
        opened, dispatcher = self._open, self._dispatcher
        if opened is not None:
            dispatcher.end_one(opened, None)
            self._open = None
        message = next(self._messages)
        if message.error() is None:
            record = MessageRecord(message)
            handover = self._handovers.get((record.topic, record.partition))
            self._open = dispatcher.open_listed(record, handover or Handover(0, None), None)
        return message
