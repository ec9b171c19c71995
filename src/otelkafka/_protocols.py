"""The seam: what the engine asks of a client library. Each face has one class that implements `Client`.

The engine (`_producing`, `_consuming`) calls no client and imports no client library: a face makes each call, and the
engine is asked before and after it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from otelkafka.headers import are_like_sendable


class Record(Protocol):
    """A consumed record."""

    @property
    def topic(self) -> str:
        """The topic that the record was read from."""

    @property
    def partition(self) -> int:
        """The number of its partition."""

    @property
    def offset(self) -> int:
        """Its position in the partition."""

    @property
    def key(self) -> Any:
        """Its key, as the deserializer returned it; None for none."""

    @property
    def value(self) -> Any:
        """Its value, as the deserializer returned it; None for none."""

    @property
    def headers(self) -> Iterable[Any]:
        """Its headers, pairs of name and value."""

    @property
    def timestamp(self) -> int | None:
        """Unix time in milliseconds; None or negative where the record has none."""


class MessageRecord:
    """A message of confluent-kafka as a record: its fields are methods.

    Args:
        message: a message that is no error.
    """

    __slots__ = ("headers", "message", "offset", "partition", "topic")

    def __init__(self, message: Any) -> None:
        self.message = message
        self.topic: Any = message.topic()
        self.partition: Any = message.partition()
        self.offset: Any = message.offset()
        self.headers: Any = message.headers() or []

    @property
    def timestamp(self) -> int | None:
        """Unix time in milliseconds; None where it has none."""
        kind, timestamp = self.message.timestamp()
        return timestamp if kind else None

    @property
    def timestamp_type(self) -> int | None:
        """0 for the time of its creation, 1 for that of its append to the log; None where it has none."""
        kind: int = self.message.timestamp()[0]
        return kind - 1 if kind else None

    @property
    def key(self) -> Any:
        """Its key, as the deserializer returned it."""
        return self.message.key()

    @property
    def value(self) -> Any:
        """Its value, as the deserializer returned it."""
        return self.message.value()


def is_message(value: Any) -> bool:
    """Return whether a value is a message of confluent-kafka, by its methods: a mock has any, which return mocks."""
    try:
        return (
            callable(getattr(value, "topic", None))
            and callable(getattr(value, "error", None))
            and isinstance(value.topic(), str | None)
        )
    except Exception:  # noqa: BLE001 (an argument of a handler may be anything, a proxy of what is not there for example)
        return False


def record_of(value: Any) -> Any:
    """Return a message as a record, None for a message that is an error, and any other value unchanged."""
    if not is_message(value):
        return value
    return MessageRecord(value) if value.error() is None else None


class Place(NamedTuple):
    """Where the messages of one partition lie in a list.

    Args:
        first: the index of the first one.
        last: the index of the last one.
        size: how many there are.
    """

    first: int
    last: int
    size: int


class MessageBatch(Sequence[Any]):
    """The messages of a list as records. A record is made when it is first read: many batches read none.

    Args:
        messages: messages of confluent-kafka, errors among them.

    Attributes:
        messages: those that are no errors.
        errors: the others.
        places: where the messages lie, by topic and number of the partition.
    """

    __slots__ = ("errors", "messages", "places")

    def __init__(self, messages: list[Any]) -> None:
        self.messages = messages
        self.errors: list[Any] = [each for each in messages if each.error() is not None]
        if self.errors:
            self.messages = [each for each in messages if each.error() is None]
        places = _places_by_runs(self.messages)
        self.places: dict[tuple[Any, Any], Place] = _places_one_by_one(self.messages) if places is None else places

    def __len__(self) -> int:
        return len(self.messages)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return list(map(MessageRecord, self.messages[at]))
        return MessageRecord(self.messages[at])

    def __iter__(self) -> Iterator[MessageRecord]:
        return map(MessageRecord, self.messages)


_MOST_STEPS = 32
"""After how many comparisons messages are counted one by one."""
_PROBES = 8
"""How many messages of a run are compared with its first one."""


def _places_by_runs(messages: list[Any]) -> dict[tuple[Any, Any], Place] | None:
    """Return where the messages of each partition lie, by halves whose offsets follow one another from end to end.

    A list has few such runs as a rule: to ask each of its messages would cost as much as to fetch it. None where it has
    many.
    """
    places: dict[tuple[Any, Any], Place] = {}
    waiting = [(0, len(messages) - 1)] if messages else []
    for _ in range(_MOST_STEPS):
        if not waiting:
            return places
        low, high = waiting.pop()
        if _is_run(messages, low, high):
            place = messages[low].topic(), messages[low].partition()
            known = places.get(place)
            count = high - low + 1
            places[place] = Place(low, high, count) if known is None else Place(known.first, high, known.size + count)
        else:
            middle = (low + high) // 2
            waiting += (middle + 1, high), (low, middle)
    return None if waiting else places


def _is_run(messages: list[Any], low: int, high: int) -> bool:
    """Return whether messages are of one partition and without a gap, by some: others may lie in as long a gap."""
    first = messages[low]
    topic, partition, start = first.topic(), first.partition(), first.offset() - low
    for at in (high, *range(low, high, (high - low) // _PROBES + 1)):
        each = messages[at]
        if each.offset() != start + at or each.partition() != partition or each.topic() != topic:
            return False
    return True


def _places_one_by_one(messages: list[Any]) -> dict[tuple[Any, Any], Place]:
    places: dict[tuple[Any, Any], Place] = {}
    for at, message in enumerate(messages):
        place = message.topic(), message.partition()
        known = places.get(place)
        places[place] = Place(at, at, 1) if known is None else Place(known.first, at, known.size + 1)
    return places


def records_of(values: list[Any]) -> Sequence[Any]:
    """Return the records of a list: of messages of confluent-kafka, those that are no errors; else the list itself."""
    if not values or not is_message(values[0]) or len(set(map(type, values))) != 1:
        return values
    return MessageBatch(values)


def given_of(record: Any) -> Any:
    """Return a record as its client handed it over: what the application gets."""
    return record.message if type(record) is MessageRecord else record


class Acknowledgement(Protocol):
    """The broker's answer to a send."""

    @property
    def partition(self) -> int:
        """The number of the partition that the record was written to."""

    @property
    def offset(self) -> int:
        """The record's position in the partition; negative where the broker was not asked for it."""


