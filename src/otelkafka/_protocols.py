"""The seam: what the engine asks of a client library. Each face has one class that implements `Client`.

The engine (`_producing`, `_consuming`) calls no client and imports no client library: a face makes each call, and the
engine is asked before and after it.
"""

from collections.abc import Callable, Iterable, Mapping
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
    """Return whether a value is a message of confluent-kafka, by its methods."""
    return callable(getattr(value, "topic", None)) and callable(getattr(value, "error", None))


def record_of(value: Any) -> Any:
    """Return the record that a value is: of a message what it has, None of one that is an error; else the value."""
    try:
        if not is_message(value):
            return value
        return MessageRecord(value) if value.error() is None else None
    except Exception:  # noqa: BLE001 (a mock may have methods of any names, a proxy may raise)
        return value


def records_of(values: list[Any]) -> list[Any]:
    """Return the records of a list: of messages of confluent-kafka, those that are no errors; else the list itself."""
    if not values or not is_message(values[0]):
        return values
    return [record for record in map(record_of, values) if record is not None]


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
