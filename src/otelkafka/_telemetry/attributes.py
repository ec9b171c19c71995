"""Pure functions from a client, a record or an error to attributes.

Source: semantic conventions v1.44, messaging spans and the Kafka page.
"""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from json import dumps
from typing import TypeAlias
from uuid import UUID

from opentelemetry.util.types import AttributeValue

from otelkafka._protocols import Client, Server
from otelkafka._telemetry import semconv
from otelkafka._telemetry.clock import seconds
from otelkafka.options import KeyFormat

Attributes: TypeAlias = dict[str, AttributeValue]


def of_operation(name: str, kind: str | None = None) -> Attributes:
    """Return the name and the type of an operation: `commit` is of type `settle`, `assign` has no type."""
    named: Attributes = {semconv.MESSAGING_SYSTEM: semconv.SYSTEM_KAFKA, semconv.MESSAGING_OPERATION_NAME: name}
    return named if kind is None else {**named, semconv.MESSAGING_OPERATION_TYPE: kind}


def of_destination(topic: str | None, template: str | None) -> Attributes:
    """Return the name of a topic and its template."""
    known = {semconv.MESSAGING_DESTINATION_NAME: topic, semconv.MESSAGING_DESTINATION_TEMPLATE: template}
    return {name: encodable(value) for name, value in known.items() if value is not None}


def of_client(client: Client) -> Attributes:
    """Return the client id, the group and the cluster id, each if it is known."""
    known = {semconv.MESSAGING_CLIENT_ID: client.client_id, semconv.MESSAGING_KAFKA_CLUSTER_ID: client.cluster_id}
    return {**{name: encodable(value) for name, value in known.items() if value is not None}, **of_group(client)}


def of_group(client: Client) -> Attributes:
    """Return the group of a consumer."""
    return {} if client.group is None else {semconv.MESSAGING_CONSUMER_GROUP_NAME: encodable(client.group)}


def of_server(server: Server | None) -> Attributes:
    """Return the address that the broker listens on."""
    if server is None:
        return {}
    if server.port is None:
        return {semconv.SERVER_ADDRESS: encodable(server.address)}
    return {semconv.SERVER_ADDRESS: encodable(server.address), semconv.SERVER_PORT: server.port}


def of_partition(partition: int | None) -> Attributes:
    """Return the partition as a string, as the conventions require."""
    return {} if partition is None else {semconv.MESSAGING_DESTINATION_PARTITION_ID: str(partition)}


def of_place(destination: Attributes, partition: int | None, client: Client) -> Attributes:
    """Return the attributes of a consumer's gauges: the destination, by its metric name, and the partition."""
    named = {semconv.MESSAGING_SYSTEM: semconv.SYSTEM_KAFKA, **destination}
    return {**named, **of_partition(partition), **of_group(client)}


def of_offset(offset: int | None) -> Attributes:
    """Return the offset; nothing for -1, which a producer gets with `acks=0`."""
    return {} if offset is None or offset < 0 else {semconv.MESSAGING_KAFKA_OFFSET: offset}


def of_old_names(client: Client, topic: str | None, partition: int | None) -> Attributes:
    """Return the attributes that opentelemetry-instrumentation-kafka-python emits, for dashboards that read them."""
    old: Attributes = {semconv.OLD_URL: dumps(client.bootstrap_servers)}
    if topic is not None:
        old[semconv.OLD_DESTINATION] = encodable(topic)
    if partition is not None:
        old[semconv.OLD_PARTITION] = partition
    return old


def of_key(key: object, key_format: KeyFormat) -> Attributes:
    """Return the key in its canonical string form; nothing if there is no such form."""
    if key is None or key_format is False:
        return {}
    if key_format is True and isinstance(key, bytes | bytearray | memoryview):
        decoded = _utf8(bytes(key))
        return {} if decoded is None else {semconv.MESSAGING_KAFKA_MESSAGE_KEY: decoded}
    text = _canonical(key) if key_format is True else key_format(key)
    if text is not None and not isinstance(text, str):
        msg = f"capture_key returned {type(text).__name__}: return a str or None"
        raise TypeError(msg)
    return {} if text is None or not is_encodable(text) else {semconv.MESSAGING_KAFKA_MESSAGE_KEY: text}


def of_blocked(nanoseconds: int) -> Attributes:
    """Return how long `send()` took to return; nothing if that is negative because the clock was set back."""
    return {semconv.SEND_BLOCKED_DURATION: seconds(max(0, nanoseconds))}


def of_tombstone(*, tombstone: bool) -> Attributes:
    """Return the tombstone attribute for a record without a value; nothing for other records."""
    return {semconv.MESSAGING_KAFKA_MESSAGE_TOMBSTONE: True} if tombstone else {}


def of_headers(headers: object, wanted: Sequence[str]) -> Attributes:
    """Return the headers whose key matches a name or wildcard in `wanted`, each with the list of its UTF-8 values."""
    if not wanted or not isinstance(headers, Iterable):
        return {}
    found: dict[str, list[str]] = {}
    for key, value in headers:
        if isinstance(value, bytes) and any(fnmatchcase(key, pattern) for pattern in wanted):
            text = _utf8(value)
            if text is not None:
                found.setdefault(semconv.HEADER_PREFIX + encodable(key), []).append(text)
    return dict(found)


def of_error(error: BaseException, client: Client) -> Attributes:
    """Return Kafka's name of the error, for example `UNKNOWN_TOPIC_OR_PARTITION`, or else the name of its class."""
    return {semconv.ERROR_TYPE: encodable(client.error_name(error) or type(error).__name__)}


def of_link(kind: str, more: Mapping[str, AttributeValue] | None = None) -> Attributes:
    """Return the attributes of a link: its type, `creation`, `busy` or `ambient`, and the given ones."""
    return {semconv.LINK_TYPE: kind, **(more or {})}


def _canonical(key: object) -> str | None:
    if isinstance(key, str):
        return key
    if isinstance(key, int | float | UUID):
        return str(key)
    return None


def is_encodable(text: str) -> bool:
    """Return whether an exporter can write a text. Half a surrogate pair would make it lose the whole export."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def encodable(text: str) -> str:
    r"""Return a text that an exporter can write: half a surrogate pair is escaped, as `\ud800`."""
    return text if is_encodable(text) else text.encode(errors="backslashreplace").decode()


def _utf8(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
