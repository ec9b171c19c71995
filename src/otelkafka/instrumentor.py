"""Zero code: patches of the client's classes, and options from environment variables."""

import os
import sys
from collections.abc import Callable, Collection
from dataclasses import fields, replace
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import wrapt
from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.trace import Span

from otelkafka._clients.faces import wrap_consumer, wrap_producer
from otelkafka._context.current import attach, get_current, reset
from otelkafka._context.propagation import merge, shared_contexts
from otelkafka._protocols import record_of
from otelkafka._telemetry.guard import warn
from otelkafka.options import ConsumerOptions, ProducerOptions

PREFIX = "OTELKAFKA_"
ELSEWHERE = frozenset(
    PREFIX + name
    for name in (
        "BROKER",
        "CACHE",
        "DEMO_TOOLS",
        "FACE",
        "INTEROP_TOOLS",
        "MAVEN_REPOSITORY",
        "PYTEST",
        "SCENARIOS",
        "WALKS",
    )
)
"""Variables of the project's own tests and tools."""

_NOT_OURS = ("event_logger_provider", "logger_provider", "raise_exception_on_conflict", "skip_dep_check")
"""What programs give to every instrumentor alike, and does not concern this one."""

_TRUTH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_KINDS = (bool, int, float, str, tuple)


class _Instrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Traces every client of one library, from the moment that the application imports it.

    Attributes:
        library: the package of the library.
        face: the package of its face.
        distribution: the requirement of the library that can be instrumented.
        hooks: the names of the hooks of producers and consumers, as in contrib's instrumentation.
        ignored: arguments that contrib's instrumentation takes, but does not use.
    """

    library: str
    face: str
    distribution: str
    hooks: tuple[str, str]
    ignored: tuple[str, ...] = ()
    _patching: "_Patching | None" = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the requirements of the libraries that this can instrument."""
        return (self.distribution,)

    def _instrument(self, **kwargs: Any) -> None:
        for name in (*_NOT_OURS, *self.ignored):
            kwargs.pop(name, None)
        produce_hook, consume_hook = (_hook(name, kwargs.pop(name, None)) for name in self.hooks)
        producing, consuming = _options(ProducerOptions, kwargs), _options(ConsumerOptions, kwargs)
        _refuse_unknown(self.hooks, kwargs)
        warn_of_variables()
        if consume_hook is not None:
            consume_hook = self._called(consume_hook)
            consuming = replace(consuming, on_process=_calling(consume_hook, consuming))
        self._patching = _Patching(self, producing, consuming, produce_hook, consume_hook)
        if self.library in sys.modules:
            import_module(self.library)  # another thread may be importing it
            self._patching.apply()
        else:
            wrapt.register_post_import_hook(self._patching.apply_contained, self.library)

    def _called(self, consume_hook: Any) -> Any:
        """Return the function to call for a consumer's hook."""
        return consume_hook

    def _uninstrument(self, **_: Any) -> None:
        if self._patching is not None:
            self._patching.remove()
        self._patching = None


class KafkaInstrumentor(_Instrumentor):
    """Traces every `KafkaProducer` and `KafkaConsumer` of the process, also those that exist already.

    If the application has not imported `kafka` yet, the classes are patched when it does.

    `instrument()` takes each option of `ProducerOptions` and `ConsumerOptions` by keyword. Environment variables
    `OTELKAFKA_<OPTION>` set those that it does not get. It also takes the hooks of
    opentelemetry-instrumentation-kafka-python: `produce_hook(span, args, kwargs)` and
    `consume_hook(span, record, args, kwargs)`. The span is current in both. `kwargs["headers"]` is the list that is
    sent, with the context in it, and changes of `kwargs` are sent. Arguments for other instrumentors, such as
    `logger_provider`, are ignored. A wrong option raises TypeError or ValueError. A wrong variable causes a warning,
    and the default is used.
    """

    library = "kafka"
    face = "kafka_python"
    distribution = "kafka-python >= 2.0.3, < 4"
    hooks = ("produce_hook", "consume_hook")


