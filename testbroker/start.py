"""Which broker is started, and what happens when it cannot be had."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from testbroker.embedded import EmbeddedBroker
from testbroker.given import SERVERS_VARIABLE, GivenBroker
from testbroker.jars import KafkaNotInstallable
from testbroker.kafka import start_kafka

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testbroker.broker import Broker

KINDS = ("auto", "given", "kafka", "embedded")
KIND_VARIABLE = "OTELKAFKA_BROKER"


def start_broker(
    kind: str | None = None,
    *,
    version: str = "4.1.1",
    properties: Mapping[str, str] | None = None,
    nodes: int = 1,
    port: int | None = None,
) -> Broker:
    """Start a broker and return it as soon as it answers.

    Use it in a `with` statement, or call its `stop()`. It also ends with this process, however that one ends.

    Args:
        kind: "given": the one at `KAFKA_BOOTSTRAP_SERVERS`. "kafka": Apache Kafka, downloaded once into a cache.
            "embedded": the mock cluster of confluent-kafka. "auto": given if `KAFKA_BOOTSTRAP_SERVERS` is set, else
            kafka, else, when Kafka cannot be downloaded, embedded, which is then said in a line on stderr.
            None: what the environment variable `OTELKAFKA_BROKER` says, else auto.
        version: the release of Apache Kafka; only "kafka" uses it. From 3.7.0 on it runs by itself; from 2.8.0 on, and
            0.10.2.2, the last whose records have no headers, with a ZooKeeper of its own.
        properties: broker configuration on top of ours; only "kafka" can have any.
        nodes: how many nodes, all of which have a replica of each topic; only "kafka" can have more than one.
        port: where a cluster of one node listens; only "kafka" can have one. None: a free port.

    Raises:
        BrokerUnavailable: there is none of that kind to be had; the message says what to do.
        ValueError: no such kind, no such version, or properties, nodes or a port for a broker that takes none.

    """
    kind = kind or os.environ.get(KIND_VARIABLE) or "auto"
    if kind not in KINDS:
        msg = f"no broker of kind {kind!r}: the argument or {KIND_VARIABLE} must be one of {', '.join(KINDS)}"
        raise ValueError(msg)
    wanted = Wanted(version, properties or {}, nodes, port)
    if kind != "auto":
        return _start(kind, wanted)
    if os.environ.get(SERVERS_VARIABLE):
        return _start("given", wanted)
    return _start_kafka_or_embedded(wanted)


class Wanted(NamedTuple):
    """What is asked of Apache Kafka."""

    version: str
    properties: Mapping[str, str]
    nodes: int
    port: int | None

    @property
    def special(self) -> str:
        """What no other kind of broker has."""
        wanted = {"properties": self.properties, "second node": self.nodes != 1, "port": self.port is not None}
        return next((name for name, is_wanted in wanted.items() if is_wanted), "")


def _start(kind: str, wanted: Wanted) -> Broker:
    if kind == "kafka":
        return start_kafka(*wanted)
    if wanted.special:
        msg = f'a broker of kind {kind!r} takes no {wanted.special}: ask for one with kind="kafka"'
        raise ValueError(msg)
    return GivenBroker() if kind == "given" else EmbeddedBroker()


def _start_kafka_or_embedded(wanted: Wanted) -> Broker:
    try:
        return _start("kafka", wanted)
    except KafkaNotInstallable as error:
        # Who asked for what is special needs it: the embedded broker would not do.
        if wanted.special:
            raise
        _say(f"{error.reason}: using the broker embedded in confluent-kafka instead")
    return _start("embedded", wanted)


def _say(text: str) -> None:
    line = " ".join(text.split())
    sys.stderr.write(f"testbroker: {line}\n")
    sys.stderr.flush()
