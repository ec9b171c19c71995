"""A real Zipkin on a free port of 127.0.0.1, started as Kafka is: a jar from Maven, on a Java out of a wheel."""

import time
import urllib.request

from examples.ask.serving import HOST
from testbroker import BrokerUnavailable
from testbroker.jars import Program, jars_of
from testbroker.jvm import java_program
from testbroker.ports import free_ports
from testbroker.supervised import SupervisedProcess

VERSION = "3.5.1"
PROGRAM = Program(
    name=f"Zipkin {VERSION}",
    directory=f"zipkin-{VERSION}",
    coordinate=f"io.zipkin:zipkin-server:{VERSION}:exec",
    whole=True,
    instead="or leave out --zipkin",
)
JVM_OPTIONS = "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"
START_SECONDS = 300.0


class Zipkin:
    """A Zipkin that ends with this process, and keeps its spans in memory.

    Attributes:
        url: the url of its own page, where /traces/<id> is a trace.
        spans_url: where spans are posted to.

    Raises:
        BrokerUnavailable: it cannot be had or does not start; the message says what to do.
    """

    def __init__(self) -> None:
        jars = jars_of(PROGRAM)
        (port,) = free_ports(1)
        base = f"http://{HOST}:{port}"
        self.url, self.spans_url = f"{base}/zipkin", f"{base}/api/v2/spans"
        self._health = f"{base}/health"
        self._process = SupervisedProcess()
        # Armeria's, which is the server inside: without an address it listens on all of them.
        address = [f"--armeria.ports[0].port={port}", f"--armeria.ports[0].ip={HOST}", f"--server.port={port}"]
        temporary = f"-Djava.io.tmpdir={self._process.directory}"
        jar = next(jars.glob("zipkin-server-*.jar"))
        self._process.start([str(java_program()), *JVM_OPTIONS, temporary, "-jar", str(jar), *address])
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it; a second call does nothing."""
        self._process.stop()

    def _wait(self) -> None:
        until = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.returncode() is not None or time.monotonic() > until:
                reason = f"{PROGRAM.name} did not start on {self.url}"
                raise BrokerUnavailable(reason, f"Its log may say why:\n{self._process.output_tail()}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self._health, timeout=10).close()
        except OSError:
            return False
        return True
