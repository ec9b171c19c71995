"""Kafka's names of errors, by the client libraries that the application has imported; this imports none."""

import sys

from otelkafka._protocols import NoClient


def kafka_python_name(error: BaseException) -> str | None:
    """Return Kafka's name of an error that a broker responded with."""
    response = getattr(sys.modules.get("kafka.errors"), "BrokerResponseError", None)
    if response is None or not isinstance(error, response):
        return None
    name = getattr(error, "message", None)
    return name if isinstance(name, str) else None


NoClient.error_names.append(kafka_python_name)
