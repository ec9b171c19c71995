"""The options of one client, resolved into a tracer, instruments and the names of destinations."""

import os
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakMethod

from opentelemetry import propagate, trace
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import INVALID_SPAN, Span, Status, StatusCode

from otelkafka._protocols import Client, NoClient
from otelkafka._telemetry import attributes, clock, exceptions, scope, semconv
from otelkafka._telemetry.api import METER_PROVIDER, METRICS, PROVIDER, TRACE
from otelkafka._telemetry.attributes import Attributes
from otelkafka._telemetry.destination import MOST_KEPT, Destinations
from otelkafka._telemetry.guard import Guard
from otelkafka._telemetry.metrics import Instruments, instruments_of
from otelkafka.options import Options

_REFRESH_EVERY = 100 * clock.MILLISECOND


LOGGED_OF_UNKNOWN: Final[set[tuple[str, str]]] = set()
"""The kinds of failure that were logged of calls whose options cannot be hashed: each call may have its own."""


class Telemetry:
    """The options of one client, resolved to tracer, propagator, instruments and destinations.

    Args:
        options: the options of a client, or of a call without a client.
        client: the facts about the client; None if it is not known.
        logged: the kinds of failure that were logged before; None for none.

    Attributes:
        guard: contains exceptions of telemetry.
        old_names: whether the attributes of the older conventions are set, too.
        instruments: those of the meter provider; None while nothing reads metrics.
        destinations: the destinations by topic.
        tracer: the tracer of the tracer provider.
        refreshed: when `refresh()` last did something, Unix time in nanoseconds.
        refresh_at: when it will do so again, Unix time in nanoseconds. It also does so after the clock was set back.
        global_tracer_provider: the API's private global that `tracer` belongs to, if the options have no provider.
        global_meter_provider: the same for `instruments`.
    """

    def __init__(
        self, options: Options, client: Client | None = None, logged: set[tuple[str, str]] | None = None
    ) -> None:
        self.options = options
        self.client: Client = NoClient() if client is None else client
        self.guard = Guard(self._count_failure, logged, logs_messages=options.record_exceptions)
        self.instruments: Instruments | None = None
        self._watching: list[WeakMethod[Callable[[Instruments], None]]] = []
        self._refreshing: list[WeakMethod[Callable[[], None]]] = []
        self.refreshed = self.refresh_at = 0
        self.global_tracer_provider = TRACE.get(PROVIDER)
        self.global_meter_provider = METRICS.get(METER_PROVIDER)
        opted_in = os.environ.get(semconv.STABILITY_OPT_IN, "").split(",")
        self.old_names = semconv.STABILITY_DUP in map(str.strip, opted_in)
        self.destinations = Destinations(options, self.guard)
        self._names: dict[tuple[str, str], str] = {}
        self.refresh(0)
        self.tracer = self.guard.call("get_tracer", trace.NoOpTracer(), self._get_tracer)

    def _get_tracer(self) -> trace.Tracer:
        tracer = trace.get_tracer(scope.NAME, scope.VERSION, self.options.tracer_provider, semconv.SCHEMA_URL)
        if not callable(getattr(tracer, "start_span", None)):
            msg = f"returned {type(tracer).__name__}: return a Tracer"
            raise TypeError(msg)
        return tracer

    def now(self) -> int:
        """Return the Unix time in nanoseconds; 0 if the clock fails."""
        return self.guard.call("time_ns", 0, _now)

    def not_before(self, start: int, now: int) -> int:
        """Return the present time, or `start` if the clock was set back since."""
        return self.guard.call("time_ns", now, max, start, now)

    def refresh(self, now: int) -> None:
        """Read the meter provider, and whatever else may have changed, at most ten times a second.

        Doing this for each record would cost too much. A global provider that was replaced, for example between tests,
        is used at once.

        Args:
            now: Unix time in nanoseconds.
        """
        if (
            self.refreshed <= now < self.refresh_at
            and TRACE.get(PROVIDER) is self.global_tracer_provider
            and METRICS.get(METER_PROVIDER) is self.global_meter_provider
        ):
            return
        self.refreshed, self.refresh_at = now, now + _REFRESH_EVERY
        self._follow_globals()
        for reference in self._refreshing:
            refresh = reference()
            if refresh is not None:
                refresh()
        if self.instruments is None:
            self.instruments = self.guard.call("get_meter", None, instruments_of, self.options.meter_provider)
            for watching in self._watching:
                self._watch(watching)

    def _follow_globals(self) -> None:
        tracer_provider, meter_provider = TRACE.get(PROVIDER), METRICS.get(METER_PROVIDER)
        if tracer_provider is not self.global_tracer_provider:
            self.global_tracer_provider = tracer_provider
            if self.options.tracer_provider is None:
                self.tracer = self.guard.call("get_tracer", trace.NoOpTracer(), self._get_tracer)
        if meter_provider is not self.global_meter_provider:
            self.global_meter_provider = meter_provider
            if self.options.meter_provider is None:
                self.instruments = None

    def on_refresh(self, refresh: Callable[[], None]) -> None:
        """Call a bound method, which is held weakly, now and at each refresh."""
        self._refreshing.append(WeakMethod(refresh))
        refresh()

    def on_instruments(self, begin: Callable[[Instruments], None]) -> None:
        """Call a bound method, which is held weakly, when there are instruments, and when they are replaced."""
        watching = WeakMethod(begin)
        self._watching.append(watching)
        self._watch(watching)

    def _watch(self, watching: WeakMethod[Callable[[Instruments], None]]) -> None:
        begin = watching()
        if begin is not None and self.instruments is not None:
            self.guard.call("get_meter", None, begin, self.instruments)

    def _count_failure(self, name: str, error: Exception) -> None:
        if self.instruments is not None:
            self.instruments.errors.of({semconv.CALL: name, **self.error_attributes(error)}).add()

    def drop(self, reason: str, count: int = 1) -> None:
        """Count telemetry that is left out on purpose."""
        if count and self.instruments is not None:
            self.instruments.drop(reason, count)

    @property
    def may_record(self) -> bool:
        """Whether spans may be recorded. The API's own tracer providers record none."""
        provider = self.options.tracer_provider or trace.get_tracer_provider()
        return not type(provider).__module__.startswith(trace.__name__)

    @property
    def propagator(self) -> TextMapPropagator:
        """The propagator of the options, or else the present global one."""
        return self.options.propagator or propagate.get_global_textmap()

    def span_name(self, operation: str, destination: str) -> str:
        """Return the name of a span. `destination` is empty if there are several."""
        name = self._names.get((operation, destination))
        if name is None:
            name = attributes.encodable(self._name(operation, destination))
            if len(self._names) >= MOST_KEPT:
                self._names.clear()
            self._names[operation, destination] = name
        return name

    def _name(self, operation: str, destination: str) -> str:
        plain, template = f"{operation} {destination}".strip(), self.options.span_name
        if isinstance(template, str):
            return template.format(operation=operation, destination=destination).strip() or plain
        name = self.guard.call("span_name", plain, template, operation, destination)
        if isinstance(name, str) and name:
            return name
        self.guard.contain("span_name", TypeError(f"returned {type(name).__name__}: return a str, not an empty one"))
        return plain

    def set_attributes(self, span: Span, make: Callable[[], Attributes]) -> None:
        """Set the attributes that `make` returns on a recording span. For other spans `make` is not called."""
        try:
            if span.is_recording():
                span.set_attributes(make())
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            self.guard.contain("set_attributes", error)

    def end_span(self, span: Span, error: BaseException | None = None, end_time: int | None = None) -> None:
        """End a span. Its status stays unset after success, and is ERROR after an error."""
        if span is INVALID_SPAN:
            return
        try:
            if error is not None:
                self.record_exception(span, error)
        finally:
            try:
                span.end(end_time)
            except Exception as failure:  # noqa: BLE001 (likewise)
                self.guard.contain("end_span", failure)

    def record_exception(self, span: Span, error: BaseException) -> None:
        """Record an error on a span, without ending it."""
        self.guard.call("record_exception", None, self._record_exception, span, error)

    def _record_exception(self, span: Span, error: BaseException) -> None:
        if not span.is_recording():
            return
        span.set_attributes(self.error_attributes(error))
        if not self.options.record_exceptions:
            span.set_status(Status(StatusCode.ERROR))
            return
        if exceptions.is_plain(error):
            span.set_status(Status(StatusCode.ERROR, str(error)))
            span.record_exception(error)
        else:
            span.set_status(Status(StatusCode.ERROR, exceptions.message_of(error)))
            span.add_event("exception", exceptions.attributes_of(error))

    def error_attributes(self, error: BaseException) -> Attributes:
        """Return the attribute `error.type` of an error."""
        return attributes.of_error(error, self.client)

    def key_attributes(self, key: object) -> Attributes:
        """Return the key attribute of a record, as the options ask for it."""
        try:
            return attributes.of_key(key, self.options.capture_key)
        except Exception as error:  # noqa: BLE001 (likewise)
            self.guard.contain("capture_key", error)
            return {}

    def describe_record(self, found: Attributes, record: Any, highwater: int | None = None) -> None:
        """Add the attributes of one consumed record, for its span or for a link.

        Args:
            found: the attributes, to which those of the record are added.
            record: the record.
            highwater: the end of the partition when the record was returned; None if it is not known.
        """
        key, offset = record.key, record.offset
        if key is not None:
            if type(key) is bytes and self.options.capture_key is True and key.isascii():  # as `of_key()`, in no call
                found[semconv.MESSAGING_KAFKA_MESSAGE_KEY] = key.decode()
            else:
                found.update(self.key_attributes(key))
        if offset is not None and offset >= 0:
            found[semconv.MESSAGING_KAFKA_OFFSET] = offset
        size = getattr(record, "serialized_value_size", None)  # -1 for none, whatever a deserializer returned for it
        if size == -1 if isinstance(size, int) else record.value is None:
            found[semconv.MESSAGING_KAFKA_MESSAGE_TOMBSTONE] = True
        if highwater is not None:
            found[semconv.CONSUMER_LAG] = max(0, highwater - offset - 1)

    def header_attributes(self, headers: object) -> Attributes:
        """Return the headers that the options ask for."""
        wanted = self.options.capture_headers
        return self.guard.call("capture_headers", {}, attributes.of_headers, headers, wanted) if wanted else {}

    def call_hook(self, name: str, hook: Callable[[Span, Any], None] | None, span: Span, argument: object) -> None:
        """Call a hook of the user, if there is one."""
        if hook is not None:
            self.guard.call(name, None, hook, span, argument)


def _now() -> int:
    now = clock.now()
    if not isinstance(now, int):
        msg = f"returned {type(now).__name__}: return an int"
        raise TypeError(msg)
    return now
