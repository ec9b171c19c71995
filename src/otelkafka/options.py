"""The options: immutable objects, which are checked when they are made."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from string import Formatter
from types import ModuleType
from typing import Any, Literal, TypeAlias

from opentelemetry.metrics import MeterProvider
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import Span, TracerProvider

from otelkafka.headers import Carrier, HeaderCarrier

SpanName: TypeAlias = str | Callable[[str, str], str]
KeyFormat: TypeAlias = bool | Callable[[Any], str | None]
Check: TypeAlias = Callable[[object], None]


def _checked(default: Any, check: Check, kind: type | None = None, *, is_shown: bool = True) -> Any:
    """Return a field; `kind` is the type of its value as a text, where that is not the type of its default."""
    return field(default=default, repr=is_shown, metadata={"check": check, "kind": kind or type(default)})


def _is_boolean(value: object) -> None:
    if not isinstance(value, bool):
        msg = "give True or False"
        raise TypeError(msg)


def _check_function(value: Callable[..., Any], returns: type | None) -> None:
    """Refuse what can be called, and is no function to call: nothing awaits a coroutine, nothing uses an instance."""
    if isinstance(value, type) and (returns is None or not issubclass(value, returns)):
        msg = "give an instance, not the class"
        raise TypeError(msg)
    for called in (value, getattr(value, "__call__", None)):  # noqa: B004 (of an object that can be called)
        if inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called):
            msg = "give a function that is not async: nothing awaits it"
            raise TypeError(msg)
        if inspect.isgeneratorfunction(called):
            msg = "give a function that does not yield: nothing iterates it"
            raise TypeError(msg)


def _is_function(returns: type | None = None) -> Check:
    """Return a check of a function; `returns` is what a class may stand for it that makes just that."""

    def check(value: object) -> None:
        if value is None:
            return
        if not callable(value):
            msg = "give a function, or None for none"
            raise TypeError(msg)
        _check_function(value, returns)

    return check


def _is_key_format(value: object) -> None:
    if isinstance(value, bool):
        return
    if not callable(value):
        msg = "give True, False or a function from a key to a str or None"
        raise TypeError(msg)
    _check_function(value, str)


def _is_count(value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        msg = "give a whole number"
        raise TypeError(msg)
    if value < 0:
        msg = "give 0 or more"
        raise ValueError(msg)


def _is_duration(value: object) -> None:
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        msg = "give a number of seconds, or None for never"
        raise TypeError(msg)
    if not 0 <= value < float("inf"):
        msg = "give 0 or more seconds, or None for never"
        raise ValueError(msg)


def _offers(*methods: str) -> Check:
    def check(value: object) -> None:
        if isinstance(value, type | ModuleType):
            msg = f"give an instance, not the {'class' if isinstance(value, type) else 'module'}"
            raise TypeError(msg)
        if value is not None and not all(callable(getattr(value, name, None)) for name in methods):
            msg = f"give an object with {' and '.join(methods)}(), or None for the global one"
            raise TypeError(msg)

    return check


def _is_one_of(*choices: str) -> Check:
    def check(value: object) -> None:
        if not isinstance(value, str):
            msg = f"give one of {', '.join(map(repr, choices))}"
            raise TypeError(msg)
        if value not in choices:
            msg = f"give one of {', '.join(map(repr, choices))}"
            raise ValueError(msg)

    return check


def _is_carrier(value: object) -> None:
    offers = all(hasattr(value, name) for name in ("set", "get", "keys", "headers"))
    if not isinstance(value, type) or not offers or value is Carrier:
        msg = "give a class with set(), get(), keys() and headers, HeaderCarrier or one of its subclasses, say"
        raise TypeError(msg)


def _is_span_name(value: object) -> None:
    if callable(value):
        _check_function(value, str)
        return
    if not isinstance(value, str):
        msg = "give a template such as '{operation} {destination}', or a function of both"
        raise TypeError(msg)
    try:
        # Formatted here, whatever passes is formatted by each name: an index or a conversion depends on the name.
        plain = all(
            name in (None, "operation", "destination") and not conversion and "{" not in (spec or "")
            for _, name, spec, conversion in Formatter().parse(value)
        )
        named = value.format(operation="send", destination="topic") if plain else None
    except ValueError:
        named = None
    if named is None:
        msg = "use no other fields than {operation} and {destination} in the template"
        raise ValueError(msg)
    if not named.strip():
        msg = "give a template that is not empty"
        raise ValueError(msg)


def _are_header_names(value: object) -> None:
    if (
        isinstance(value, str | bytes)
        or not isinstance(value, Sequence)
        or not all(isinstance(name, str) for name in value)
    ):
        msg = "give a tuple of header names, ('x-tenant', 'x-request-*') say"
        raise TypeError(msg)


def _is_configuration(value: object) -> None:
    if value is not None and not (isinstance(value, Mapping) and all(isinstance(name, str) for name in value)):
        msg = "give the configuration that the client was made with, a dict, or None"
        raise TypeError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options for producers and consumers.

    Args:
        tracer_provider: makes the spans. None for the global one, also if it is set later.
        meter_provider: makes the instruments. None for the global one, also if it is set later.
        propagator: writes and reads the context. None for the global one, also if it is set later.
        carrier: the class through which a propagator accesses the headers of a record.
        span_name: a template of `{operation}` and `{destination}`, or a function of both that returns the name. For
            several topics the destination is an empty string.
        destination_template: a function from a topic to the low-cardinality name that replaces it in span names and
            is recorded as `messaging.destination.template`, or to None; for topics of tenants or runs.
        trace_topic: a function from a topic to whether its records get spans. The context travels in any case.
        capture_key: whether keys are recorded, or a function from a key to the text to record (for example a hash), or
            to None for nothing.
        record_exceptions: False leaves messages and stack traces of exceptions out of spans and of the log lines about
            failures of telemetry. `error.type` and the status are recorded in any case.
        capture_headers: names or wildcards of headers to record as `messaging.header.<name>`.
        pipeline_time: whether to measure the time from the first traced send of a record's pipeline to the end of its
            processing. The time of that send travels as baggage, `otelkafka.origin`, so the propagator must carry
            baggage, as the default one does.
        sample_errors: whether to record a failure that is not sampled: of a send, or of a record's or a batch's
            processing under `process()`, `process_batch()` or a wrapped handler. The sampler must follow its parent.
        sample_limit: the maximum number of spans per second that each client records although they are not sampled,
            for each reason.
        config: the configuration of a client that does not show its own: confluent-kafka's. It names client id, group
            and servers; without it they are left out. What else is in it is not read. Zero code needs no `config`.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument has an invalid value.

    """

    tracer_provider: TracerProvider | None = _checked(None, _offers("get_tracer"))
    meter_provider: MeterProvider | None = _checked(None, _offers("get_meter"))
    propagator: TextMapPropagator | None = _checked(None, _offers("inject", "extract"))
    carrier: type[Carrier] = _checked(HeaderCarrier, _is_carrier)
    span_name: SpanName = _checked("{operation} {destination}", _is_span_name)
    destination_template: Callable[[str], str | None] | None = _checked(None, _is_function(str))
    trace_topic: Callable[[str], bool] | None = _checked(None, _is_function(bool))
    capture_key: KeyFormat = _checked(True, _is_key_format)
    record_exceptions: bool = _checked(True, _is_boolean)
    capture_headers: Sequence[str] = _checked((), _are_header_names)
    pipeline_time: bool = _checked(False, _is_boolean)
    sample_errors: bool = _checked(False, _is_boolean)
    sample_limit: int = _checked(10, _is_count)
    config: Mapping[str, Any] | None = _checked(None, _is_configuration, is_shown=False)

    def __post_init__(self) -> None:
        """Check each field by the check that stands beside it."""
        for each in fields(self):
            value = getattr(self, each.name)
            try:
                each.metadata["check"](value)
            except (TypeError, ValueError) as error:
                msg = f"{type(self).__name__}({each.name}={_shown(value)}): {error}"
                raise type(error)(msg) from None
        object.__setattr__(self, "capture_headers", tuple(self.capture_headers))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerOptions(Options):
    """Options for producers, in addition to those of `Options`.

    Args:
        on_send: called with the span and the `Message` before the record is sent.
        on_ack: called with the span and the `RecordMetadata` when the broker has acknowledged the record, in the
            producer's own thread.
        max_in_flight: the maximum number of spans that wait for an acknowledgement. Further spans end when `send()`
            returns.
    """

    on_send: Callable[[Span, Any], None] | None = _checked(None, _is_function())
    on_ack: Callable[[Span, Any], None] | None = _checked(None, _is_function())
    max_in_flight: int = _checked(100_000, _is_count)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerOptions(Options):
    """Options for consumers, in addition to those of `Options`.

    Args:
        relation: how a process span refers to the context in its record. "parent": as its child. "link": with a link,
            in the trace of the code around it. "both": as its child, with a link.
        process: which records get a process span without a block or handler. "auto": those iterated from the consumer
            or from polled lists. "iterate": those iterated from the consumer. "manual": none, so that only `process()`,
            `process_batch()` and `wrap_handler()` make spans.
        poll_spans: whether a `poll()` that returns records gets a span. A `poll()` that raises always has one.
        commit_spans: whether a commit inside a span gets a span. A commit outside of any span has a metric only.
        rebalance_spans: whether an assignment, a revocation or a loss of partitions gets a span.
        max_links: the maximum number of links of a span. `otelkafka.links.dropped` is the number of links left out.
        on_process: called with the span and the record before the record is processed.
        sample_waits_over: seconds. A record that is not sampled but waited longer is recorded in its own trace, with
            everything that follows. None for never. The sampler must follow its parent.
    """

    relation: Literal["parent", "link", "both"] = _checked("parent", _is_one_of("parent", "link", "both"))
    process: Literal["auto", "iterate", "manual"] = _checked("auto", _is_one_of("auto", "iterate", "manual"))
    poll_spans: bool = _checked(False, _is_boolean)
    commit_spans: bool = _checked(True, _is_boolean)
    rebalance_spans: bool = _checked(True, _is_boolean)
    max_links: int = _checked(128, _is_count)
    on_process: Callable[[Span, Any], None] | None = _checked(None, _is_function())
    sample_waits_over: float | None = _checked(None, _is_duration, float)


