"""What every kind of broker offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from testbroker import wire

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from typing_extensions import Self


class BrokerUnavailable(RuntimeError):  # it reads as the sentence that it is
    """There is no broker of that kind to be had.

    Attributes:
        reason: why, in one sentence without a full stop.
        remedy: what to do about it.

    """

    def __init__(self, reason: str, remedy: str) -> None:
        """Make an error that reads `reason. remedy`."""
        super().__init__(f"{reason}. {remedy}")
        self.reason = reason
        self.remedy = remedy


class Broker(ABC):
    """A running Kafka broker. It is made by `start_broker()`.

    Attributes:
        kind: "given", "kafka" or "embedded".
        bootstrap_servers: "host:port", of several nodes joined by commas.
        description: what runs where, to print.

    """

    kind: ClassVar[str]
    bootstrap_servers: str
    description: str

    @property
    def client_options(self) -> dict[str, Any]:
        """The keyword arguments that a KafkaProducer or KafkaConsumer needs to talk to it."""
        return {"bootstrap_servers": self.bootstrap_servers}

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Create a topic, and return when a client that connects now can use it.

        Args:
            name: the topic.
            partitions: how many.
            config: the topic's configuration, as `{"cleanup.policy": "compact"}`; the embedded broker takes none.

        Raises:
            RuntimeError: the broker refused, or the partitions got no leaders within two minutes.

        """
        self._make_topic(name, partitions, config or {})
        wire.wait_for_leaders(self.bootstrap_servers, name, partitions)

    def kill(self, node: int | None = None) -> None:
        """End a node at once, as SIGKILL does, or all of them; their data stay. Only "kafka" can."""
        raise self._only_kafka_can()

    def restart(self, node: int | None = None) -> None:
        """Start a node again, or all of them, with the same port and data. Only "kafka" can."""
        raise self._only_kafka_can()

    def leader_of(self, topic: str) -> int:
        """Return the id of the node that leads a topic's first partition."""
        return wire.metadata(self.bootstrap_servers, topic).leaders[0]

    @abstractmethod
    def stop(self) -> None:
        """End the broker and remove its data; a second call does nothing."""

    @abstractmethod
    def _make_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> None: ...

    def _only_kafka_can(self) -> NotImplementedError:
        return NotImplementedError(
            f'a broker of kind "{self.kind}" cannot be killed and restarted: ask for one that can, start_broker("kafka")'
        )

    def __enter__(self) -> Self:
        """Return the broker itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the broker."""
        self.stop()

    def __repr__(self) -> str:
        """Print what runs where."""
        return f"<{self.description}>"
