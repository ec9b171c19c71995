"""Facts about clients of confluent-kafka.

librdkafka does not return the configuration of a client, and its clients are C types without attributes. The facts
come from the configuration where it is known: zero code sees it, and the option `config` gives it to `wrap_*`.
"""

import gc
import inspect
import time
from collections.abc import Mapping
from functools import lru_cache
from types import BuiltinMethodType, FunctionType
from typing import Any, Final, NamedTuple

from confluent_kafka import TopicPartition

from otelkafka._clients.client_facts import bootstrap_of, fact, hosts_of, reference_to, text_or_none
from otelkafka._clients.errors import confluent_kafka_name
from otelkafka._protocols import Server

_CALLBACKS: Final = ("on_delivery", "dr_cb")
_HIGHWATER_AGE: Final = 10_000_000
"""How long, in nanoseconds, a high-water mark is used: librdkafka takes microseconds to return one."""
_DEFAULT_CLIENT_ID: Final = "rdkafka"
_MOST_MARKS: Final = 10_000

configurations: Final[dict[int, Mapping[str, Any]]] = {}
"""The configurations of living clients, by their ids, where they were seen when the clients were made."""


_USED: Final = frozenset(
    (
        "bootstrap.servers",
        "client.id",
        "delivery.report.only.error",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "group.id",
        "metadata.broker.list",
        "transactional.id",
        *_CALLBACKS,
    )
)


