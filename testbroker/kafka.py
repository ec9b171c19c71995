"""Apache Kafka itself: one node or several, on free ports of 127.0.0.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbroker import wire
from testbroker.broker import Broker, BrokerUnavailable
from testbroker.jars import kafka_jars
from testbroker.jvm import Jvm, PortTaken, java_program
from testbroker.ports import free_ports, is_free
from testbroker.quorum import KRaft, Quorum, ZooKeeper
from testbroker.releases import Release, release

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

ATTEMPTS = 3
MOST_NODES = 9
# Releases of ZooKeeper's time log by it; later ones do not look.
LOG4J = {
    "log4j.rootLogger": "WARN, console",
    "log4j.appender.console": "org.apache.log4j.ConsoleAppender",
    "log4j.appender.console.layout": "org.apache.log4j.SimpleLayout",
}


def start_kafka(version: str, properties: Mapping[str, str], nodes: int = 1, port: int | None = None) -> KafkaBroker:
    """Start Apache Kafka and return when it answers.

    Raises:
        KafkaNotInstallable: Java or Kafka's jars cannot be had.
        BrokerUnavailable: the port is in use, or a node does not start; the message has the end of its log.
        ValueError: no such version can run here, there are to be no nodes or too many, or one port for several.

    """
    if not 1 <= nodes <= MOST_NODES:
        msg = f"no cluster of {nodes!r} nodes: there must be 1 to {MOST_NODES}"
        raise ValueError(msg)
    if port is not None and nodes != 1:
        msg = f"port={port} for {nodes} nodes: each node needs a port of its own"
        raise ValueError(msg)
    if port is not None and not is_free(port):
        reason = f"port {port} of 127.0.0.1 is in use"
        raise BrokerUnavailable(reason, "End the process that listens there, or choose another port.")
    java_program()  # without which a download would be in vain
    jars = kafka_jars(version)
    for _ in range(ATTEMPTS):
        broker = KafkaBroker(release(version), jars, properties, [port] if port is not None else free_ports(nodes))
        try:
            broker.start()
        except PortTaken:
            broker.stop()
        except BaseException:
            broker.stop()
            raise
        else:
            return broker
    reason = f"{ATTEMPTS} times in a row another process took the port chosen for Apache Kafka"
    raise BrokerUnavailable(reason, "Try again when less is going on.")


class Node:
    """One node of a cluster, with a port of its own.

    Attributes:
        address: "host:port".
        jvm: what it runs in.
        properties: the file that configures it.

    """

    def __init__(self, title: str, jars: Path, port: int) -> None:
        """Prepare a node that is not running yet."""
        self.address = f"127.0.0.1:{port}"
        self.jvm = Jvm(f"{title} on {self.address}", jars, "-Dlog4j.configuration=file:log4j.properties")
        self.properties = ""

    def configure(self, properties: Mapping[str, str]) -> None:
        """Write the node's configuration."""
        self.jvm.write("log4j.properties", LOG4J)
        data = {"log.dirs": (self.jvm.directory / "data").as_posix()}
        advertised = {"advertised.listeners": f"PLAINTEXT://{self.address}"}
        self.properties = self.jvm.write("server.properties", {**advertised, **data, **properties})

    def start(self) -> None:
        """Start the node, without waiting for it."""
        self.jvm.start("kafka.Kafka", self.properties)

    def wait_until_it_knows(self, nodes: Sequence[Node]) -> None:
        """Return when it serves clients, and names nodes to them."""
        addresses = {node.address for node in nodes}
        self.jvm.wait_until(lambda: addresses <= self._known())

    def _known(self) -> set[str]:
        """Return which nodes it names to clients: one that is not yet part of its cluster names none."""
        try:
            brokers = wire.metadata(self.address, timeout=10.0).brokers
        except (OSError, ValueError):
            return set()
        return {f"{host}:{port}" for host, port in brokers.values()}


class KafkaBroker(Broker):
    """Nodes of Apache Kafka, which end with this process. Their data are in temporary directories."""

    kind = "kafka"

    def __init__(self, chosen: Release, jars: Path, properties: Mapping[str, str], ports: Sequence[int]) -> None:
        """Prepare nodes that are not running yet."""
        title = f"Apache Kafka {chosen.version}"
        nodes = len(ports)
        self._release = chosen
        self._quorum: Quorum = ZooKeeper(jars) if chosen.zookeeper else KRaft(nodes)
        self._nodes = [Node(title, jars, port) for port in ports]
        self.bootstrap_servers = ",".join(node.address for node in self._nodes)
        self.description = f"{title} on {self.bootstrap_servers}"
        for number, (node, port) in enumerate(zip(self._nodes, ports, strict=True), start=1):
            node.configure({**_common(nodes), **self._quorum.properties(number, port), **properties})

    def start(self) -> None:
        """Prepare the storage and start the nodes."""
        self._quorum.prepare([(node.jvm, node.properties) for node in self._nodes])
        self._start(self._nodes)

    def kill(self, node: int | None = None) -> None:
        """End a node at once, as SIGKILL does, or all of them; their data stay.

        Args:
            node: its number, from 1; None for all.

        """
        for each in self._chosen(node):
            each.jvm.kill()

    def restart(self, node: int | None = None) -> None:
        """Start a node again, or all of them, with the same port and data; kill it first if it runs.

        Args:
            node: its number, from 1; None for all.

        Raises:
            BrokerUnavailable: it does not start, perhaps because another process took its port.

        """
        self.kill(node)
        self._quorum.wait_for_leave([node] if node else range(1, len(self._nodes) + 1))
        try:
            self._start(self._chosen(node))
        except PortTaken as error:
            reason = f"another process took {self.bootstrap_servers} while the node was down"
            raise BrokerUnavailable(reason, "Start another: start_broker().") from error

    def stop(self) -> None:
        """End the nodes and remove their data; a second call does nothing."""
        for node in self._nodes:
            node.jvm.stop()
        self._quorum.stop()

    def _start(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait_until_it_knows(nodes)

    def _chosen(self, node: int | None) -> Sequence[Node]:
        return self._nodes if node is None else [self._nodes[node - 1]]

    def _make_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        replicas, version = len(self._nodes), self._release.create_topics
        wire.create_topic(self.bootstrap_servers, name, partitions, config, replicas=replicas, version=version)


def _common(nodes: int) -> dict[str, str]:
    """Return the configuration of any cluster of so many nodes.

    Few partitions of the internal topics, each of which takes time at the first use; all that can be is replicated.
    """
    return {
        "offsets.topic.replication.factor": str(nodes),
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": str(nodes),
        "transaction.state.log.min.isr": str(nodes // 2 + 1),
        "transaction.state.log.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0",
    }
