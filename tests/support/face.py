"""The faces of the engine: the whole suite runs over wrapped clients, over patched classes, and over other libraries'.

`OTELKAFKA_FACE=instrumented` makes `wrap_producer` and `wrap_consumer` patch a class of the client's own, in the way of
`KafkaInstrumentor`, and return the client itself. `OTELKAFKA_FACE=aiokafka` and `OTELKAFKA_FACE=confluent` make them
bridge the client to the face of that library, by `tests/support/awaited_face.py` or `tests/support/confluent_face.py`.
"""

import os
from importlib import import_module

import otelkafka
from tests.support import called, internals

FACE = os.environ.get("OTELKAFKA_FACE")
INSTRUMENTED = FACE == "instrumented"
_BRIDGES = {"aiokafka": "awaited_face", "confluent": "confluent_face"}
BRIDGED = FACE in _BRIDGES
"""Whether the suite's fakes are bridged to the face of another library than kafka-python."""


def _bridge():
    return import_module(f"tests.support.{_BRIDGES[FACE]}")  # here, for it needs a library that not every lane has


def _is_bridged(client, method):
    """Whether a client is one of the suite's fakes, to be bridged, or was bridged before."""
    is_other = any(hasattr(client, name) for name in ("send_and_wait", "getone", "consume"))
    is_fake = hasattr(client, method) and not isinstance(client, type) and not is_other
    return isinstance(client, called.Called) or (BRIDGED and is_fake)


def wrap_producer(producer, options=None):
    if _is_bridged(producer, "send"):
        return _bridge().wrap_producer(producer, options)
    is_producer = hasattr(producer, "send") or hasattr(producer, "produce")
    if not INSTRUMENTED or not is_producer or isinstance(producer, type):
        return otelkafka.wrap_producer(producer, options)
    return internals.patched_producer(producer, options)


def wrap_consumer(consumer, options=None):
    if _is_bridged(consumer, "poll"):
        return _bridge().wrap_consumer(consumer, options)
    if not INSTRUMENTED or not (hasattr(consumer, "poll") or hasattr(consumer, "getone")) or isinstance(consumer, type):
        return otelkafka.wrap_consumer(consumer, options)
    return internals.patched_consumer(consumer, options)


def reason_not_to_run(item):
    """Why a test does not run over this face; None where it does."""
    return called.reason_not_to_run(item, _bridge()) if BRIDGED else None


def is_wrapped(client):
    return hasattr(client, "_self_face")


def is_traced(client):
    return is_wrapped(client) or internals.is_patched(client)


def bare_of(client):
    """The client without its wrapper."""
    return client.__wrapped__ if is_wrapped(client) else client


def process_of(consumer, record):
    """The process span of a record, made by what traces this consumer; a patched consumer has no such method."""
    return consumer.process(record) if is_wrapped(consumer) else internals.process_by_engine(consumer, record)


def process_batch_of(consumer, records):
    """The process span of a batch, made by what traces this consumer; a patched consumer has no such method."""
    return (
        consumer.process_batch(records)
        if is_wrapped(consumer)
        else internals.process_batch_by_engine(consumer, records)
    )
