"""The user's callbacks of a subscription, with what is recorded around them."""

from collections.abc import Callable
from typing import Any, Final

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
        """Return None: callbacks are given to `subscribe()`, by `callbacks()`."""


def callbacks(rebalances: Rebalances, given: dict[str, Any], consumer_of: Callable[[Any], Any]) -> dict[str, Any]:
    """Return the arguments of a `subscribe()` with callbacks that record rebalances and call the user's.

    Args:
        rebalances: of the consumer.
        given: the arguments by name.
        consumer_of: returns what the application uses as the consumer that librdkafka calls a callback with.
    """

    def recorded(kind: str, callback: Any) -> Callable[[Any, Any], None]:
        def call(consumer: Any, partitions: Any) -> None:
            with rebalances.rebalance(kind, partitions):
                if callback is not None:
                    callback(consumer_of(consumer), partitions)

        return call

    return _replaced(given, recorded)


def awaited_callbacks(rebalances: Rebalances, given: dict[str, Any]) -> dict[str, Any]:
    """Return the same for a `subscribe()` whose callbacks are awaited.

    Args:
        rebalances: of the consumer.
        given: the arguments by name.
    """

    def recorded(kind: str, callback: Any) -> Callable[[Any, Any], Any]:
        async def call(consumer: Any, partitions: Any) -> None:
            with rebalances.rebalance(kind, partitions):
                if callback is not None:
                    await callback(consumer, partitions)

        return call

    return _replaced(given, recorded)


def _replaced(given: dict[str, Any], recorded: Callable[[str, Any], Any]) -> dict[str, Any]:
    users = {name: given.get(name) for name in _KINDS}
    if any(callback is not None and not callable(callback) for callback in users.values()):
        return given  # for confluent-kafka to refuse
    if users["on_lost"] is None:
        users["on_lost"] = users["on_revoke"]  # as confluent-kafka does
    return {**given, **{name: recorded(kind, users[name]) for name, kind in _KINDS.items()}}
