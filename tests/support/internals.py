"""The one module of the tests that knows how otelkafka is made inside; `tests/project/test_internals.py` sees to that.

Tests drive public names. What no public name shows is read here, so that a change inside of the package is a change
of this module, and of no test.
"""

import random
from collections.abc import Callable
from importlib import import_module
from random import Random
from types import SimpleNamespace
from typing import Any
from weakref import finalize

from opentelemetry import context

from otelkafka import reporter
from otelkafka._clients.calls import patched
from otelkafka._clients.kafka_python import facts
from otelkafka._clients.kafka_python.consumer import ConsumerFace
from otelkafka._clients.kafka_python.producer import ProducerFace
from otelkafka._clients.patch import Patch
from otelkafka._consuming import dispatcher, open_span
from otelkafka._consuming.consumer_group import _of_unknown_consumers, process_batch_block, process_block
from otelkafka._consuming.wait import Handover, Processed, WaitHistory
from otelkafka._context import current, fastpath, sdk
from otelkafka._context.current import UnparsedSpan
from otelkafka._context.fastpath import FastPath, WithSdk, fast_path_of
from otelkafka._context.origin import header_of, with_baggage
from otelkafka._context.propagation import Contexts
from otelkafka._context.sdk import quick_tracer, sampler_of, set_attributes
from otelkafka._context.traceparent import SPAN_KEY, header
from otelkafka._protocols import NoClient
from otelkafka._telemetry import clock, semconv, tallies, telemetry
from otelkafka._telemetry.destination import Destination
from otelkafka._telemetry.metrics import instruments_of
from otelkafka._telemetry.sampling import Limit
from otelkafka._telemetry.telemetry import Telemetry
from otelkafka.headers import LONGEST_VALUE, are_sendable
from otelkafka.instrumentor import options_from_environment
from otelkafka.options import Options, for_consumer, for_producer
from otelkafka.reporter import Figure

__all__ = [
    "HISTOGRAMS",
    "LONGEST_VALUE",
    "MOST_PENDING",
    "SPAN_KEY",
    "ConsumerFace",
    "FastPath",
    "Figure",
    "Handover",
    "Limit",
    "Patch",
    "ProducerFace",
    "UnparsedSpan",
    "WaitHistory",
    "Processed",
    "Destination",
    "WithSdk",
    "are_sendable",
    "header",
    "header_of",
    "options_from_environment",
    "quick_tracer",
    "sampler_of",
    "semconv",
    "set_attributes",
    "with_baggage",
]


# The command line.


def cli() -> SimpleNamespace:
    """Return the modules of the command line by their names; they need rich, which not every test run has."""
    from otelkafka._cli import command, console, finding, properties, reader

    return SimpleNamespace(command=command, console=console, finding=finding, properties=properties, reader=reader)


# What traces a client.


def forget_current() -> None:
    """Make nothing current, and no span open here."""
    context.attach(context.Context())
    open_span.innermost.set(None)


def forget_consumers() -> None:
    """Forget the consumers that are traced, some of which may live on: they handed over nothing of what comes."""
    dispatcher._dispatchers.clear()


def patched_producer(producer: Any, options: Options | None) -> Any:
    """Trace a producer as `KafkaInstrumentor` does, by patching a class of its own."""
    checked, face = for_producer(options), _face_for(producer, ProducerFace)
    return _patched(producer, face, lambda bare: face(bare, checked))


def patched_consumer(consumer: Any, options: Options | None) -> Any:
    """Trace a consumer as `KafkaInstrumentor` does, by patching a class of its own."""
    checked, face = for_consumer(options), _face_for(consumer, ConsumerFace)
    return _patched(consumer, face, lambda bare: face(bare, checked))


_FACES = {
    "send_and_wait": "aiokafka.producer.AIOKafkaProducerFace",
    "getone": "aiokafka.consumer.AIOKafkaConsumerFace",
    "produce": "confluent_kafka.producer.ConfluentProducerFace",
    "consume": "confluent_kafka.consumer.ConfluentConsumerFace",
}
"""The classes of faces, by a method that the clients alone have which they trace."""


def _face_for(client: Any, otherwise: Any) -> Any:
    """Return the class of the face for a client; that of kafka-python for most fakes."""
    for method, path in _FACES.items():
        if hasattr(client, method):
            module, _, name = path.rpartition(".")
            return getattr(import_module(f"otelkafka._clients.{module}"), name)
    return otherwise