class AIOKafkaInstrumentor(_Instrumentor):
    """Traces every `AIOKafkaProducer` and `AIOKafkaConsumer` of the process, also those that exist already.

    As `KafkaInstrumentor`, for aiokafka. It takes the hooks of opentelemetry-instrumentation-aiokafka:
    `async_produce_hook(span, args, kwargs)` and `async_consume_hook(span, record, args, kwargs)`, async or not.
    `kwargs["headers"]` is the list that is sent, also if `send()` got it by position. A consumer's hook is awaited
    before `getone()` returns, or before the body of an `async for` begins. For a record in a list of `getmany()`, or in
    a block, the hook runs when its span begins, and must not wait.
    """

    library = "aiokafka"
    face = "aiokafka"
    distribution = "aiokafka >= 0.10, < 1"
    hooks = ("async_produce_hook", "async_consume_hook")

    def _called(self, consume_hook: Any) -> Any:
        from otelkafka._clients.aiokafka.hooks import AwaitedConsumeHook  # noqa: PLC0415 (of the one face alone)

        return AwaitedConsumeHook(consume_hook)


class ConfluentKafkaInstrumentor(_Instrumentor):
    """Traces every `Producer` and `Consumer` of confluent-kafka that the process makes from now on.

    The classes are C types that cannot be patched. A subclass takes the place of each name, in `confluent_kafka` and in
    each module that has imported it, and `isinstance` holds with the old class and with the new. Python subclasses,
    `SerializingProducer` and `DeserializingConsumer` for example, are patched; of these, clients that exist already
    are traced, too.

    As `KafkaInstrumentor`, for confluent-kafka. The hooks get the arguments of `produce()` and the client's `Message`.
    `instrument_producer()` and `instrument_consumer()` wrap one client, as those of
    opentelemetry-instrumentation-confluent-kafka do.
    """

    library = "confluent_kafka"
    face = "confluent_kafka"
    distribution = "confluent-kafka >= 2.6, < 3"
    hooks = ("produce_hook", "consume_hook")
    ignored = ("instrument_producer", "instrument_consumer")

    @staticmethod
    def instrument_producer(producer: Any, tracer_provider: Any = None) -> Any:
        """Trace one producer: `otelkafka.wrap_producer()`."""
        return wrap_producer(producer, ProducerOptions(tracer_provider=tracer_provider))

    @staticmethod
    def instrument_consumer(consumer: Any, tracer_provider: Any = None) -> Any:
        """Trace one consumer: `otelkafka.wrap_consumer()`."""
        return wrap_consumer(consumer, ConsumerOptions(tracer_provider=tracer_provider))

    @staticmethod
    def uninstrument_producer(producer: Any) -> Any:
        """Return the producer without its wrapper."""
        return getattr(producer, "__wrapped__", producer)

    @staticmethod
    def uninstrument_consumer(consumer: Any) -> Any:
        """Return the consumer without its wrapper. Its open span ends."""
        if hasattr(consumer, "__wrapped__"):
            consumer._self_face.stop()
        return getattr(consumer, "__wrapped__", consumer)


class _Patching:
    """The patches of the classes of a client library, from the moment that the classes exist.

    Args:
        instrumentor: the instrumentor of the library.
        arguments: the arguments of the `patches()` of its face.
    """

    def __init__(self, instrumentor: _Instrumentor, *arguments: Any) -> None:
        self._instrumentor = instrumentor
        self._arguments = arguments
        self._patches: tuple[Any, ...] = ()
        self._is_removed = False

    def apply(self) -> None:
        """Patch the classes."""
        module = import_module(f"otelkafka._clients.{self._instrumentor.face}.patches")  # it imports the library
        self._patches = module.patches(*self._arguments)
        for patch in self._patches:
            patch.apply()

    def apply_contained(self, _: object) -> None:
        """Patch the classes, unless they were restored since. Whatever happens, the application's import succeeds."""
        if self._is_removed:
            return
        try:
            self.apply()
        except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
            name = self._instrumentor.distribution.partition(" ")[0]
            warn("%s was imported, but cannot be traced", name, error=error)

    def remove(self) -> None:
        """Restore the classes. Classes that are imported later are not patched."""
        self._is_removed = True
        for patch in self._patches:
            patch.remove()
        self._patches = ()


