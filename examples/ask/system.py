"""The running system: Kafka, the page, the services, and Zipkin where it is asked for."""

import json
import os
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from examples.ask.kafka import NotPossibleError, Watch, make_topic, start_kafka
from examples.ask.lifeline import Child
from examples.ask.metrics import Metrics
from examples.ask.options import Options
from examples.ask.page import Page
from examples.ask.serving import HOST, make_server
from examples.ask.telemetry import ENDPOINTS, PROMETHEUS_HOST, PROMETHEUS_PORT, ZIPKIN, not_sampled
from examples.ask.traces import Trace, Traces
from examples.ask.wall import Wall
from examples.ask.zipkin import Zipkin
from testbroker import Broker
from testbroker.ports import free_ports

if TYPE_CHECKING:
    from typing_extensions import Self  # which typing has from Python 3.11 on

START_SECONDS = 300.0
TRACES_SECONDS = 5.0


@dataclass(frozen=True)
class Question:
    """Who asks what."""

    name: str
    question: str


class System:
    """All of it, from `with` to its end.

    Args:
        options: what it is to be.
        kafka: one that runs already and stays; None: one as the options say.

    Attributes:
        kafka, page_url, zipkin: where it is.
        targets_url: where a Prometheus finds what to scrape; there is something with `options.prometheus` only.
        traces, metrics, wall: what the services exported.

    Raises:
        BrokerUnavailable, NotPossibleError, PortInUseError: it cannot start; the message says what to do.
    """

    kafka: Broker
    page_url: str
    targets_url: str
    zipkin: Zipkin | None = None

    def __init__(self, options: Options, kafka: Broker | None = None) -> None:
        self.options = options
        self._kafka = kafka
        self.traces, self.metrics, self.wall = Traces(), Metrics(), Wall()
        self._children: list[Child] = []
        self._ends = ExitStack()

    def __enter__(self) -> "Self":
        """Start everything, and return when a question can be asked."""
        with self._ends:
            (service_port,) = free_ports(1)
            self._start_page(f"http://{HOST}:{service_port}")
            self.kafka = self._kafka or self._ends.enter_context(start_kafka(self.options))
            make_topic(self.kafka, self.options)
            self._page.watch = self._until_end(Watch(self.kafka.bootstrap_servers))
            if self.options.zipkin:
                self.zipkin = self._until_end(Zipkin())
                self._page.zipkin = self.zipkin.url
            self._start_services(service_port)
            self._ends = self._ends.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything, in the order that lets the services export their last spans."""
        self._ends.close()

    def ask(self, asked: Question, *, sampled: bool = True) -> dict[str, Any]:
        """Ask as the page's form does, and return what it answers: the record's place and trace, or an `error`.

        Args:
            asked: who asks what.
            sampled: whether the samplers decide; False: its caller has decided that it is not sampled.
        """
        body = urllib.parse.urlencode(vars(asked)).encode()
        headers = {"accept": "application/json"} | ({} if sampled else {"traceparent": not_sampled()})
        request = urllib.request.Request(f"{self.page_url}/questions", body, headers)
        try:
            with urllib.request.urlopen(request) as answer:
                answered: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as refusal:
            with refusal:
                answered = json.load(refusal)
        return answered

    def wait_for_traces(self, count: int, timeout: float = TRACES_SECONDS) -> list[Trace]:
        """Return the traces whose records have been processed, as soon as there are so many, or after a while."""
        until = time.monotonic() + timeout
        while True:
            found = [trace for trace in self.traces.all() if trace.processed]
            if len(found) >= count or time.monotonic() > until:
                return found
            time.sleep(0.05)

    def stop_services(self) -> None:
        """End the services, which export their last spans; the page stays."""
        for child in self._children:
            child.release()
        for child in self._children:
            child.join()
        self._children.clear()

    @property
    def targets(self) -> dict[str, str]:
        """The addresses at which a Prometheus may scrape the services, by their names."""
        return self._page.targets

    @property
    def dead_service(self) -> Child | None:
        """A service that ended by itself."""
        return next((child for child in self._children if child.returncode is not None), None)

    def _start_page(self, service: str) -> None:
        self._page = Page(self.traces, self.metrics, self.wall, service)
        server = make_server(self._page.app, self.options.port or 0)
        self.page_url = f"http://{HOST}:{server.port}"
        self.targets_url = f"{self.page_url}/targets"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self._ends.callback(server.server_close)
        self._ends.callback(thread.join)
        self._ends.callback(server.shutdown)

    def _start_services(self, port: int) -> None:
        self._ends.callback(self.stop_services)
        client = ["--client", json.dumps(self.kafka.client_options), "--topic", self.options.topic]
        partitions = ["--partitions", str(self.options.consumers)]
        self._start_service("producer", [*client, *partitions, "--port", str(port)], "kafka-producer")
        for number in range(1, self.options.consumers + 1):
            self._start_service("consumer", [*client, *self._consumer(number)], f"kafka-consumer-{number}")
        self._wait_until_ready()

    def _start_service(self, module: str, arguments: list[str], instance: str) -> None:
        environment = self._environment
        if self.options.prometheus:
            (port,) = free_ports(1)
            environment |= {PROMETHEUS_HOST: HOST, PROMETHEUS_PORT: str(port)}
            self._page.targets[instance] = f"{HOST}:{port}"
        self._children.append(Child(module, arguments, environment))

    def _consumer(self, number: int) -> list[str]:
        work = ["--work", str(self.options.work), "--fail-every", str(self.options.fail_every)]
        # The embedded broker's groups are not to be relied on.
        assign = ["--assign"] if self.kafka.kind == "embedded" else []
        return [*work, *assign, "--number", str(number), "--wall", f"{self.page_url}/wall"]

    @property
    def _environment(self) -> dict[str, str]:
        endpoints = {} if os.environ.get(ENDPOINTS[0]) else {ENDPOINTS[0]: self.page_url}
        return endpoints | ({ZIPKIN: self.zipkin.spans_url} if self.zipkin else {})

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + START_SECONDS
        while not (self.wall.wait_for_members(self.options.consumers, 0.1) and self._page.service_answers()):
            if dead := self.dead_service:
                msg = f"the service {dead.module} ended with {dead.returncode}: what it printed above says why"
                raise NotPossibleError(msg)
            if time.monotonic() > until:
                have = sum(map(bool, self.wall.members.values()))
                msg = (
                    f"after {START_SECONDS:.0f} s {have} of {self.options.consumers} consumers have a partition, and "
                    f"the web service {'answers' if self._page.service_answers() else 'does not answer'}: if other "
                    "consumers of group wall have the partitions, end them or choose another --topic"
                )
                raise NotPossibleError(msg)

    def _until_end(self, part: Any) -> Any:
        self._ends.callback(part.stop)
        return part
