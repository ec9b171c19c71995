"""The mock cluster inside confluent-kafka's wheel.

It lives in this process, on 127.0.0.1. What it cannot do: two members in one group; `subscribe()` now and then never
gets an assignment, so `assign()` instead; requests newer than those of `api_version=(0, 11)`.
"""

from __future__ import annotations

import atexit
import ctypes
import os
from typing import TYPE_CHECKING, Any

from testbroker.broker import Broker, BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

PRODUCER = 0
# Without the last, librdkafka writes about the mock cluster to stderr.
CONFIGURATION = {"test.mock.num.brokers": "1", "log_level": "0"}


class EmbeddedBroker(Broker):
    """A mock cluster of one node. A topic that does not exist is made, with 4 partitions, when it is asked for."""

    kind = "embedded"

    def __init__(self) -> None:
        """Start it."""
        self._library = _load()
        self._client = _client(self._library)
        self._cluster = self._library.rd_kafka_handle_mock_cluster(self._client)
        self._owner: int | None = os.getpid()
        self.bootstrap_servers = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self.description = f"embedded broker of confluent-kafka on {self.bootstrap_servers}"
        atexit.register(self.stop)

    @property
    def client_options(self) -> dict[str, Any]:
        """The keyword arguments that a KafkaProducer or KafkaConsumer needs to talk to it."""
        return {**super().client_options, "api_version": (0, 11)}

    def stop(self) -> None:
        """End the mock cluster."""
        # librdkafka's threads are not in a forked child, which would wait for them for ever.
        if self._owner != os.getpid():
            return
        self._owner = None
        atexit.unregister(self.stop)
        self._library.rd_kafka_destroy(self._client)

    def _make_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        if self._owner != os.getpid():
            # To ask librdkafka anyway would crash, or in a forked child wait for ever.
            msg = "this broker is stopped, or another process's: start another with start_broker()"
            raise RuntimeError(msg)
        if config:
            msg = 'the embedded broker takes no configuration of topics: use start_broker("kafka")'
            raise RuntimeError(msg)
        code = self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1)
        if code:
            msg = f"the embedded broker refused to create topic {name!r} (error {code} of librdkafka's); does it exist?"
            raise RuntimeError(msg)


def _client(library: ctypes.CDLL) -> ctypes.c_void_p:
    error = ctypes.create_string_buffer(512)
    configuration = ctypes.c_void_p(library.rd_kafka_conf_new())
    for name, value in CONFIGURATION.items():
        library.rd_kafka_conf_set(configuration, name.encode(), value.encode(), error, len(error))
    client = library.rd_kafka_new(PRODUCER, configuration, error, len(error))
    if client:
        return ctypes.c_void_p(client)
    reason = f"confluent-kafka has no embedded broker ({error.value.decode()})"
    raise BrokerUnavailable(reason, "Install a newer one: pip install -U confluent-kafka.")


def _load() -> ctypes.CDLL:
    try:
        from confluent_kafka import cimpl  # only this kind needs it

        # librdkafka's public C interface is looked up through the module that is linked with it: confluent-kafka's
        # Python face starts the mock cluster too, but cannot say how many partitions a topic has.
        return _declare(ctypes.CDLL(cimpl.__file__))
    except (ImportError, AttributeError, OSError) as error:
        reason = f"the embedded broker is not available ({error})"
        remedy = "Install it: pip install confluent-kafka; or ask for another kind of broker."
        raise BrokerUnavailable(reason, remedy) from error


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    library.rd_kafka_conf_new.restype = ctypes.c_void_p
    library.rd_kafka_conf_set.argtypes = [ctypes.c_void_p, *[ctypes.c_char_p] * 3, ctypes.c_size_t]
    library.rd_kafka_new.restype = ctypes.c_void_p
    library.rd_kafka_new.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.rd_kafka_handle_mock_cluster.restype = ctypes.c_void_p
    library.rd_kafka_handle_mock_cluster.argtypes = [ctypes.c_void_p]
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    library.rd_kafka_mock_cluster_bootstraps.argtypes = [ctypes.c_void_p]
    library.rd_kafka_mock_topic_create.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
    library.rd_kafka_destroy.argtypes = [ctypes.c_void_p]
    library.rd_kafka_destroy.restype = None
    return library