def take_errors_of_kafka_python(too_large: type[Exception]) -> None:
    """Have the face of aiokafka know the errors of kafka-python's fakes, too, which the suite bridges to it."""
    from aiokafka.errors import MessageSizeTooLargeError

    from otelkafka._clients.aiokafka import facts as of_aiokafka
    from otelkafka._clients.aiokafka import producer as awaited_producer

    of_aiokafka.AIOKafkaFacts.error_name = staticmethod(any_error_name)
    awaited_producer.MessageSizeTooLargeError = (MessageSizeTooLargeError, too_large)


def any_error_name(error: BaseException) -> str | None:
    """Return the name of an error, of any client library."""
    return NoClient().error_name(error)


def take_errors_of_any_library() -> None:
    """Have the face of confluent-kafka know the errors of kafka-python's fakes, too, which the suite bridges to it."""
    from otelkafka._clients.confluent_kafka import facts as of_confluent_kafka

    of_confluent_kafka.Facts.error_name = staticmethod(any_error_name)


def _patched(client: Any, face: type, make_face: Callable[[Any], Any]) -> Any:
    client.__class__ = type(client).__class__(type(client).__name__, (type(client),), {})
    patch = Patch(type(client), face, make_face)
    patch.apply()
    type(client).patch = patch
    finalize(client, patched.difference_update, tuple(patch._mine.values())).atexit = False  # its class goes with it
    patch.face_of(client)  # wrapping adopts a subscription at once
    return client


def is_patched(client: Any) -> bool:
    """Return whether a client is traced by the patch of a class of its own."""
    return hasattr(type(client), "patch")


def face_of(client: Any) -> Any:
    """Return what traces a client, wrapped or patched; opaque, to measure what it keeps."""
    return client._self_face if hasattr(client, "_self_face") else type(client).patch.face_of(client)


def followed_sends(producer: Any) -> Any:
    """Return the sends of a producer of aiokafka that wait for their futures; opaque, to count them."""
    return face_of(producer)._followed


def process_by_engine(consumer: Any, record: Any) -> Any:
    """Return what `process()` returns, by what traces this consumer."""
    return process_block(face_of(consumer).process, record)


def process_batch_by_engine(consumer: Any, records: Any) -> Any:
    """Return what `process_batch()` returns, by what traces this consumer."""
    return process_batch_block(face_of(consumer).process, records)


# What is known of a consumer.


def noted_partitions(consumer: Any) -> set[tuple[str, int]]:
    """Return the partitions that the consumer was seen to be assigned."""
    return set(face_of(consumer).history._assigned)


def attended_since(consumer: Any, topic: str, partition: int) -> int:
    """Return since when the consumer attends a partition, Unix time in nanoseconds."""
    return int(face_of(consumer).history.attended_since(topic, partition))


def note_lags(consumer: Any, lags: dict[tuple[str, int], int]) -> None:
    """Note how far the consumer lags behind in its partitions."""
    face_of(consumer).history.lags.update(lags)


def records_in_process(consumer: Any) -> int:
    """Return how many records of the consumer count as in process."""
    return len(face_of(consumer).process.in_process)


# Metrics.


def instruments_of_provider(meter_provider: Any) -> Any:
    """Return the instruments that a provider's clients share; opaque, to measure what it keeps."""
    return instruments_of(meter_provider)


def has_instruments(producer: Any) -> bool:
    """Return whether anything is measured of a producer."""
    return face_of(producer)._telemetry.instruments is not None


class ConsumerTime:
    """The totals of busy and fetch time that a consumer adds to; it keeps no consumer alive.

    Attributes:
        lock: held while they are changed.
        lock_of_reading: held while the consumer's own time is read.
    """

    def __init__(self, consumer: Any) -> None:
        self._instruments = face_of(consumer).process.telemetry.instruments
        self.lock = self._instruments._time._lock
        self.lock_of_reading = face_of(consumer).history.spent._lock

    def total_of(self, attributes: dict[str, Any]) -> float:
        """Return the total of a set of attributes, which takes the lock."""
        value: float = self._instruments._time.of(attributes).read()
        return value

    def count_consumers(self) -> int:
        """Return how many consumers are still asked for their time."""
        return len(self._instruments._spent)


MOST_PENDING = tallies.MOST_PENDING
"""How many points of a tally wait for a collection."""