class Server(NamedTuple):
    """The address that a broker listens on; `port` is None where it is not known."""

    address: str
    port: int | None


class Client(Protocol):
    """The facts about one client that need no network. A fact that the client does not know is None."""

    @property
    def client_id(self) -> str | None:
        """The client's id."""

    @property
    def group(self) -> str | None:
        """The consumer group."""

    @property
    def cluster_id(self) -> str | None:
        """The id of the cluster."""

    @property
    def bootstrap_servers(self) -> list[str]:
        """The bootstrap servers as `host:port`."""

    @property
    def takes_headers(self) -> bool:
        """Whether the broker's message format has headers."""

    def can_send(self, headers: object) -> bool:
        """Return whether the producer takes these headers, which are not of the plain types that each one takes."""

    @property
    def is_transactional(self) -> bool:
        """Whether the producer may have transactions."""

    def server(self, topic: str | None, partition: int | None) -> Server | None:
        """Return the leader of a partition; the first bootstrap server where the leader is not known."""

    def highwater(self, topic: str, partition: int) -> int | None:
        """Return the offset of the next record that will be written to a partition."""

    def assignment(self) -> set[tuple[str, int]] | None:
        """Return topic and number of each partition that the consumer is assigned."""

    def consumed(self) -> Mapping[Any, Any] | None:
        """Return the offsets, by partition, that a commit without offsets would commit now."""

    def topics(self) -> set[str] | None:
        """Return the topics that the consumer is subscribed to or assigned partitions of."""

    def error_name(self, error: BaseException) -> str | None:
        """Return Kafka's name of an error, `UNKNOWN_TOPIC_OR_PARTITION` for example; None for any other error."""


class NoClient:
    """Takes the place of the client where the client of a record is not known."""

    client_id = group = cluster_id = None
    bootstrap_servers: ClassVar[list[str]] = []
    takes_headers = True
    is_transactional = False
    error_names: ClassVar[list[Callable[[BaseException], str | None]]] = []
    """The `error_name()` of each face that is loaded: the record may be of any of them."""

    def can_send(self, headers: object) -> bool:
        """Return whether most producers take these headers."""
        return are_like_sendable(headers)

    def server(self, topic: str | None, partition: int | None) -> None:
        """Return None: the server is not known."""

    def highwater(self, topic: str, partition: int) -> None:
        """Return None: it is not known."""

    def assignment(self) -> None:
        """Return None: it is not known."""

    def consumed(self) -> None:
        """Return None: they are not known."""

    def topics(self) -> None:
        """Return None: they are not known."""

    def error_name(self, error: BaseException) -> str | None:
        """Return the name that any face has for the error."""
        return next(filter(None, (name(error) for name in self.error_names)), None)
