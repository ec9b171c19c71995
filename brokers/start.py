"""Which broker is started, and what happens when it cannot be had."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from brokers.embedded import EmbeddedBroker
from brokers.given import SERVERS_VARIABLE, GivenBroker
from brokers.jars import KafkaNotInstallable
from brokers.kafka import start_kafka

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brokers.broker import Broker

KINDS = ("auto", "given", "kafka", "embedded")
KIND_VARIABLE = "OTELKAFKA_BROKER"


def start_broker(
    kind: str | None = None, *, version: str = "4.1.1", properties: Mapping[str, str] | None = None
) -> Broker:
    """Start a broker and return it as soon as it answers.

    Use it in a `with` statement, or call its `stop()`. It also ends with this process, however that one ends.

    Args:
        kind: "given": the one at `KAFKA_BOOTSTRAP_SERVERS`. "kafka": Apache Kafka, downloaded once into a cache.
            "embedded": the mock cluster of confluent-kafka. "auto": given if `KAFKA_BOOTSTRAP_SERVERS` is set, else
            kafka, else, when Kafka cannot be downloaded, embedded, which is then said in a line on stderr.
            None: what the environment variable `OTELKAFKA_BROKER` says, else auto.
        version: the release of Apache Kafka; only "kafka" heeds it.
        properties: broker configuration on top of ours; only "kafka" can have any.

    Raises:
        BrokerUnavailable: there is none of that kind to be had; the message says what to do.
        ValueError: no such kind, no such version, or properties for a broker that takes none.

    """
    kind = kind or os.environ.get(KIND_VARIABLE) or "auto"
    if kind not in KINDS:
        msg = f"no broker of kind {kind!r}: the argument or {KIND_VARIABLE} must be one of {', '.join(KINDS)}"
        raise ValueError(msg)
    if kind != "auto":
        return _start(kind, version, properties)
    if os.environ.get(SERVERS_VARIABLE):
        return _start("given", version, properties)
    return _start_kafka_or_embedded(version, properties)


def _start(kind: str, version: str, properties: Mapping[str, str] | None) -> Broker:
    if kind == "kafka":
        return start_kafka(version, properties or {})
    if properties:
        msg = f'a broker of kind {kind!r} takes no properties: ask for one with kind="kafka"'
        raise ValueError(msg)
    return GivenBroker() if kind == "given" else EmbeddedBroker()


def _start_kafka_or_embedded(version: str, properties: Mapping[str, str] | None) -> Broker:
    try:
        return _start("kafka", version, properties)
    except KafkaNotInstallable as error:
        # Who asked for properties needs them: the embedded broker would not do.
        if properties:
            raise
        _say(f"{error.reason}: using the broker embedded in confluent-kafka instead")
    return _start("embedded", version, properties)


def _say(text: str) -> None:
    line = " ".join(text.split())
    sys.stderr.write(f"brokers: {line}\n")
    sys.stderr.flush()
