"""Records rebalances and commits around the listeners and callbacks of the user."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import kafka
from kafka import ConsumerRebalanceListener

from otelkafka._clients.consumer_face import ListenerOfFace
from otelkafka._clients.kafka_python.facts import (
    commit_callback,
    has_group_subscription,
    rebalance_listener,
    replace_commit_callback,
    replace_rebalance_listener,
)
from otelkafka._consuming.commits import Commits
from otelkafka._consuming.rebalances import Rebalances


class Listeners:
    """How kafka-python keeps the rebalance listener of a consumer."""

    present = staticmethod(rebalance_listener)
    replace = staticmethod(replace_rebalance_listener)
    is_called = staticmethod(has_group_subscription)

    @staticmethod
    def listen(rebalances: Rebalances, listener: object, instead_of: object) -> Any:
        """Return a listener that records rebalances and calls the user's; anything else unchanged: Kafka refuses it."""
        return _listen(rebalances, listener, instead_of)


def _listen(rebalances: Rebalances, listener: object, instead_of: object) -> Any:
    known = (ConsumerRebalanceListener, getattr(kafka, "AsyncConsumerRebalanceListener", ConsumerRebalanceListener))
    if listener is not None and not isinstance(listener, known):
        return listener
    is_async = known[1] is not known[0] and any(
        inspect.iscoroutinefunction(getattr(listener, name, None))
        for name in ("on_partitions_assigned", "on_partitions_revoked", "on_partitions_lost")
    )
    kind = AsyncRebalanceListener if is_async else RebalanceListener
    return kind(rebalances, listener, instead_of)


class RebalanceListener(ListenerOfFace, ConsumerRebalanceListener):  # type: ignore[misc]
    """Records the rebalances of a consumer, and calls the user's listener inside each span. kafka-python calls it."""

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> Any:
        """Record it, and call the user's listener."""
        with self.rebalances.rebalance("assign", assigned):
            return None if self.listener is None else self.listener.on_partitions_assigned(assigned)

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> Any:
        """Record it, and call the user's listener."""
        with self.rebalances.rebalance("revoke", revoked):
            return None if self.listener is None else self.listener.on_partitions_revoked(revoked)

    def on_partitions_lost(self, lost: Iterable[Any]) -> Any:
        """Record it, and call the user's listener."""
        with self.rebalances.rebalance("lose", lost):
            return None if self.listener is None else self.listener.on_partitions_lost(lost)


class AsyncRebalanceListener(RebalanceListener):
    """The same for a user's listener with async methods, which kafka-python awaits since 3.0."""

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Record it, and call the user's listener."""
        with self.rebalances.rebalance("assign", assigned):
            await _awaited(self.listener.on_partitions_assigned(assigned))

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Record it, and call the user's listener."""
        with self.rebalances.rebalance("revoke", revoked):
            await _awaited(self.listener.on_partitions_revoked(revoked))

    async def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        """Record it, and call the user's listener."""
        with self.rebalances.rebalance("lose", lost):
            await _awaited(self.listener.on_partitions_lost(lost))


async def _awaited(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


class AutoCommits:
    """Calls the user's callback, and then counts automatic commits. kafka-python calls it.

    Args:
        callback: the callback of the user, or of kafka-python.
        commits: the commits of the consumer.
        instead_of: the callback that it replaces: the user's, or that of another face.
    """

    def __init__(self, callback: Callable[[Any, Any], Any], commits: Commits, instead_of: object) -> None:
        self.callback = callback
        self.commits = commits
        self.instead_of = instead_of

    def __call__(self, offsets: Any, response: Any) -> Any:
        """Call the user's callback, and count."""
        try:
            return self.callback(offsets, response)
        finally:
            self.commits.count_automatic(offsets, response if isinstance(response, BaseException) else None)


def count_auto_commits(consumer: Any, commits: Commits) -> None:
    """Count the automatic commits of a consumer, if it has a callback for them."""
    present = commit_callback(consumer)
    callback = user_commit_callback(consumer)
    if callback is not None:
        replace_commit_callback(consumer, AutoCommits(callback, commits, present))
    if isinstance(present, AutoCommits):
        present.instead_of = None  # it is in no place any more, and may not hold those before it


def count_no_auto_commits(consumer: Any, commits: Commits) -> None:
    """Restore the callback that a consumer had before its automatic commits were counted."""
    present = commit_callback(consumer)
    if isinstance(present, AutoCommits) and present.commits is commits:
        replace_commit_callback(consumer, present.instead_of)


def user_commit_callback(consumer: Any) -> Any:
    """Return the callback that a consumer uses if `commit_async()` gets none."""
    present = commit_callback(consumer)
    return present.callback if isinstance(present, AutoCommits) else present
