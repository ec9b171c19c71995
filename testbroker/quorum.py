"""What keeps the nodes of a cluster together: their own vote (KRaft), or a ZooKeeper beside them."""

from __future__ import annotations

import socket
import uuid
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Protocol

from testbroker.jvm import Jvm
from testbroker.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# A short session: after a kill the node's former self keeps its place in the cluster until the session's end.
SESSION = "3000"
# A node that is alone has no other to take its place: a busy machine may hold it up for longer.
SESSION_ALONE = "15000"


class Quorum(Protocol):
    """Asked about each node before it starts."""

    def properties(self, node: int, port: int) -> dict[str, str]:
        """Return what a node must know to be a part of the cluster."""

    def prepare(self, nodes: Sequence[tuple[Jvm, str]]) -> None:
        """Do what comes before the first start of the nodes, each with the file of its properties."""

    def wait_for_leave(self, nodes: Sequence[int]) -> None:
        """Return when nodes that were killed could join again."""

    def stop(self) -> None:
        """End what runs beside the nodes."""


class KRaft:
    """Each node is broker and controller in one."""

    def __init__(self, nodes: int) -> None:
        """Choose the controllers' ports."""
        self._controllers = [f"127.0.0.1:{port}" for port in free_ports(nodes)]

    def properties(self, node: int, port: int) -> dict[str, str]:
        """Return roles, listeners and voters."""
        voters = (f"{number}@{address}" for number, address in enumerate(self._controllers, start=1))
        return {
            "process.roles": "broker,controller",
            "node.id": str(node),
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://{self._controllers[node - 1]}",
            "controller.quorum.voters": ",".join(voters),
            "broker.session.timeout.ms": SESSION if len(self._controllers) > 1 else SESSION_ALONE,
            "broker.heartbeat.interval.ms": "500",
        }

    def prepare(self, nodes: Sequence[tuple[Jvm, str]]) -> None:
        """Format the storage."""
        cluster = _cluster_id()
        for jvm, properties in nodes:
            jvm.start("kafka.tools.StorageTool", "format", "-t", cluster, "-c", properties)
        for jvm, _ in nodes:
            jvm.wait_for_end()

    def wait_for_leave(self, nodes: Sequence[int]) -> None:
        """Do nothing: a node that is back early waits itself."""

    def stop(self) -> None:
        """Do nothing: nothing runs beside the nodes."""


class ZooKeeper:
    """One ZooKeeper, of Kafka's own jars."""

    def __init__(self, jars: Path) -> None:
        """Prepare one that is not running yet."""
        (self._port,) = free_ports(1)
        self._jvm = Jvm(f"ZooKeeper on 127.0.0.1:{self._port}", jars)

    def properties(self, node: int, port: int) -> dict[str, str]:
        """Return where ZooKeeper is."""
        return {
            "broker.id": str(node),
            "listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "zookeeper.connect": f"127.0.0.1:{self._port}",
            "zookeeper.session.timeout.ms": SESSION,
        }

    def prepare(self, nodes: Sequence[tuple[Jvm, str]]) -> None:
        """Start ZooKeeper."""
        settings = {
            "dataDir": (self._jvm.directory / "zookeeper").as_posix(),
            "clientPort": str(self._port),
            "clientPortAddress": "127.0.0.1",
            "tickTime": "500",  # of which a session must be a few
            "maxClientCnxns": "0",
            "4lw.commands.whitelist": "dump",
            "admin.enableServer": "false",
        }
        program = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        self._jvm.start(program, self._jvm.write("zookeeper.properties", settings))
        self._jvm.wait_until(self._answers)

    def wait_for_leave(self, nodes: Sequence[int]) -> None:
        """Return when the sessions of nodes are over: one that is back earlier takes its former self for another."""
        there = [f"/brokers/ids/{node}\n" for node in nodes]
        self._jvm.wait_until(lambda: not any(path in self._sessions() for path in there))

    def stop(self) -> None:
        """End ZooKeeper and remove its data."""
        self._jvm.stop()

    def _answers(self) -> bool:
        try:
            return bool(self._sessions())
        except OSError:
            return False

    def _sessions(self) -> str:
        with socket.create_connection(("127.0.0.1", self._port), timeout=2.0) as connection:
            connection.sendall(b"dump")
            return connection.makefile().read()


def _cluster_id() -> str:
    cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    # One that begins with "-" would be taken for an option.
    return _cluster_id() if cluster_id.startswith("-") else cluster_id
