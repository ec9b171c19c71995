"""The traced producer: a span for each send, which ends when the broker has acknowledged the record."""

from functools import update_wrapper
from typing import Any

from otelkafka.options import Options, ProducerOptions, for_producer
from otelkafka.proxy import TracedClient
from otelkafka.sending import Sending
from otelkafka.transactions import KINDS


def wrap_producer(producer: Any, options: Options | None = None) -> "TracedProducer":
    """Trace what a producer sends.

    Args:
        producer: a `KafkaProducer`, or anything with its `send()`; one that is wrapped already is not wrapped twice.
        options: `ProducerOptions`, or `Options`; None for the defaults.

    Returns:
        A proxy that is used as the producer itself, and passes `isinstance` as one.

    Raises:
        TypeError: `producer` is no producer, or `options` are not those of one.
    """
    checked = for_producer(options)
    if isinstance(producer, TracedProducer):
        before = producer._self_engine
        return TracedProducer(producer.__wrapped__, checked, Sending(producer.__wrapped__, checked, before))
    if isinstance(producer, type) or not callable(getattr(producer, "send", None)):
        msg = f"wrap_producer({type(producer).__name__}): give a KafkaProducer, or an object with its send()"
        raise TypeError(msg)
    return TracedProducer(producer, checked, Sending(producer, checked))


class TracedProducer(TracedClient):
    """A `KafkaProducer` whose sends are traced; made by `wrap_producer`."""

    def __init__(self, producer: Any, options: ProducerOptions, engine: Sending) -> None:
        super().__init__(producer, options, wrap_producer, engine)

    def __getattr__(self, name: str) -> Any:
        """Return what the producer has by this name, a call of a transaction traced (old releases lack them)."""
        found = getattr(self.__wrapped__, name)
        if name not in KINDS:
            return found
        call = self._self_call
        return update_wrapper(lambda *args, **kwargs: call(name, args, kwargs), found)

    def send(self, *args: Any, **kwargs: Any) -> Any:
        """Send a record inside a span, as `KafkaProducer.send` does, and return its future."""
        return self._self_call("send", args, kwargs)
