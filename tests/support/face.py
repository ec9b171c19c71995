"""The two faces of the engine: the whole suite runs over wrapped clients, and once more over patched classes.

`OTELKAFKA_FACE=instrumented` makes `wrap_producer` and `wrap_consumer` patch a class of the client's own, in the way of
`KafkaInstrumentor`, and return the client itself.
"""

import os

import otelkafka
from otelkafka.options import for_consumer, for_producer

INSTRUMENTED = os.environ.get("OTELKAFKA_FACE") == "instrumented"


def wrap_producer(producer, options=None):
    if not INSTRUMENTED or not hasattr(producer, "send") or isinstance(producer, type):
        return otelkafka.wrap_producer(producer, options)
    from otelkafka.sending import Sending

    checked = for_producer(options)
    return _patched(producer, Sending.METHODS, lambda client: Sending(client, checked))


def wrap_consumer(consumer, options=None):
    if not INSTRUMENTED or not hasattr(consumer, "poll") or isinstance(consumer, type):
        return otelkafka.wrap_consumer(consumer, options)
    from otelkafka.consumer_group import process_batch_with, process_with
    from otelkafka.consumption import Consumption

    checked = for_consumer(options)
    patched = _patched(consumer, Consumption.METHODS, lambda client: Consumption(client, checked))
    # What an instrumented service takes from the module, with the engine of this consumer.
    type(patched).process = lambda self, record: process_with(engine_of(self).processing, record)
    type(patched).process_batch = lambda self, records: process_batch_with(engine_of(self).processing, records)
    return patched


def _patched(client, names, make_engine):
    from otelkafka.instrumentor import Patch

    client.__class__ = type(client).__class__(type(client).__name__, (type(client),), {})
    patch = Patch(type(client), names, make_engine)
    patch.apply()
    type(client).patch = patch
    patch.engine_of(client)  # wrapping adopts a subscription at once
    return client


def engine_of(client):
    """What traces a client."""
    return client._self_engine if hasattr(client, "_self_engine") else type(client).patch.engine_of(client)


def bare_of(client):
    """The client without its wrapper."""
    return client if INSTRUMENTED and not hasattr(client, "__wrapped__") else client.__wrapped__
