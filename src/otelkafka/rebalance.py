"""The listener that hears of rebalances, around the user's own."""

import inspect
from collections.abc import Iterable
from time import time_ns
from typing import Any

import kafka
from kafka import ConsumerRebalanceListener

from otelkafka.wait import WaitHistory


def listen(history: WaitHistory, listener: object) -> Any:
    """Return a listener that notes assignments and calls the user's; what is no listener, for Kafka to refuse."""
    known = (ConsumerRebalanceListener, getattr(kafka, "AsyncConsumerRebalanceListener", ConsumerRebalanceListener))
    if listener is not None and not isinstance(listener, known):
        return listener
    is_async = known[1] is not known[0] and any(
        inspect.iscoroutinefunction(getattr(listener, name, None))
        for name in ("on_partitions_assigned", "on_partitions_revoked", "on_partitions_lost")
    )
    return AsyncRebalanceListener(history, listener) if is_async else RebalanceListener(history, listener)


class RebalanceListener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes which partitions a consumer has been assigned, and calls the user's listener.

    Args:
        history: of the consumer.
        listener: the user's; None for none.
    """

    def __init__(self, history: WaitHistory, listener: Any = None) -> None:
        self.history = history
        self.listener = listener

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> Any:
        """Note the assignment, and tell the user's listener."""
        self.history.assign(_pairs(assigned), time_ns())
        return None if self.listener is None else self.listener.on_partitions_assigned(assigned)

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> Any:
        """Note the revocation, and tell the user's listener."""
        self.history.revoke(_pairs(revoked))
        return None if self.listener is None else self.listener.on_partitions_revoked(revoked)

    def on_partitions_lost(self, lost: Iterable[Any]) -> Any:
        """Note the loss, and tell the user's listener."""
        self.history.revoke(_pairs(lost))
        return None if self.listener is None else self.listener.on_partitions_lost(lost)


class AsyncRebalanceListener(RebalanceListener):
    """The same for a user's listener with async methods, which kafka-python awaits since 3.0."""

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Note the assignment, and tell the user's listener."""
        await _awaited(super().on_partitions_assigned(assigned))

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Note the revocation, and tell the user's listener."""
        await _awaited(super().on_partitions_revoked(revoked))

    async def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        """Note the loss, and tell the user's listener."""
        await _awaited(super().on_partitions_lost(lost))


async def _awaited(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


def _pairs(partitions: Iterable[Any]) -> set[tuple[str, int]]:
    return {(each.topic, each.partition) for each in partitions}
