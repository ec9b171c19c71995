"""Records rebalances around the user's listener."""

import inspect
from collections.abc import Iterable
from typing import Any

from aiokafka.abc import ConsumerRebalanceListener

from otelkafka._clients.aiokafka.facts import has_group_subscription, rebalance_listener, replace_rebalance_listener
from otelkafka._clients.consumer_face import ListenerOfFace
from otelkafka._consuming.rebalances import Rebalances


class AIOKafkaListeners:
    """How aiokafka keeps the rebalance listener of a consumer."""

    present = staticmethod(rebalance_listener)
    replace = staticmethod(replace_rebalance_listener)
    is_called = staticmethod(has_group_subscription)

    @staticmethod
    def listen(rebalances: Rebalances, listener: object, instead_of: object) -> Any:
        """Return a listener that records rebalances and calls the user's; anything else unchanged: Kafka refuses it."""
        if listener is not None and not isinstance(listener, ConsumerRebalanceListener):
            return listener
        return AIOKafkaRebalanceListener(rebalances, listener, instead_of)


class AIOKafkaRebalanceListener(ListenerOfFace, ConsumerRebalanceListener):  # type: ignore[misc]
    """Records the rebalances of a consumer, and calls or awaits the user's listener inside each span."""

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Record it, and call the user's listener."""
        with self.rebalances.rebalance("assign", assigned):
            if self.listener is not None:
                await _awaited(self.listener.on_partitions_assigned(assigned))

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Record it, and call the user's listener."""
        with self.rebalances.rebalance("revoke", revoked):
            if self.listener is not None:
                await _awaited(self.listener.on_partitions_revoked(revoked))


async def _awaited(result: Any) -> None:
    """Await the result of a coroutine function. As in aiokafka, other awaitables are not awaited."""
    if inspect.iscoroutine(result):
        await result
