"""The user's callbacks of a subscription, with what is recorded around them."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from otelkafka._clients.calls import Args, KwArgs
from otelkafka._clients.confluent_kafka.facts import Signature
from otelkafka._consuming.rebalances import Rebalances

_KINDS: Final = {"on_assign": "assign", "on_revoke": "revoke", "on_lost": "lose"}


class Listeners:
    """librdkafka keeps the callbacks of a subscription to itself: none is found, and none replaced."""

    @staticmethod
    def present(consumer: Any) -> None:
        """Return None: it is not known."""

    @staticmethod
    def replace(consumer: Any, listener: object) -> bool:  # noqa: ARG004
        """Return False: it is not possible."""
        return False

    @staticmethod
    def is_called(consumer: Any) -> None:
        """Return None: it is not known."""

    @staticmethod
    def listen(rebalances: Rebalances, listener: object, instead_of: object) -> None:
        """Return None: callbacks are given to `subscribe()`, by `Callbacks`."""


class Subscription(NamedTuple):
    """The arguments of a `subscribe()`.

    Attributes:
        args: by position.
        kwargs: by name.
        is_recorded: whether each rebalance is recorded.
    """

    args: Args
    kwargs: KwArgs
    is_recorded: bool = False


class Listened:
    """What the callbacks of a consumer need to record rebalances. It stays the same if the consumer is wrapped again.

    Attributes:
        rebalances: the rebalances of the consumer.
        used_as: returns the object that the application uses as the consumer; None if that is the client itself.
    """

    __slots__ = ("rebalances", "used_as")

    def __init__(self, rebalances: Rebalances) -> None:
        self.rebalances = rebalances
        self.used_as: Callable[[], Any] = _get_none

    def consumer_of(self, consumer: Any) -> Any:
        """Return the object that the application uses as this consumer."""
        used = self.used_as()
        return consumer if used is None else used


class Callbacks:
    """The callbacks of one `subscribe()`, which record rebalances and call the user's.

    Args:
        listened: what the callbacks of the consumer need.
        consumer_of: returns the consumer that the user's callbacks get.
    """

    def __init__(self, listened: Listened, consumer_of: Callable[[Any], Any] | None = None) -> None:
        self._listened = listened
        self._consumer_of = consumer_of or listened.consumer_of

    def given_to(self, signature: Signature, args: Args, kwargs: KwArgs) -> Subscription:
        """Return the arguments of a `subscribe()` with a callback of each kind that it takes.

        What the consumer will refuse is left as it is, None for a callback too.

        Args:
            signature: the signature of the method.
            args: as the caller gave them.
            kwargs: the keyword arguments of the call.
        """
        given = {**dict(zip(signature.names, args, strict=False)), **kwargs}
        users = {name: given[name] for name in _KINDS if name in given}
        is_unique = len(given) == len(args) + len(kwargs)
        if not (is_unique and all(map(signature.takes, kwargs)) and all(map(callable, users.values()))):
            return Subscription(args, kwargs)
        if "on_revoke" in users:
            users.setdefault("on_lost", users["on_revoke"])  # as confluent-kafka does
        names = signature.names[: len(args)]
        replaced: list[Any] = list(args)
        named = dict(kwargs)
        for name, kind in _KINDS.items():
            if name in names:
                replaced[names.index(name)] = self._called(kind, users[name])
            elif name in given or signature.takes(name):
                named[name] = self._named(kind, users.get(name))
        return Subscription(tuple(replaced), named, all(name in names or name in named for name in _KINDS))

    def _called(self, kind: str, callback: Any) -> Callable[[Any, Any], None]:
        listened, consumer_of = self._listened, self._consumer_of

        def call(consumer: Any, partitions: Any) -> None:
            with listened.rebalances.rebalance(kind, partitions):
                if callback is not None:
                    callback(consumer_of(consumer), partitions)

        return call

    _named = _called


class AsyncCallbacks(Callbacks):
    """The callbacks of an async client's `subscribe()`.

    The client awaits those that it is given by name, in its event loop, and calls others in the thread that polls. So
    are ours called where the user has none by name: they must not wait for a loop that has ended.
    """

    def given_to(self, signature: Signature, args: Args, kwargs: KwArgs) -> Subscription:
        """Return the arguments with a callback of each kind."""
        if not kwargs.keys().isdisjoint(_KINDS):
            return super().given_to(signature, args, kwargs)
        found = Callbacks(self._listened, _same).given_to(signature, args, kwargs)
        given = {**dict(zip(signature.names, found.args, strict=False)), **found.kwargs}
        if not found.is_recorded or given.keys() != set(signature.names):
            return Subscription(args, kwargs)
        return Subscription(tuple(given[name] for name in signature.names), {}, is_recorded=True)

    def _called(self, kind: str, callback: Any) -> Callable[[Any, Any], None]:
        return Callbacks(self._listened, _same)._called(kind, callback)

    def _named(self, kind: str, callback: Any) -> Callable[[Any, Any], Any]:
        listened, consumer_of = self._listened, self._consumer_of

        async def call(consumer: Any, partitions: Any) -> None:
            with listened.rebalances.rebalance(kind, partitions):
                if callback is not None:
                    await callback(consumer_of(consumer), partitions)

        return call


def _get_none() -> None:
    return None


def _same(consumer: Any) -> Any:
    return consumer
