"""The one module of the tests that knows how otelkafka is made inside; `tests/project/test_internals.py` sees to that.

Tests drive public names. What no public name shows is read here, so that a change inside of the package is a change
of this module, and of no test.
"""

import sys
from collections.abc import Callable
from time import monotonic, time_ns
from types import SimpleNamespace
from typing import Any

from otelkafka import client as _facts
from otelkafka import reporter, sampling, semconv
from otelkafka.consumer_group import _cached_processing, process_batch_with, process_with
from otelkafka.consumption import Consumption
from otelkafka.environment import options_from_environment
from otelkafka.headers import LONGEST_VALUE, are_sendable
from otelkafka.instrumentor import Patch
from otelkafka.metrics import instruments_of
from otelkafka.options import Options, for_consumer, for_producer
from otelkafka.reporter import Figure
from otelkafka.rules import UNCERTAIN, Rules, WithSdk
from otelkafka.sampling import Limit
from otelkafka.sending import Sending
from otelkafka.shortcuts import rules_of
from otelkafka.telemetry import Telemetry
from otelkafka.w3c import SPAN_KEY, UnparsedSpan
from otelkafka.wait import Handover, WaitHistory

__all__ = [
    "LONGEST_VALUE",
    "SPAN_KEY",
    "UNCERTAIN",
    "Figure",
    "Handover",
    "Limit",
    "Patch",
    "Rules",
    "UnparsedSpan",
    "WaitHistory",
    "WithSdk",
    "are_sendable",
    "options_from_environment",
    "semconv",
]


# The command line.


def cli() -> SimpleNamespace:
    """Return the modules of the command line by their names; they need rich, which not every test run has."""
    from otelkafka import command, console, inspection, properties, reading

    return SimpleNamespace(command=command, console=console, finding=inspection, properties=properties, reader=reading)


# What traces a client.


def patched_producer(producer: Any, options: Options | None) -> Any:
    """Trace a producer as `KafkaInstrumentor` does, by patching a class of its own."""
    checked = for_producer(options)
    return _patched(producer, Sending.METHODS, lambda bare: Sending(bare, checked))


def patched_consumer(consumer: Any, options: Options | None) -> Any:
    """Trace a consumer as `KafkaInstrumentor` does, by patching a class of its own."""
    checked = for_consumer(options)
    return _patched(consumer, Consumption.METHODS, lambda bare: Consumption(bare, checked))


def _patched(client: Any, names: Any, make_engine: Callable[[Any], Any]) -> Any:
    client.__class__ = type(client).__class__(type(client).__name__, (type(client),), {})
    patch = Patch(type(client), names, make_engine)
    patch.apply()
    type(client).patch = patch
    patch.engine_of(client)  # wrapping adopts a subscription at once
    return client


def is_patched(client: Any) -> bool:
    """Return whether a client is traced by the patch of a class of its own."""
    return hasattr(type(client), "patch")


def engine_of(client: Any) -> Any:
    """Return what traces a client, wrapped or patched; opaque, to measure what it keeps."""
    return client._self_engine if hasattr(client, "_self_engine") else type(client).patch.engine_of(client)


def process_by_engine(consumer: Any, record: Any) -> Any:
    """Return what `process()` returns, by what traces this consumer."""
    return process_with(engine_of(consumer).processing, record)


def process_batch_by_engine(consumer: Any, records: Any) -> Any:
    """Return what `process_batch()` returns, by what traces this consumer."""
    return process_batch_with(engine_of(consumer).processing, records)


# What is known of a consumer.


def noted_partitions(consumer: Any) -> set[tuple[str, int]]:
    """Return the partitions that the consumer was seen to be assigned."""
    return set(engine_of(consumer).history._assigned)


def attended_since(consumer: Any, topic: str, partition: int) -> int:
    """Return since when the consumer attends a partition, Unix time in nanoseconds."""
    return int(engine_of(consumer).history.attended_since(topic, partition))


def note_lags(consumer: Any, lags: dict[tuple[str, int], int]) -> None:
    """Note how far the consumer lags behind in its partitions."""
    engine_of(consumer).history.lags.update(lags)


def records_in_process(consumer: Any) -> int:
    """Return how many records of the consumer count as in process."""
    return len(engine_of(consumer).processing.in_process.works)


# Metrics.


def instruments_of_provider(meter_provider: Any) -> Any:
    """Return the instruments that a provider's clients share; opaque, to measure what it keeps."""
    return instruments_of(meter_provider, "otelkafka", "")


def has_instruments(producer: Any) -> bool:
    """Return whether anything is measured of a producer."""
    return engine_of(producer)._telemetry.instruments is not None


class ConsumerTime:
    """The totals of busy and fetch time that a consumer adds to; it keeps no consumer alive.

    Attributes:
        lock: held while they are changed.
    """

    def __init__(self, consumer: Any) -> None:
        self._instruments = engine_of(consumer).processing.telemetry.instruments
        self.lock = self._instruments._time._lock

    def total_of(self, attributes: dict[str, Any]) -> float:
        """Return the total of a set of attributes, which takes the lock."""
        value: float = self._instruments._time.of(attributes).value
        return value

    def count_consumers(self) -> int:
        """Return how many consumers are still asked for their time."""
        return len(self._instruments._spent)


# The fast path.


def rules(**options: Any) -> Rules | None:
    """Return the short cuts that are certain under these options, None for none."""
    return rules_of(Options(**options), "test", "1", "")


def rules_of_client(**options: Any) -> Any:
    """Return the short cuts that a client with these options takes."""
    return Telemetry(Options(**options)).rules


def takes_w3c(options: Options) -> Callable[[], bool]:
    """Return what says whether headers have, at this moment, the format that the short cuts know."""
    telemetry = Telemetry(options)
    return lambda: telemetry.is_w3c


# The client library.


class ClientFacts(_facts.ClientFacts):
    """What is known of one client of kafka-python."""

    def forget_bootstrap_servers(self) -> None:
        """Leave nothing that could stand in for the leader of a partition."""
        self._bootstrap = None


has_group_subscription = _facts.has_group_subscription
rebalance_listener = _facts.rebalance_listener
replace_rebalance_listener = _facts.replace_rebalance_listener
highwater = _facts.highwater
topics = _facts.topics
assignment = _facts.assignment
batch_index = _facts.batch_index


# Clocks and globals, to be replaced for a test.


def replace_clock(name: str, spoilt: Callable[[], Any], replace: Callable[[Any, str, Any], None]) -> None:
    """Put another clock in the place of `time_ns` or `monotonic`, wherever otelkafka reads it."""
    sound = {"time_ns": time_ns, "monotonic": monotonic}[name]
    for module in [each for path, each in sys.modules.items() if path.startswith("otelkafka.")]:
        if getattr(module, name, None) is sound and not module.__name__.startswith("otelkafka.testing"):
            replace(module, name, spoilt)


def replace_clock_of_limits(monotonic: Callable[[], float], replace: Callable[[Any, str, Any], None]) -> None:
    """Put another clock in the place of the one by which spans a second are limited."""
    replace(sampling, "monotonic", monotonic)


def forget_options_of_functions() -> None:
    """Have `process()` and `process_batch()` look anew for the global providers."""
    _cached_processing.cache_clear()


def forget_global_reporter(replace: Callable[[Any, str, Any], None]) -> None:
    """Have no reporter yet for the global meter provider."""
    replace(reporter, "_global", [])


def registry_of(reporter_class: Any) -> Any:
    """Return what holds the figures of a class made by `metrics_reporter()`."""
    return reporter_class.registry