def for_producer(options: Options | None) -> ProducerOptions:
    """Return the options of a producer.

    Raises:
        TypeError: `options` are those of a consumer, or none at all.
    """
    checked: ProducerOptions = _for_side(options, ProducerOptions)
    return checked


def for_consumer(options: Options | None) -> ConsumerOptions:
    """Return the options of a consumer.

    Raises:
        TypeError: `options` are those of a producer, or none at all.
    """
    checked: ConsumerOptions = _for_side(options, ConsumerOptions)
    return checked


def for_either(options: Options | None) -> Options:
    """Return options of either side.

    Raises:
        TypeError: `options` are none.
    """
    if options is None or isinstance(options, Options):
        return Options() if options is None else options
    msg = f"options={_kind_of(options)}: give an instance of Options, ProducerOptions or ConsumerOptions"
    raise TypeError(msg)


def _shown(value: object) -> str:
    """Return a plain value, and of anything else its type: it may hold what belongs into no log."""
    return repr(value) if isinstance(value, str | int | float | None) else _kind_of(value)


def _kind_of(value: object) -> str:
    return value.__name__ if isinstance(value, type) else type(value).__name__


def _for_side(options: Options | None, side: type[Any]) -> Any:
    if options is None:
        return side()
    if isinstance(options, side):
        return options
    if type(options) is Options:
        return side(**{each.name: getattr(options, each.name) for each in fields(Options)})
    msg = f"options={_kind_of(options)}: give an instance of {side.__name__}, or of Options, which both accept"
    raise TypeError(msg)
