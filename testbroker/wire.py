"""The few Kafka requests needed to start a broker, spoken on a plain socket.

Not with a client library, because every version of kafka-python must find the same brokers, and each has another admin
client. The requests' versions are such that Kafka 1.0 to 4.x know them, and 0.10.2 where a request takes its version.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

METADATA = 3, 1
CREATE_TOPICS = 19
CORRELATION_ID = 1
TIMEOUT = 120.0
LARGEST_PART = 65_536


@dataclass(frozen=True)
class Metadata:
    """What a broker reports of its cluster: addresses by node id, and the leaders of the partitions asked for."""

    brokers: dict[int, tuple[str, int]]
    controller: int
    leaders: list[int]


def metadata(servers: str, topic: str | None = None, timeout: float = 30.0) -> Metadata:
    """Ask the first of `servers` that answers for its cluster, and for the leaders of a topic.

    Raises:
        OSError: none answers.
        ValueError: what answers is no Kafka broker, or `servers` is no "host:port".

    """
    topics = [] if topic is None else [topic]
    error: OSError | None = None
    for address in _addresses(servers):
        try:
            return _read_metadata(_ask(address, METADATA, _array(topics, _string), timeout))
        except OSError as failure:
            error = failure
    raise error or OSError("no address")


def create_topic(
    servers: str, name: str, partitions: int, config: Mapping[str, str], *, replicas: int = 1, version: int = 2
) -> None:
    """Create a topic.

    Args:
        servers: where to ask who can.
        name: the topic.
        partitions: how many.
        config: the topic's configuration.
        replicas: how many nodes keep each partition.
        version: the version of the request: Kafka before 0.11 knows only 1, and Kafka 4 does not know it.

    Raises:
        RuntimeError: the broker refused.

    """
    cluster = metadata(servers)
    topic = _string(name) + struct.pack(">ihi", partitions, replicas, 0)
    topic += _array(list(config.items()), lambda item: _string(item[0]) + _string(item[1]))
    request = struct.pack(">i", 1) + topic + struct.pack(">i?", int(TIMEOUT * 1000), False)
    reply = _ask(cluster.brokers[cluster.controller], (CREATE_TOPICS, version), request, TIMEOUT)
    if version > 1:
        reply.integer("i")  # throttle time
    _check_created(reply)


def wait_for_leaders(servers: str, topic: str, partitions: int, timeout: float = TIMEOUT) -> None:
    """Return when each of the topic's partitions has a leader.

    Raises:
        RuntimeError: they have not within `timeout` seconds.

    """
    deadline = time.monotonic() + timeout
    while True:
        leaders = metadata(servers, topic).leaders
        if len(leaders) == partitions and min(leaders) >= 0:
            return
        if time.monotonic() > deadline:
            msg = f"after {timeout:.0f} s topic {topic!r} should have leaders of {partitions} partitions, it has {leaders}"
            raise RuntimeError(msg)
        time.sleep(0.05)


def _check_created(reply: Reader) -> None:
    for name, code, message in reply.array(lambda: (reply.string(), reply.integer("h"), reply.string())):
        if code:
            msg = f"the broker refused to create topic {name!r}: {message or 'no message'} (error {code} of Kafka's)"
            raise RuntimeError(msg)


def _read_metadata(reply: Reader) -> Metadata:
    brokers = dict(reply.array(lambda: _read_broker(reply)))
    controller = reply.integer("i")
    leaders = [leader for topic in reply.array(lambda: _read_topic(reply)) for leader in topic]
    return Metadata(brokers, controller, leaders)


def _read_broker(reply: Reader) -> tuple[int, tuple[str, int]]:
    node, host, port = reply.integer("i"), reply.string(), reply.integer("i")
    reply.string()  # rack
    return node, (host, port)


def _read_topic(reply: Reader) -> list[int]:
    reply.integer("h")
    reply.string()
    reply.integer("?")
    return reply.array(lambda: _read_leader(reply))


def _read_leader(reply: Reader) -> int:
    error, _, leader = reply.integer("h"), reply.integer("i"), reply.integer("i")
    for _ in ("replicas", "in sync"):
        reply.array(lambda: reply.integer("i"))
    return -1 if error else leader


class Reader:
    """Takes a reply apart, from its begin to its end."""

    def __init__(self, content: bytes) -> None:
        """Begin behind the correlation id."""
        self._content = content
        self._position = 4

    def integer(self, code: str) -> int:
        """Read a number, whose type is a code of the struct module."""
        (number,) = struct.unpack(f">{code}", self._take(struct.calcsize(f">{code}")))
        return int(number)

    def string(self) -> str:
        """Read a string; null comes as the empty one."""
        return self._take(max(self.integer("h"), 0)).decode()

    def array(self, read: Callable[[], T]) -> list[T]:
        """Read as many items as the array has."""
        return [read() for _ in range(self.integer("i"))]

    def _take(self, size: int) -> bytes:
        start, self._position = self._position, self._position + size
        if self._position > len(self._content):
            msg = "the answer is not one of a Kafka broker's"
            raise ValueError(msg)
        return self._content[start : self._position]


def _ask(address: tuple[str, int], api: tuple[int, int], body: bytes, timeout: float) -> Reader:
    request = struct.pack(">hhi", *api, CORRELATION_ID) + _string("otelkafka-testbroker") + body
    with socket.create_connection(address, timeout) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _receive(connection, 4))
        return Reader(_receive(connection, size))


def _receive(connection: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        # What is no Kafka broker can claim any size.
        part = connection.recv(min(size - len(content), LARGEST_PART))
        if not part:
            msg = "the broker closed the connection"
            raise ConnectionError(msg)
        content += part
    return content


def _addresses(servers: str) -> list[tuple[str, int]]:
    return [_address(server.strip()) for server in servers.split(",")]


def _address(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition(":")
    if not host or not port.isdigit():
        msg = f"{server!r} is no host:port"
        raise ValueError(msg)
    return host.strip("[]"), int(port)


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text.encode())) + text.encode()


def _array(items: list[T], write: Callable[[T], bytes]) -> bytes:
    return struct.pack(">i", len(items)) + b"".join(map(write, items))
