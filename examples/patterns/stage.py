"""Where the patterns are played: topics, clients and a recorder for one run."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from otelkafka import ConsumerOptions, ProducerOptions, TracedConsumer, TracedProducer, wrap_consumer, wrap_producer
from otelkafka.testing import SpanRecorder
from testbroker.wait import wait_until_known

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Tracer
    from typing_extensions import Self

    from testbroker import Broker


class Stage(ExitStack):
    """Gives a run its topics and clients, and closes the clients behind it.

    Args:
        broker: where the topics are made.

    Attributes:
        recorder: has the spans, all of them once the stage is left.
        tracer: for the spans of the application.
    """

    def __init__(self, broker: Broker) -> None:
        super().__init__()
        self.recorder = SpanRecorder()
        self.tracer: Tracer = self.recorder.tracer_provider.get_tracer("pattern")
        self._broker = broker
        self._run = uuid.uuid4().hex[:8]
        self._options: dict[str, Any] = {
            "tracer_provider": self.recorder.tracer_provider,
            # Each run has topics of its own; its spans are named as those of any other.
            "destination_template": lambda topic: topic.removesuffix(f"-{self._run}"),
        }

    def __enter__(self) -> Self:
        """Return the stage itself."""
        return self

    def topic(self, name: str, config: Mapping[str, str] | None = None) -> str:
        """Make a topic for this run, and return what it is called."""
        self._broker.create_topic(f"{name}-{self._run}", config=config)
        return f"{name}-{self._run}"

    def producer(self) -> TracedProducer:
        """Return a producer."""
        bare = KafkaProducer(**self._broker.client_options)
        return self.enter_context(wrap_producer(bare, ProducerOptions(**self._options)))

    def consumer(self, topic: str, group: str | None = None, **options: Any) -> TracedConsumer:
        """Return a consumer of a topic, from its begin.

        Args:
            topic: what it consumes.
            group: which it belongs to; None: it is assigned the topic's partition and belongs to none.
            options: those of `ConsumerOptions`.
        """
        bare = KafkaConsumer(
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            **self._broker.client_options,
        )
        consumer = self.enter_context(
            wrap_consumer(bare, ConsumerOptions(**{**self._options, "rebalance_spans": False, **options}))
        )
        wait_until_known(topic, bare)
        if group:
            consumer.subscribe([topic])
        else:
            consumer.assign([TopicPartition(topic, 0)])
        return consumer