def _hook(name: str, hook: Any) -> Any:
    if hook is not None and not callable(hook):
        msg = f"instrument({name}={type(hook).__name__}): give a function, or None for none"
        raise TypeError(msg)
    return hook


def _calling(consume_hook: Callable[..., Any], options: ConsumerOptions) -> Callable[[Span, Any], None]:
    """Return an `on_process` that calls the one of the options, then the hook, inside the span, with its baggage."""
    contexts = shared_contexts(options)

    def on_process(span: Span, record: Any) -> None:
        try:
            if options.on_process is not None:
                options.on_process(span, record)
        finally:
            carried = merge(contexts.read(record_of(record).headers, again=True), under=get_current())
            token = attach(trace.set_span_in_context(span, carried))
            try:
                consume_hook(span, record, (), {})
            finally:
                reset(token)

    return on_process


def _options(side: type[Any], given: dict[str, Any]) -> Any:
    """Return the options of one side: those given, those of the environment, or the defaults."""
    known = {each.name for each in fields(side)}
    return side(**{**options_from_environment(side), **{name: given[name] for name in given if name in known}})


def _refuse_unknown(hooks: tuple[str, str], given: dict[str, Any]) -> None:
    known = {each.name for side in (ProducerOptions, ConsumerOptions) for each in fields(side)}
    unknown = sorted(set(given) - known)
    if unknown:
        choices = ", ".join((*hooks, *sorted(known)))
        msg = f"instrument({', '.join(unknown)}=...): give one of {choices}"
        raise TypeError(msg)


def options_from_environment(side: type[Any]) -> dict[str, Any]:
    """Return the options of one side that environment variables set, such as `OTELKAFKA_RELATION=link`.

    A wrong value is ignored; `warn_of_variables()` reports it.

    Args:
        side: `ProducerOptions` or `ConsumerOptions`.
    """
    return _read_environment(side)[0]


def _read_environment(side: type[Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the options that environment variables set, and the errors of wrong variables, by name."""
    found, wrong = {}, {}
    for each in fields(side):
        variable = PREFIX + each.name.upper()
        text = os.environ.get(variable, "")
        if not text:
            continue
        if each.metadata["kind"] not in _KINDS:
            wrong[variable] = f" is ignored: it takes a Python object; use instrument({each.name}=...)"
            continue
        try:
            value = _parsed(text, each.metadata["kind"])
            side(**{each.name: value})
        except (TypeError, ValueError) as error:
            wrong[variable] = f"={text!r} is ignored: {error}"
        else:
            found[each.name] = value
    return found, wrong


def warn_of_variables() -> None:
    """Warn of environment variables with a wrong value or a wrong name. The defaults are used.

    Neither must stop an application.
    """
    wrong = {**_read_environment(ProducerOptions)[1], **_read_environment(ConsumerOptions)[1]}
    options = {each.name.upper(): each for side in (ProducerOptions, ConsumerOptions) for each in fields(side)}
    settable = [name for name, each in options.items() if each.metadata["kind"] in _KINDS]
    for variable in os.environ:
        name = variable.removeprefix(PREFIX)
        if variable.startswith(PREFIX) and name not in options and variable not in ELSEWHERE:
            near = get_close_matches(name, settable, 1)
            wrong[variable] = " is no option, and is ignored" + (f": {PREFIX}{near[0]} is one" if near else "")
    for variable in sorted(wrong):
        warn("%s%s", variable, wrong[variable])


def _parsed(text: str, kind: type) -> Any:
    if kind is bool:
        if text.strip().lower() not in _TRUTH:
            msg = "give true or false"
            raise ValueError(msg)
        return _TRUTH[text.strip().lower()]
    if kind is tuple:
        return tuple(each.strip() for each in text.split(",") if each.strip())
    try:
        return kind(text)
    except ValueError:
        msg = "give a whole number" if kind is int else "give a number"
        raise ValueError(msg) from None
