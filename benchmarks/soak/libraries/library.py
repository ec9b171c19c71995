"""What the scenarios ask of a client library: one adapter for each, around clients of any face.

A configuration has kafka-python's names and units; an adapter leaves out what its library does not have.
"""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from typing_extensions import Self

from benchmarks.faces import Classes, client_of

Config = Mapping[str, Any]
Note = Callable[[int, int, bytes], None]
"""Called with partition, offset and value of each record that is handed over."""
COMMIT_SECONDS = 0.5


class Place(NamedTuple):
    """Where a record was written to; -1 for what is not known."""

    partition: int
    offset: int


class Face(NamedTuple):
    """How a client is traced.

    Args:
        name: "bare", "wrapped" or "instrumented".
        providers: the providers of its telemetry.
    """

    name: str
    providers: Mapping[str, Any]

    @property
    def is_traced(self) -> bool:
        """Whether there is telemetry."""
        return self.name != "bare"

    def client_of(
        self, classes: Classes, client: type, *arguments: Any, config: Config, options: Config | None = None
    ) -> Any:
        """Return a client.

        Args:
            classes: those of its library.
            client: its class.
            arguments: the positional ones.
            config: the others.
            options: further ones of otelkafka, for a wrapper.
        """
        given = dict(self.providers) if self.is_traced else {}
        if self.name == "wrapped":
            given.update(options or {})
        return client_of(self.name, client, arguments, dict(config), given, classes)


class Sent(Protocol):
    """A record that was sent."""

    @property
    def is_done(self) -> bool:
        """Whether it is known what has become of it."""

    def get(self, timeout: float) -> Place:
        """Return where it was written, or raise why it was not; anything where that is not known in so many seconds."""

    def give_up(self, timeout: float) -> None:
        """Wait for so many seconds, as a program does that then goes on without; raise what that raises."""


class Producer(Protocol):
    """A producer; what its calls raise is the library's own."""

    @property
    def calls(self) -> int:
        """How many sends have reached the bare client."""

    def send(self, topic: str, value: bytes) -> Sent:
        """Send a record, and return when the client has taken it."""

    def flush(self, timeout: float) -> None:
        """Wait for so many seconds until all is acknowledged; raise something if it is not."""

    def close(self, timeout: float) -> None:
        """Close it as a program does that waits so long for its records."""

    def drop(self) -> bool:
        """Let go of the client, without closing it; return whether what waits is sent nevertheless."""

    def end(self) -> None:
        """Leave nothing of it, whatever has become of it."""

    def init_transactions(self) -> None:
        """Initialize transactions."""

    def begin_transaction(self) -> None:
        """Begin a transaction."""

    def commit_transaction(self) -> None:
        """Commit it."""

    def abort_transaction(self) -> None:
        """Abort it."""


class Consumer(Protocol):
    """A consumer; what its calls raise is the library's own."""

    def iterate(self, note: Note, is_enough: Callable[[], bool]) -> None:
        """Take record by record until it is enough, or the client's own iteration ends."""

    def next(self, note: Note) -> None:
        """Take one record, if there is one soon; give up waiting for it as a program does."""

    def poll(self, note: Note) -> None:
        """Take a list of records, if there are any soon."""

    def commit(self) -> None:
        """Commit what has been handed over."""

    def commit_soon(self) -> None:
        """Do the same, and give up after half a second."""

    def assigned(self) -> int:
        """Return how many partitions it is assigned."""

    def is_at_the_end(self) -> bool:
        """Return whether the last record of each partition that it is assigned has been handed over."""

    def close(self) -> None:
        """Close it."""


class Library(Protocol):
    """A client library, while a play goes on.

    Attributes:
            name: the name of the library, or of its async clients.
        distribution: what is installed.
            errors: what its calls raise about Kafka.
        alike: errors of sends one of which comes as it happens, by what all of them are called in a comparison.
        alike_calls: the same of other calls.
    """

    name: str
    distribution: str
    errors: type[Exception]
    alike: Mapping[str, str]
    alike_calls: Mapping[str, str]

    def __enter__(self) -> Self:
        """Start what its clients need."""

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        """End it."""

    def producer(self, face: Face, config: Config) -> Producer:
        """Return a producer."""

    def consumer(self, face: Face, config: Config, *topics: str, assigned: str | None = None) -> Consumer:
        """Return a consumer.

        Args:
            face: how it is traced.
            config: its configuration.
            topics: those that it subscribes to.
            assigned: a topic the first partition of which it is assigned; None for none.
        """

    def error_type(self, error: BaseException) -> str:
        """Return what a span is to say of an error: Kafka's own name where it has one, else the class."""
