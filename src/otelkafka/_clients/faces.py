"""Which face traces a client: by the client library that its class is of. No face is imported before it is needed."""

import inspect
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from otelkafka._clients.proxy import TracedClient
from otelkafka.options import Options, for_consumer, for_producer

_KAFKA_PYTHON: Final = "kafka_python"
_AIOKAFKA: Final = "aiokafka"
_CONFLUENT_KAFKA: Final = "confluent_kafka"
_PACKAGES: Final = {_KAFKA_PYTHON: "kafka", _AIOKAFKA: "aiokafka", _CONFLUENT_KAFKA: "confluent_kafka"}
"""The packages of client libraries, by the faces that import them."""
_FACES: Final = {**{package: face for face, package in _PACKAGES.items()}, "cimpl": _CONFLUENT_KAFKA}
"""The faces, by the packages of the classes that they trace: C types of confluent-kafka are of `cimpl`."""
_CLASSES: Final = {
    "TracedAIOKafkaConsumer": (_AIOKAFKA, "consumer"),
    "TracedAIOKafkaProducer": (_AIOKAFKA, "producer"),
    "TracedConfluentConsumer": (_CONFLUENT_KAFKA, "consumer"),
    "TracedConfluentProducer": (_CONFLUENT_KAFKA, "producer"),
    "TracedConsumer": (_KAFKA_PYTHON, "consumer"),
    "TracedProducer": (_KAFKA_PYTHON, "producer"),
}


def wrap_producer(producer: Any, options: Options | None = None) -> Any:
    """Trace what a producer sends.

    Args:
        producer: a `KafkaProducer`, an `AIOKafkaProducer`, a `Producer` of confluent-kafka, or anything with the
            `send()` of the first; one that is wrapped already is not wrapped twice.
        options: `ProducerOptions`, or `Options`; None for the defaults.

    Returns:
        A proxy that is used as the producer itself, and passes `isinstance` as one.

    Raises:
        TypeError: `producer` is not a producer, or `options` are not those of a producer.
    """
    checked = for_producer(options)
    bare = producer.__wrapped__ if isinstance(producer, TracedClient) else producer
    return _module_for("wrap_producer", bare, "send").wrap_producer(bare, checked)


def wrap_consumer(consumer: Any, options: Options | None = None) -> Any:
    """Trace the processing of the records that a consumer returns.

    If the consumer has subscribed already, its subscription stays, without a rebalance. If a subclass of the client has
    its own `process()` or `process_batch()`, the proxy calls that method: use `otelkafka.process(record, options)`.

    Args:
        consumer: a `KafkaConsumer`, an `AIOKafkaConsumer`, a `Consumer` of confluent-kafka, or anything with the
            `poll()` of the first or the `getone()` of the second; one that is wrapped already is not wrapped twice.
        options: `ConsumerOptions`, or `Options`; None for the defaults.

    Returns:
        A proxy that is used as the consumer itself, and passes `isinstance` as one.

    Raises:
        TypeError: `consumer` is not a consumer, or `options` are not those of a consumer.
    """
    checked = for_consumer(options)
    bare, before = consumer, None
    if isinstance(consumer, TracedClient):
        bare, before = consumer.__wrapped__, consumer._self_face
    module = _module_for("wrap_consumer", bare, "getone")
    return module.wrap_consumer(bare, checked, before)


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
    face = _face_of_library(client)
    if face is None:
        is_awaited = inspect.iscoroutinefunction(getattr(client, awaited, None))
        face = _AIOKAFKA if is_awaited and find_spec(_PACKAGES[_AIOKAFKA]) else _KAFKA_PYTHON
    return _import(face, call.removeprefix("wrap_"))


def _face_of_library(client: Any) -> str | None:
    """Return the face for the library that a client's class is of; None for none."""
    client_class = client if isinstance(client, type) else client.__class__  # of what it wraps, for a proxy
    packages = (str(each.__module__).partition(".")[0] for each in client_class.__mro__)
    return next((_FACES[package] for package in packages if package in _FACES), None)


def _import(face: str, module: str) -> Any:
    import_module(_PACKAGES[face])  # before the face: another thread that imports it may be about to patch it, by that
    return import_module(f"{__package__}.{face}.{module}")