def facts_of_configuration(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings that are used, and no others: a configuration may have passwords."""
    return {name: config[name] for name in config if name in _USED}


def configuration_of(client: Any, given: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return what a client was configured with, None where that is not known.

    Args:
        client: the client. Fakes have a `config`.
        given: the option `config`.
    """
    if given is not None:
        return given
    found = configurations.get(id(client))
    if found is None:
        found = getattr(client, "config", None)
    return found if isinstance(found, Mapping) else None


class Facts:
    """What both sides have.

    Args:
        config: what the client was configured with; None where that is not known.
    """

    cluster_id: None = None  # librdkafka asks the broker for it

    def __init__(self, config: Mapping[str, Any] | None) -> None:
        self.config: Mapping[str, Any] = {} if config is None else config
        self.is_known = config is not None
        servers = self.config.get("bootstrap.servers") or self.config.get("metadata.broker.list")
        self._bootstrap: Server | None = bootstrap_of(servers)
        self.bootstrap_servers: list[str] = hosts_of(servers) or []
        self.group: str | None = text_or_none(self.config.get("group.id"))
        named = text_or_none(self.config.get("client.id"))
        self.client_id: str | None = named or (_DEFAULT_CLIENT_ID if self.is_known else None)

    def server(self, topic: str | None, partition: int | None) -> Server | None:  # noqa: ARG002 (of the protocol)
        """Return the first bootstrap server: librdkafka keeps the leaders to itself."""
        return self._bootstrap

    error_name = staticmethod(confluent_kafka_name)


class ProducerFacts(Facts):
    """A producer as the engine sees it.

    It does not hold the client. librdkafka holds each callback that waits for a delivery report, and garbage collection
    does not see that.

    Args:
        producer: the client.
        config: what it was configured with; None where that is not known.

    Attributes:
        delivered: the callback for records that are produced without one.
        hides_deliveries: whether there may be one that cannot be found, or only failures are reported.
    """

    takes_headers: bool = True

    def __init__(self, producer: Any, config: Mapping[str, Any] | None) -> None:
        super().__init__(config)
        self.delivered: Any = next(filter(None, map(self.config.get, _CALLBACKS)), None)
        self.hides_deliveries = not self.is_known and _may_have_callback(producer)
        self.only_errors = _is_true(self.config.get("delivery.report.only.error"))

    @staticmethod
    def can_send(headers: object) -> bool:
        """Return whether `produce()` takes headers as `plain_headers()` returns them."""
        return type(headers) is list and all(map(_is_header, headers))

    @property
    def is_transactional(self) -> bool:
        """Whether the producer has transactions, also where that is not known."""
        return not self.is_known or self.config.get("transactional.id") is not None

    def highwater(self, topic: str, partition: int) -> None:
        """Return None: it is a consumer's."""

    def assignment(self) -> None:
        """Return None: it is a consumer's."""

    def consumed(self) -> None:
        """Return None: it is a consumer's."""

    def topics(self) -> None:
        """Return None: it is a consumer's."""


class ConsumerFacts(Facts):
    """A consumer as the engine sees it.

    Args:
        consumer: the client.
        config: what it was configured with; None where that is not known.

    Attributes:
        get: returns the client; None where it has been dropped.
        subscription: the topics that it has subscribed to since it is traced; patterns begin with `^`.
        settles_by_storing: whether an automatic commit takes what `store_offsets()` stores.
    """

    takes_headers = True
    is_transactional = False

    def __init__(self, consumer: Any, config: Mapping[str, Any] | None) -> None:
        super().__init__(config)
        self.get = reference_to(consumer)
        self.subscription: tuple[str, ...] = ()
        self._stores_by_hand = _is_false(self.config.get("enable.auto.offset.store"))
        self.settles_by_storing = self._stores_by_hand and not _is_false(self.config.get("enable.auto.commit"))
        keeps = isinstance(getattr(_called(consumer), "get_watermark_offsets", None), BuiltinMethodType)
        self._highwater_age = _HIGHWATER_AGE if keeps else 0
        self._marks: dict[tuple[str, int], tuple[int | None, int]] = {}

    def forget(self) -> None:
        """Drop the client: the callbacks that librdkafka holds have a reference to this object."""
        self.get = _get_none

    @staticmethod
    def can_send(headers: object) -> bool:  # noqa: ARG004 (of the protocol)
        """Return False: a consumer sends nothing."""
        return False

    def highwater(self, topic: str, partition: int) -> int | None:
        """Return the offset of the next record that will be written to the partition, as librdkafka knows it."""
        now = time.monotonic_ns()
        found = self._marks.get((topic, partition))
        if found is not None and now - found[1] < self._highwater_age:
            return found[0]
        try:
            mark: Any = _called(self.get()).get_watermark_offsets(TopicPartition(topic, partition), cached=True)[1]
        except Exception:  # noqa: BLE001 (an async client, a closed one)
            mark = None
        found_mark = mark if isinstance(mark, int) and mark >= 0 else None
        if self._highwater_age:
            if len(self._marks) >= _MOST_MARKS:
                self._marks.clear()
            self._marks[topic, partition] = found_mark, now
        return found_mark

    def assignment(self) -> set[tuple[str, int]] | None:
        """Return the partitions that the consumer is assigned now."""
        return _assignment(_called(self.get()))

    def consumed(self) -> Mapping[Any, Any] | None:
        """Return the offsets, by partition, that a commit without offsets would commit now."""
        return None if self._stores_by_hand else _consumed(_called(self.get()))

    def topics(self) -> set[str] | None:
        """Return the topics that the consumer is subscribed to or assigned partitions of."""
        named = {topic for topic in self.subscription if not topic.startswith("^")}
        return named if named and len(named) == len(set(self.subscription)) else _topics(_called(self.get()))


def plain_headers(headers: Any) -> Any:
    """Return a new list of the headers as `produce()` sends them; headers that it refuses are returned unchanged."""
    if isinstance(headers, dict):
        headers = list(headers.items())
    if not isinstance(headers, list):
        return headers
    try:
        return [header if _is_header(header) else _plain_header(header) for header in headers]
    except Exception:  # noqa: BLE001 (for `produce()` to refuse)
        return headers


def _plain_header(header: Any) -> Any:
    if not isinstance(header, tuple) or len(header) != 2:  # noqa: PLR2004 (key and value)
        return header
    key, value = header
    if isinstance(value, str):
        value = value.encode()
    elif isinstance(value, bytes):
        value = b"".join((value,))
    return str(key), value


class Signature(NamedTuple):
    """The arguments that a method takes. A subclass may have another order than the C type, and fewer arguments.

    Attributes:
        names: the names of its positional arguments.
        keywords: the names of those that it takes by name; None for any.
    """

    names: tuple[str, ...]
    keywords: frozenset[str] | None

    def takes(self, name: str) -> bool:
        """Return whether it takes an argument by this name."""
        return self.keywords is None or name in self.keywords


_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@lru_cache(maxsize=256)
def signature_of(client_class: Any, method: str, own: Signature) -> Signature:
    """Return the signature of a class's method.

    Args:
        client_class: the class.
        method: its name.
        own: what the method of the C type takes, which has no signature.
    """
    found = inspect.unwrap(getattr(client_class, method, None))  # type: ignore[arg-type]  # a mock has none
    if not isinstance(found, FunctionType):
        return own
    parameters = inspect.signature(found).parameters
    kinds = {each.kind for each in parameters.values()}
    names = tuple(each.name for each in parameters.values() if each.kind in _POSITIONAL)[1:]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        names += own.names[len(names) :]
    return Signature(names, None if inspect.Parameter.VAR_KEYWORD in kinds else frozenset(parameters))


def offsets_by_partition(offsets: Any) -> Mapping[Any, Any] | None:
    """Return the offsets of a list of confluent-kafka's `TopicPartition`s by partition; None of anything else."""
    return _offsets_by_partition(offsets)


def positions_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[Any, Any] | None:
    """Return the offsets that `send_offsets_to_transaction()` is given, by partition."""
    return offsets_by_partition(args[0] if args else kwargs.get("positions"))


class Place:
    """Topic and number of a partition, as the engine reads them.

    Args:
        topic: its topic.
        partition: its number.
    """

    __slots__ = ("partition", "topic")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition


@fact
def _offsets_by_partition(offsets: Any) -> Mapping[Any, Any]:
    return {Place(each.topic, each.partition): each.offset if each.offset >= 0 else None for each in offsets}


@fact
def _may_have_callback(producer: Any) -> bool:
    return any(callable(each) and not isinstance(each, type) for each in gc.get_referents(producer))


@fact
def _assignment(consumer: Any) -> set[tuple[str, int]]:
    return {(each.topic, each.partition) for each in consumer.assignment()}


@fact
def _consumed(consumer: Any) -> Mapping[Any, Any] | None:
    return _offsets_by_partition(consumer.position(consumer.assignment()))


@fact
def _topics(consumer: Any) -> set[str]:
    return {each.topic for each in consumer.assignment()}


def _called(consumer: Any) -> Any:
    """Return the synchronous consumer. An async consumer has one inside."""
    return getattr(consumer, "_consumer", consumer)


def _get_none() -> None:
    return None


def _is_header(header: Any) -> bool:
    return (
        type(header) is tuple
        and len(header) == 2  # noqa: PLR2004 (key and value)
        and type(header[0]) is str
        and (header[1] is None or type(header[1]) is bytes)
    )


def _is_true(value: Any) -> bool:
    return value is True or str(value).strip().lower() in {"true", "t", "1"}


def _is_false(value: Any) -> bool:
    return value is not None and str(value).strip().lower() in {"false", "f", "0"}
