"""Which face traces a client: by the client library that its class is of. No face is imported before it is needed."""

import inspect
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from otelkafka.options import Options

_KAFKA_PYTHON: Final = "kafka_python"
_AIOKAFKA: Final = "aiokafka"
_PACKAGES: Final = {_KAFKA_PYTHON: "kafka", _AIOKAFKA: "aiokafka"}
"""The packages of client libraries, by the faces that import them."""
_FACES: Final = {package: face for face, package in _PACKAGES.items()}
_WITHOUT_FACE: Final = {"confluent_kafka": "confluent-kafka", "cimpl": "confluent-kafka"}
"""The libraries whose clients have methods of the same names that do other things, by the modules of their classes."""
_CLASSES: Final = {
    "TracedAIOKafkaConsumer": (_AIOKAFKA, "consumer"),
    "TracedAIOKafkaProducer": (_AIOKAFKA, "producer"),
    "TracedConsumer": (_KAFKA_PYTHON, "consumer"),
    "TracedProducer": (_KAFKA_PYTHON, "producer"),
}


def wrap_producer(producer: Any, options: Options | None = None) -> Any:
    """Trace what a producer sends.

    Args:
        producer: a `KafkaProducer`, an `AIOKafkaProducer`, or anything with its `send()`; one that is wrapped already
            is not wrapped twice.
        options: `ProducerOptions`, or `Options`; None for the defaults.

    Returns:
        A proxy that is used as the producer itself, and passes `isinstance` as one.

    Raises:
        TypeError: `producer` is no producer, or one of another library; or `options` are not those of one.
    """
    return _module_for("wrap_producer", producer, "send").wrap_producer(producer, options)


def wrap_consumer(consumer: Any, options: Options | None = None) -> Any:
    """Trace the processing of what a consumer hands over.

    A subscription that the consumer has already goes on: there is no rebalance. A subclass of the client's that has a
    `process()` or `process_batch()` keeps it: there, use `otelkafka.process(record, options)`.

    Args:
        consumer: a `KafkaConsumer`, an `AIOKafkaConsumer`, or anything with its `poll()` or its `getone()`; one that
            is wrapped already is not wrapped twice.
        options: `ConsumerOptions`, or `Options`; None for the defaults.

    Returns:
        A proxy that is used as the consumer itself, and passes `isinstance` as one.

    Raises:
        TypeError: `consumer` is no consumer, or one of another library; or `options` are not those of one.
    """
    return _module_for("wrap_consumer", consumer, "getone").wrap_consumer(consumer, options)


def traced_class(name: str) -> Any:
    """Return the public class of a face by its name.

    Raises:
        KeyError: there is no such class.
        ImportError: its client library is not installed.
    """
    face, module = _CLASSES[name]
    return getattr(_import(face, module), name)


def _module_for(call: str, client: Any, awaited: str) -> Any:
    """Return the module of the face that traces a client.

    Args:
        call: what it was given to.
        client: the client.
        awaited: the method by which one of no known library is known to be awaited.
    """
    face = _face_of_library(call, client)
    if face is None:
        is_awaited = inspect.iscoroutinefunction(getattr(client, awaited, None))
        face = _AIOKAFKA if is_awaited and find_spec(_PACKAGES[_AIOKAFKA]) else _KAFKA_PYTHON
    return _import(face, call.removeprefix("wrap_"))


def _face_of_library(call: str, client: Any) -> str | None:
    """Return the face for the library that a client's class is of; None for none.

    Raises:
        TypeError: the library has no face: a consumer of confluent-kafka has a `poll()`, too, and hands over one
            message by it.
    """
    client_class = client if isinstance(client, type) else client.__class__  # of what it wraps, for a proxy
    for each in client_class.__mro__:
        package = str(each.__module__).partition(".")[0]
        if package in _WITHOUT_FACE:
            wanted = f"Kafka{call.removeprefix('wrap_').capitalize()}"
            msg = f"{call}({client_class.__name__}): {_WITHOUT_FACE[package]} has no face yet: give a {wanted} of "
            msg += "kafka-python, or of aiokafka"
            raise TypeError(msg)
        if package in _FACES:
            return _FACES[package]
    return None


def _import(face: str, module: str) -> Any:
    import_module(_PACKAGES[face])  # before the face: another thread that imports it may be about to patch it, by that
    return import_module(f"{__package__}.{face}.{module}")
