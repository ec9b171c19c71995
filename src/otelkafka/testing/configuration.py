"""The configuration of a fake client: kafka-python's defaults, what fakes have of their own, and what a test gives."""

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
