"""kcat, librdkafka's command line: it makes no spans, and shows and sends headers as they are."""

import json
import re

from tests.interop.running import Seen, output_of

VALUE = "from kcat"


class Kcat:
    """Drives kcat.

    Attributes:
        versions: kcat's and librdkafka's.
    """

    def __init__(self, program: str) -> None:
        self._program = program
        kcat, librdkafka = re.search(r"Version (\S+) .*librdkafka (\S+)", output_of(program, "-V")).groups()
        self.versions = f"{kcat}, librdkafka {librdkafka}"

    def produce(self, servers, topic, headers):
        return self._send(servers, topic, headers.items())

    def consume(self, servers, topic):
        line = output_of(self._program, "-C", "-J", "-q", "-e", "-c", "1", "-b", servers, "-t", topic)
        shown = iter(json.loads(line).get("headers", ()))
        return Seen([], list(zip(shown, shown, strict=True)))

    def forward(self, servers, source, target):
        taken = self.consume(servers, source)
        self._send(servers, target, taken.headers)
        return taken

    def _send(self, servers, topic, headers):
        options = [part for header in headers for part in ("-H", _option(*header))]
        output_of(self._program, "-P", "-b", servers, "-t", topic, *options, stdin=VALUE)
        return Seen([], [])


def _option(name, value):
    return name if value is None else f"{name}={value}"
