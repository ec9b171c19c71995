"""The two faces of the engine: the whole suite runs over wrapped clients, and once more over patched classes.

`OTELKAFKA_FACE=instrumented` makes `wrap_producer` and `wrap_consumer` patch a class of the client's own, in the way of
`KafkaInstrumentor`, and return the client itself.
"""

import os

import otelkafka
from tests.support import internals

INSTRUMENTED = os.environ.get("OTELKAFKA_FACE") == "instrumented"


def wrap_producer(producer, options=None):
    if not INSTRUMENTED or not hasattr(producer, "send") or isinstance(producer, type):
        return otelkafka.wrap_producer(producer, options)
    return internals.patched_producer(producer, options)


def wrap_consumer(consumer, options=None):
    if not INSTRUMENTED or not (hasattr(consumer, "poll") or hasattr(consumer, "getone")) or isinstance(consumer, type):
        return otelkafka.wrap_consumer(consumer, options)
    return internals.patched_consumer(consumer, options)


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
