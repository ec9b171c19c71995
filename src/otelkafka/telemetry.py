"""Options resolved into tracer, propagator, instruments and the names of destinations."""

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from time import time_ns
from typing import Any, Final
from weakref import WeakMethod

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind, Status, StatusCode

from otelkafka import attributes, semconv
from otelkafka.attributes import Attributes
from otelkafka.destination import MOST_KEPT, Destinations
from otelkafka.guard import Guard
from otelkafka.metrics import Instruments, instruments_of
from otelkafka.options import Options
from otelkafka.origins import WithOrigins
from otelkafka.rules import Rules
from otelkafka.shortcuts import rules_of
from otelkafka.w3c import carries_baggage

_LOOK_EVERY = 100_000_000


def _version() -> str:
    try:
        return version("otelkafka")
    except PackageNotFoundError:  # the source is on the path without being installed
        return "0"


VERSION: Final = _version()


class Telemetry:
    """Options, resolved.

    Args:
        options: of a client, or of calls without one.

    Attributes:
        old_names: whether the attributes of before the current conventions are told, too.
        instruments: of the meter provider; None as long as nobody listens.
        destinations: what the options say of topics.
        rules: what is certain of sampling and propagation as long as they `hold()`; None where nothing is.
        looked: when it was last asked about what may have changed; a Unix time in nanoseconds, like the next.
        look_at: when to `look()` again, also where the clock was set back before `looked`.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.guard = Guard(self._count_failure, tells=options.record_exceptions)
        self.instruments: Instruments | None = None
        self._waiting: list[WeakMethod[Callable[[Instruments], None]]] = []
        self.rules: Rules | None = None
        self.looked = self.look_at = 0
        opted_in = os.environ.get(semconv.STABILITY_OPT_IN, "").split(",")
        self.old_names = semconv.STABILITY_DUP in map(str.strip, opted_in)
        self.destinations = Destinations(options, self.guard)
        self._names: dict[tuple[str, str], str] = {}
        self.look(0)
        self._tracer = self.guard.call("get_tracer", trace.NoOpTracer(), self._get_tracer)

    def _get_tracer(self) -> trace.Tracer:
        tracer = trace.get_tracer("otelkafka", VERSION, self.options.tracer_provider, semconv.SCHEMA_URL)
        if not callable(getattr(tracer, "start_span", None)):
            msg = f"returned {type(tracer).__name__}: return a Tracer"
            raise TypeError(msg)
        return tracer

    def now(self) -> int:
        """Return the Unix time in nanoseconds; 0 where the clock fails."""
        return self.guard.call("time_ns", 0, _now)

    def not_before(self, start: int, now: int) -> int:
        """Return `now`, or `start` where the clock has been set back since."""
        return self.guard.call("time_ns", now, max, start, now)

    def look(self, now: int) -> None:
        """Look, now and then, for a meter provider that has come, and for what is certain of sampling.

        To ask for each record would cost more than the record.

        Args:
            now: Unix time in nanoseconds.
        """
        if self.looked <= now < self.look_at:
            return
        self.looked, self.look_at = now, now + _LOOK_EVERY
        self.rules = self.guard.call("rules", None, self._get_rules)
        if self.instruments is None:
            self.instruments = self.guard.call("get_meter", None, self._get_instruments)
            self._tell_waiting()

    def when_heard(self, begin: Callable[[Instruments], None]) -> None:
        """Call a method as soon as somebody listens; it is held weakly."""
        self._waiting.append(WeakMethod(begin))
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        while self.instruments is not None and self._waiting:
            begin = self._waiting.pop()()
            if begin is not None:
                self.guard.call("get_meter", None, begin, self.instruments)

    def _get_rules(self) -> Rules | None:
        rules = rules_of(self.options, "otelkafka", VERSION, semconv.SCHEMA_URL)
        if rules is None or not self.options.pipeline_time:
            return rules
        return WithOrigins(rules, carried=carries_baggage(self.propagator))

    def _get_instruments(self) -> Instruments | None:
        return instruments_of(self.options.meter_provider, "otelkafka", VERSION)

    def _count_failure(self, name: str, error: Exception) -> None:
        if self.instruments is not None:
            told = {semconv.CALL: name, **attributes.of_error(error)}
            self.instruments.errors.of(told).add()

    @property
    def is_w3c(self) -> bool:
        """Whether contexts are certain to travel in the W3C's format."""
        return self.rules is not None and self.rules.hold()

    def apart(self, headers: Any) -> tuple[Any, int | None]:
        """Return headers without the origin of a pipeline, where that is all their baggage; and that origin."""
        rules = self.rules
        return rules.apart(headers) if isinstance(rules, WithOrigins) and rules.hold() else (headers, None)

    def drop(self, reason: str, count: int = 1) -> None:
        """Count what is left out on purpose."""
        if count and self.instruments is not None:
            self.instruments.drop(reason, count)

    @property
    def propagator(self) -> TextMapPropagator:
        """The propagator of the options, else the global one of this moment."""
        return self.options.propagator or propagate.get_global_textmap()

    def span_name(self, operation: str, destination: str) -> str:
        """Return the name of a span; `destination` is empty where there is no one destination."""
        name = self._names.get((operation, destination))
        if name is None:
            name = self._name(operation, destination)
            if len(self._names) >= MOST_KEPT:
                self._names.clear()
            self._names[operation, destination] = name
        return name

    def _name(self, operation: str, destination: str) -> str:
        plain, template = f"{operation} {destination}".strip(), self.options.span_name
        if isinstance(template, str):
            return template.format(operation=operation, destination=destination).strip()
        name = self.guard.call("span_name", plain, template, operation, destination)
        if isinstance(name, str) and name:
            return name
        self.guard.contain("span_name", TypeError(f"returned {type(name).__name__}: return a str, not an empty one"))
        return plain

    def start_span(
        self,
        name: str,
        kind: SpanKind,
        context: Context,
        told: Attributes,
        links: Sequence[Link] = (),
        start_time: int | None = None,
        tracer: trace.Tracer | None = None,
    ) -> Span | None:
        """Start a span; None where the provider failed."""
        arguments = (name, context, kind, told, links, start_time)
        return self.guard.call("start_span", None, _start, tracer or self._tracer, context, arguments)

    def tell(self, span: Span, told: Callable[[], Attributes]) -> None:
        """Set on a recording span what `told` returns; for others it is not even called."""
        try:
            if span.is_recording():
                span.set_attributes(told())
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            self.guard.contain("set_attributes", error)

    def end_span(self, span: Span, error: BaseException | None = None, end_time: int | None = None) -> None:
        """End a span: its status is unset after success, else the error."""
        if span is INVALID_SPAN:
            return
        if error is not None:
            self.fail_span(span, error)
        self.guard.call("end_span", None, span.end, end_time)

    def fail_span(self, span: Span, error: BaseException) -> None:
        """Record an error on a span, which goes on."""
        self.guard.call("record_exception", None, self._fail, span, error)

    def _fail(self, span: Span, error: BaseException) -> None:
        if not span.is_recording():
            return
        span.set_attributes(attributes.of_error(error))
        told = self.options.record_exceptions
        span.set_status(Status(StatusCode.ERROR, str(error) if told else None))
        if told:
            span.record_exception(error)

    def key_attributes(self, key: object) -> Attributes:
        """Return the key of a record, in the form that the options want."""
        return self.guard.call("capture_key", {}, attributes.of_key, key, self.options.capture_key)

    def header_attributes(self, headers: object) -> Attributes:
        """Return the headers that the options ask for."""
        wanted = self.options.capture_headers
        return self.guard.call("capture_headers", {}, attributes.of_headers, headers, wanted) if wanted else {}

    def call_hook(self, name: str, hook: Callable[[Span, Any], None] | None, span: Span, argument: object) -> None:
        """Call a hook of the user's, if there is one."""
        if hook is not None:
            self.guard.call(name, None, hook, span, argument)


def shared_telemetry(options: Options) -> Telemetry:
    """Return the telemetry for calls without a client."""
    try:
        return _cached_telemetry(options)
    except TypeError:  # a propagator or provider of the user's that cannot be hashed
        return Telemetry(options)


@lru_cache(maxsize=64)
def _cached_telemetry(options: Options) -> Telemetry:
    return Telemetry(options)


def _now() -> int:
    now = time_ns()
    if not isinstance(now, int):
        msg = f"returned {type(now).__name__}: return an int"
        raise TypeError(msg)
    return now


def _start(tracer: trace.Tracer, context: Context, arguments: Any) -> Span:
    span = tracer.start_span(*arguments)
    if not isinstance(span, Span):
        msg = f"returned {type(span).__name__}: return a Span"
        raise TypeError(msg)
    try:
        span.is_recording()  # what a span must be able to say; later on nobody is there to contain its failure
        return span if span.get_span_context().is_valid else _stand_in(context)
    except Exception:
        span.end()
        raise


def _stand_in(context: Context) -> Span:
    """Return what carries the parent's context on where there is no SDK, which the oldest API does not do itself."""
    return trace.NonRecordingSpan(trace.get_current_span(context).get_span_context())
