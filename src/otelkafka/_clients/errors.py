"""Kafka's names of errors, by the client libraries that the application has imported; this imports none."""

import sys

from otelkafka._protocols import NoClient


def kafka_python_name(error: BaseException) -> str | None:
    """Return Kafka's name of an error that a broker responded with to kafka-python."""
    return _name(error, "kafka.errors")


def aiokafka_name(error: BaseException) -> str | None:
    """Return Kafka's name of an error that a broker responded with to aiokafka."""
    return _name(error, "aiokafka.errors")


def confluent_kafka_name(error: BaseException) -> str | None:
    """Return librdkafka's name of an error of confluent-kafka, `_MSG_TIMED_OUT` for example."""
    raised = getattr(sys.modules.get("confluent_kafka"), "KafkaException", None)
    if raised is None or not isinstance(error, raised):
        return None
    try:
        name = error.args[0].name()
    except Exception:  # noqa: BLE001 (an application may raise one with whatever it likes)
        return None
    return name if isinstance(name, str) else None


def _name(error: BaseException, errors: str) -> str | None:
    response = getattr(sys.modules.get(errors), "BrokerResponseError", None)
    if response is None or not isinstance(error, response):
        return None
    name = getattr(error, "message", None)
    return name if isinstance(name, str) else None


NoClient.error_names += (kafka_python_name, aiokafka_name, confluent_kafka_name)
