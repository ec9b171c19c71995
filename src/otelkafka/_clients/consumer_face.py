"""The common part of the faces of consumers, and of their proxies."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar
from weakref import finalize

from otelkafka._clients.calls import Args, KwArgs
from otelkafka._clients.proxy import TracedClient
from otelkafka._consuming.commits import Commits
from otelkafka._consuming.consumer_group import ProcessBlock, process_batch_block, process_block
from otelkafka._consuming.dispatcher import Dispatcher
from otelkafka._consuming.process import ProcessOperation
from otelkafka._consuming.rebalances import Rebalances
from otelkafka._consuming.wait import WaitHistory
from otelkafka._context.propagation import Contexts
from otelkafka._protocols import Client, Record
from otelkafka._telemetry.guard import warn
from otelkafka._telemetry.telemetry import Telemetry
from otelkafka.options import ConsumerOptions


class HeldClient(Client, Protocol):
    """The facts about a client, and the client."""

    @property
    def get(self) -> Callable[[], Any]:
        """Return the client; None if it was dropped."""


Facts = TypeVar("Facts", bound=HeldClient)


class ListenerOfFace:
    """A rebalance listener of a face: it records rebalances, and calls the user's inside of each.

    Args:
        rebalances: the rebalances of the consumer.
        listener: the user's; None for none.
        instead_of: the listener that this one replaces. It is called when rebalances are no longer recorded.
    """

    def __init__(self, rebalances: Rebalances, listener: Any, instead_of: object) -> None:
        self.rebalances = rebalances
        self.listener = listener
        self.instead_of = instead_of


def user_listener(listener: Any) -> Any:
    """Return the user's listener; None for none."""
    return listener.listener if isinstance(listener, ListenerOfFace) else listener


class Listening(Protocol):
    """How a client library keeps the rebalance listener of a consumer."""

    def present(self, consumer: Any) -> object:
        """Return the listener of the consumer's subscription; None where there is none."""

    def replace(self, consumer: Any, listener: object) -> bool | None:
        """Replace that listener by `listener`; True if that was possible."""

    def is_called(self, consumer: Any) -> bool | None:
        """Return whether a group assigns partitions to the consumer. Only then the listener is called."""

    def listen(self, rebalances: Rebalances, listener: object, instead_of: object) -> Any:
        """Return a listener that records rebalances and calls the user's; anything else unchanged: Kafka refuses it.

        Args:
            rebalances: the rebalances of the consumer.
            listener: the user's; None for none.
            instead_of: the listener that it replaces: the user's, or that of another face.
        """


class ConsumerFaceBase(Generic[Facts]):
    """What traces one consumer of any library.

    Args:
        consumer: whose configuration is read, and whose subscription is adopted.
        client: the facts about it.
        options: its options.
        listening: how its library keeps listeners.
        before: what traced it until now, whose history goes on.
    """

    def __init__(
        self,
        consumer: Any,
        client: Facts,
        options: ConsumerOptions,
        listening: Listening,
        before: "ConsumerFaceBase[Any] | None" = None,
    ) -> None:
        self._listening = listening
        present = listening.present(consumer)
        while isinstance(present, ListenerOfFace) and present.rebalances.is_stopped:
            present = present.listener  # the user's, or that of another face
        ours = present if isinstance(present, ListenerOfFace) else None
        listener = user_listener(present)
        self._client = client
        telemetry = Telemetry(options, client)
        if ours:
            self.history = ours.rebalances.history
        else:
            self.history = before.history if before else WaitHistory(telemetry.now())
        self.dispatcher = Dispatcher(Contexts(telemetry), options, self.history)
        if before is not None:
            before.dispatcher.end_open()
        self._telemetry = telemetry
        self._rebalances = Rebalances(self.history, self.process)
        self._commits = Commits(telemetry, options, consumer)
        self._shares_history = ours is not None
        if ours:
            ours.instead_of = None  # it is in no place any more, and may not hold those before it
        self._adopt(consumer, listener, present)
        finalize(self, self.dispatcher.drop).atexit = False

    @property
    def process(self) -> ProcessOperation:
        """The process operation of the consumer."""
        return self.dispatcher.process

    def _adopt(self, consumer: Any, listener: object, instead_of: object) -> None:
        """Add the listener to a consumer that has subscribed already, without subscribing again."""
        ours = self._listening.listen(self._rebalances, listener, instead_of)
        is_called = self._listening.is_called(consumer) is True
        self.history.has_listener = is_called and self._listening.replace(consumer, ours) is True

    def stop(self) -> None:
        """Stop tracing. Iterators and listeners that remain work without spans."""
        self.dispatcher.stop()
        self._rebalances.stop()
        present = self._listening.present(self._client.get())
        if isinstance(present, ListenerOfFace):
            if present.rebalances is not self._rebalances:  # the consumer was wrapped again since
                return
            present.listener = present.instead_of
        if not self._shares_history:
            self._stop_history()

    def end(self) -> None:
        """End every open span, and forget the lag of the consumer."""
        self.dispatcher.end_open()
        self._commits.end_all()
        self._stop_history()

    def _stop_history(self) -> None:
        self.history.lags.clear()
        self._telemetry.guard.call("close", None, self.history.spent.stop, self._telemetry.now())


class ProcessingClient(TracedClient):
    """A proxy of a consumer, with the methods that process its records in a block."""

    def process(self, record: Record) -> ProcessBlock:
        """Make the process span of a record, for example in another thread or task.

        Args:
            record: a record of this consumer.

        Returns:
            A context manager that yields the span, makes it current and records the exception of its body.

        Raises:
            TypeError: `record` is not a consumed record.
        """
        return process_block(self._self_face.process, record)

    def process_batch(self, records: Collection[Record] | Mapping[Any, Sequence[Record]]) -> ProcessBlock:
        """Make one process span for a batch of this consumer's records.

        Args:
            records: records, or lists of them by partition, as the client returns them; an empty batch gets no span.

        Returns:
            A context manager that yields the span, makes it current and records the exception of its body.

        Raises:
            TypeError: `records` contains something that is not a consumed record.
        """
        return process_batch_block(self._self_face.process, records)


def own_methods(client_class: type) -> dict[str, Any]:
    """Return the methods of a client class whose names only the wrapper has otherwise."""
    own = {name: _own_method(name) for name in ("process", "process_batch") if hasattr(client_class, name)}
    if not own:
        return own
    names = " and ".join(f"{name}()" for name in own)
    warn(
        "%s has its own %s, which the wrapped consumer calls, without a process span: use otelkafka.process(record, "
        "options), or otelkafka.process_batch().",
        client_class.__name__,
        names,
    )
    return own


def _own_method(name: str) -> Callable[..., Any]:
    def call(self: TracedClient, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.__wrapped__, name)(*args, **kwargs)

    return call


def offsets_of(args: Args, kwargs: KwArgs) -> Any:
    """Return the offsets among the arguments of a commit; None if there are none."""
    return args[0] if args else kwargs.get("offsets")