HISTOGRAMS = {
    semconv.METRIC_OPERATION_DURATION: "operation_duration",
    semconv.METRIC_PROCESS_DURATION: "process_duration",
    semconv.METRIC_QUEUE_DURATION: "queue_duration",
    semconv.METRIC_PIPELINE_DURATION: "pipeline_duration",
}


def tally_of(meter_provider: Any, name: str, attributes: dict[str, Any]) -> Any:
    """Return the tally of a histogram's points with these attributes, as the clients of a provider have it."""
    return getattr(instruments_of(meter_provider), HISTOGRAMS[name]).of(attributes)


def count_pending(tally: Any) -> int:
    """Return how many points of a tally wait."""
    return len(tally._pending)


def passes_self_test() -> bool:
    """Return whether points may be tallied, by a test that is made again."""
    return tallies._passes_self_test.__wrapped__()


def use_public_api(replace: Callable[[Any, str, Any], None]) -> None:
    """Have histograms that are made from now on take the public API for each point."""
    replace(tallies, "_passes_self_test", lambda: False)


# The fast path.

TRACE_ID_BITS = 128


def fast_path(**options: Any) -> FastPath | None:
    """Return the fast path under these options, None for none."""
    return fast_path_of(Options(**options))


def fast_path_of_client(**options: Any) -> Any:
    """Return the fast path of a client with these options."""
    return Contexts(Telemetry(Options(**options))).fast_path


def draw_trace_ids_from(seed: int, replace: Callable[[Any, str, Any], None]) -> None:
    """Have trace ids drawn in one order, however many span ids are drawn in between, and by any caller."""
    of_traces, of_spans = Random(seed), Random(seed)

    def draw(bits: int) -> int:
        return (of_traces if bits == TRACE_ID_BITS else of_spans).getrandbits(bits)

    replace(random, "getrandbits", draw)
    for module in (current, fastpath):
        replace(module, "getrandbits", draw)


def takes_w3c(options: Options) -> Callable[[], bool]:
    """Return what says whether headers have, at this moment, the format that the fast path knows."""
    contexts = Contexts(Telemetry(options))
    return lambda: contexts._is_w3c


# The client library.


class KafkaPythonClient(facts.KafkaPythonClient):
    """What is known of one client of kafka-python."""

    def forget_bootstrap_servers(self) -> None:
        """Leave nothing that could stand in for the leader of a partition."""
        self._bootstrap = None


has_group_subscription = facts.has_group_subscription
rebalance_listener = facts.rebalance_listener
replace_rebalance_listener = facts.replace_rebalance_listener
batch_index = facts.batch_index


# Clocks and globals, to be replaced for a test.


def replace_clock(name: str, spoilt: Callable[[], Any], replace: Callable[[Any, str, Any], None]) -> None:
    """Put another clock in the place of `time_ns` or `monotonic`, wherever otelkafka reads it."""
    replace(clock, {"time_ns": "now", "monotonic": "monotonic"}[name], spoilt)


def replace_clock_of_limits(monotonic: Callable[[], float], replace: Callable[[Any, str, Any], None]) -> None:
    """Put another clock in the place of the one by which spans a second are limited."""
    replace(clock, "monotonic", monotonic)


def writes_attributes(tracer: Any) -> bool:
    """Return whether a tracer of `quick_tracer()` writes the attributes of spans itself."""
    return int(tracer._most) >= 0


def examine_spans_again(replace: Callable[[Any, str, Any], None]) -> None:
    """Have the SDK's spans tested once more: whether their attributes can be written."""
    replace(sdk, "_writable_span_class", sdk._writable_span_class.__wrapped__)


def forget_options_of_functions() -> None:
    """Have `process()` and `process_batch()` look again for the global providers."""
    _of_unknown_consumers.clear()


def forget_what_was_logged() -> None:
    """Have no failure logged yet of calls whose options cannot be hashed."""
    telemetry.LOGGED_OF_UNKNOWN.clear()


def forget_global_reporter(replace: Callable[[Any, str, Any], None]) -> None:
    """Have no reporter yet for the global meter provider."""
    replace(reporter, "_global", reporter._GlobalProvider())


def statistics_names() -> set[str]:
    """Return the names of all metrics that `statistics_reporter()` may make."""
    return {figure.name for figures in reporter._FIGURES.values() for _, figure in figures}


def registry_of(reporter_class: Any) -> Any:
    """Return what holds the figures of a class made by `metrics_reporter()`."""
    return reporter_class.registry
