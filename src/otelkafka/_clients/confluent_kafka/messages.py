"""Lists of messages as `consume()` returns them, whose iteration runs inside the process span of each."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from confluent_kafka import KafkaException

from otelkafka._consuming.dispatcher import Dispatcher, DispatchingIterator, PolledRecords
from otelkafka._consuming.wait import Handover
from otelkafka._protocols import MessageBatch, MessageRecord

NOTHING: Final = StopIteration()
"""What the engine knows the end of records by: here that of those that are there now."""
_NO_HANDOVER: Final = Handover(0, None)


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
        dispatcher: the dispatcher of the consumer.
        messages: a list of messages, errors among them; a subclass may return anything.
        started: what `fetching()` returned.
        failed: notes each error.
        dispatches: whether iterating the list is to open process spans.
    """
    try:
        batch = MessageBatch(messages if type(messages) is list else [])
    except Exception:  # noqa: BLE001 (no messages)
        batch = MessageBatch([])
    for each in batch.errors:
        failed(KafkaException(each.error()), started)
    records = {place: MessagesAt(batch, *place) for place in batch.places}
    if not records:
        dispatcher.failed(NOTHING, started, is_poll=True)
        return messages
    handovers = dispatcher.received_list(records, started)
    return messages if not dispatches else PolledMessages(messages, dispatcher, batch, handovers)


class MessagesAt:
    """The messages of one partition in a batch, as the engine counts and describes them.

    Args:
        batch: the batch.
        topic: the topic of the partition.
        partition: its number.
    """

    __slots__ = ("_batch", "_key", "_place")

    def __init__(self, batch: MessageBatch, topic: str, partition: int) -> None:
        self._batch = batch
        self._key = topic, partition
        self._place = batch.places[topic, partition]

    def __len__(self) -> int:
        return self._place.size

    def __getitem__(self, at: int) -> MessageRecord:
        """Return the first or the last one."""
        return MessageRecord(self._batch.messages[self._place.last if at else self._place.first])

    def __iter__(self) -> Iterator[MessageRecord]:
        return (record for record in self._batch if (record.topic, record.partition) == self._key)


class PolledMessages(PolledRecords):
    """A list of messages whose first iteration runs the body of its loop inside each one's process span.

    Args:
        messages: as the client returned them.
        dispatcher: the dispatcher of the consumer.
        batch: the same as records.
        handovers: when and how they came, by partition.
    """

    __slots__ = ("_batch", "_handovers")

    def __init__(
        self,
        messages: list[Any],
        dispatcher: Dispatcher,
        batch: MessageBatch,
        handovers: dict[tuple[str, int], Handover],
    ) -> None:
        super().__init__(messages, dispatcher, _NO_HANDOVER)
        self._batch = batch
        self._handovers = handovers

    @property
    def batch(self) -> MessageBatch | None:
        """Its records; None where the list was changed since, or has errors."""
        return self._batch if list.__eq__(self, self._batch.messages) else None

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
        now = dispatcher.process.telemetry.now() or None
        if opened is not None:
            dispatcher.end_one(opened, now)
            self._open = None
        message = next(self._messages)
        if message.error() is None:
            record = MessageRecord(message)
            self._open = dispatcher.open_listed(record, self._handovers.get((record.topic, record.partition)), now)
        return message
