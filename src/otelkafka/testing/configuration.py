"""The configuration of a fake client, and the serializers in it."""

import inspect
from typing import Any

from kafka.errors import KafkaConfigurationError


def configured(client: Any, given: dict[str, Any], **own: Any) -> dict[str, Any]:
    """Return the configuration of a client.

    Args:
        client: kafka-python's class.
        given: by the test.
        own: defaults of the fake's own.

    Raises:
        KafkaConfigurationError: the class does not know what is given.
    """
    unknown = sorted(set(given) - set(client.DEFAULT_CONFIG))
    if unknown:
        msg = f"{client.__name__} of this release does not know {', '.join(unknown)}"
        raise KafkaConfigurationError(msg)
    return {**client.DEFAULT_CONFIG, "bootstrap_servers": ["localhost:9092"], **own, **given}


def apply(maker: Any, method: str, topic: str, headers: Any, part: Any) -> Any:
    """Return what a serializer or deserializer makes of a key or value.

    Args:
        maker: None, a function, or an object with a method of this name.
        method: `serialize` or `deserialize`.
        topic: the topic of the record.
        headers: the headers of the record, which only the methods of kafka-python 3 take.
        part: the key or value.
    """
    if maker is None:
        return part
    call = getattr(maker, method, None)
    if call is None:
        return maker(part)
    try:
        inspect.signature(call).bind(topic, headers, part)
    except TypeError:
        return call(topic, part)
    return call(topic, headers, part)
