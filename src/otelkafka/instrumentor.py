"""Tracing without a change of code: the engines behind the wrappers, behind patched classes of kafka-python."""

import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import fields
from functools import wraps
from typing import Any
from weakref import finalize

import kafka
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from otelkafka.consumption import Consumption
from otelkafka.environment import options_from_environment
from otelkafka.options import ConsumerOptions, ProducerOptions
from otelkafka.passage import MARK, is_inside, is_neighbours, through, without_neighbour
from otelkafka.sending import Sending

_logger = logging.getLogger("otelkafka")

_MISSING = object()

_CALLED = "poll"
"""The one traced method that a client calls itself, in `__next__`; listeners and serializers may call any other."""


class KafkaInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Traces every `KafkaProducer` and `KafkaConsumer` of the process, also those that are there already.

    `instrument()` takes, by keyword, every option of `ProducerOptions` and `ConsumerOptions`, which environment
    variables `OTELKAFKA_<OPTION>` set where it does not; and, with the signatures of
    opentelemetry-instrumentation-kafka-python, `produce_hook(span, args, kwargs)` and
    `consume_hook(span, record, args, kwargs)`. A wrong option raises TypeError or ValueError; a wrong variable is a
    warning, and the default is used.
    """

    _patches: tuple["Patch", ...] = ()

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return what this can instrument."""
        return ("kafka-python >= 2.0.3, < 4",)

    def _instrument(self, **kwargs: Any) -> None:
        produce_hook, consume_hook = kwargs.pop("produce_hook", None), kwargs.pop("consume_hook", None)
        if consume_hook is not None and kwargs.get("on_process") is None:
            kwargs["on_process"] = lambda span, record: consume_hook(span, record, (), {})
        producing, consuming = _options(ProducerOptions, kwargs), _options(ConsumerOptions, kwargs)
        _refuse_unknown(kwargs)
        self._patches = (
            Patch(
                kafka.KafkaProducer,
                Sending.METHODS,
                lambda producer: Sending(producer, producing, produce_hook=produce_hook),
            ),
            Patch(kafka.KafkaConsumer, Consumption.METHODS, lambda consumer: Consumption(consumer, consuming)),
        )
        for patch in self._patches:
            patch.apply()

    def _uninstrument(self, **_: Any) -> None:
        for patch in self._patches:
            patch.remove()
        self._patches = ()


class Patch:
    """The traced methods of one class.

    Args:
        patched: the class.
        names: of its methods; those that this release lacks are left out.
        make_engine: makes what traces one of its instances.
    """

    def __init__(self, patched: type, names: Collection[str], make_engine: Callable[[Any], Any]) -> None:
        self._class = patched
        self._names = [name for name in names if hasattr(patched, name)]
        self._make_engine = make_engine
        self._engines: dict[int, Any] = {}  # by the id of a client that lives
        self._lock = threading.RLock()  # garbage that is collected here may close another client
        self._before: dict[str, Any] = {}
        self._mine: dict[str, Any] = {}
        self._warned = False

    def apply(self) -> None:
        """Put the traced methods in the place of the class's own."""
        for name in self._names:
            self._before[name] = self._class.__dict__.get(name, _MISSING)
            self._mine[name] = self._traced(name, getattr(self._class, name))
            setattr(self._class, name, self._mine[name])

    def remove(self) -> None:
        """Leave the class as it was; what somebody else has put over ours stays, and finds it idle."""
        mine, self._mine = self._mine, {}
        for name, before in self._before.items():
            present: Any = self._class.__dict__.get(name)
            if is_neighbours(present) and present.__wrapped__ is mine[name]:
                present.__wrapped__ = mine[name].__wrapped__
            if present is not mine[name]:
                continue
            if before is _MISSING:
                delattr(self._class, name)
            else:
                setattr(self._class, name, before)
        for engine in list(self._engines.values()):
            engine.stop()
        self._engines.clear()

    def engine_of(self, client: Any) -> Any:
        """Return what traces a client, from its first call on."""
        found = self._engines.get(id(client))
        if found is None:
            with self._lock:
                found = self._engines.get(id(client))
                if found is None:
                    found = self._make_engine(client)
                    finalize(client, self._engines.pop, id(client), None).atexit = False
                    self._engines[id(client)] = found
        return found

    def _traced(self, name: str, own: Any) -> Any:
        original = without_neighbour(own)
        if original is not own:
            self._warn()

        @wraps(original)
        def traced(client: Any, *args: Any, **kwargs: Any) -> Any:
            if (name == _CALLED and is_inside(client)) or not self._is_ours(name):
                return original(client, *args, **kwargs)
            try:
                engine = self.engine_of(client)
            except Exception:  # noqa: BLE001 (whatever this client is, its call goes on)
                engine = None
            if engine is None:  # and out here, so that what it raises has no other error as its context
                return original(client, *args, **kwargs)
            return engine.METHODS[name](engine, client, through(client, original), args, kwargs)

        setattr(traced, MARK, self)
        return traced

    def _is_ours(self, name: str) -> bool:
        """Tell whether to trace: not after removal, and not inside the other instrumentation, which is put aside."""
        mine = self._mine.get(name)
        if mine is None:
            return False
        present = self._class.__dict__.get(name)
        if present is mine or not is_neighbours(present):
            return True
        setattr(self._class, name, mine)
        self._warn()
        return False

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            _logger.warning(
                "otelkafka and opentelemetry-instrumentation-kafka-python both instrument %s: otelkafka traces. To "
                "choose, set OTEL_PYTHON_DISABLED_INSTRUMENTATIONS to kafka, or to otelkafka.",
                self._class.__name__,
            )


def _options(side: type[Any], given: dict[str, Any]) -> Any:
    """Return the options of one side: of those given, of the environment, or the defaults."""
    known = {each.name for each in fields(side)}
    return side(**{**options_from_environment(side), **{name: given[name] for name in given if name in known}})


def _refuse_unknown(given: dict[str, Any]) -> None:
    known = {each.name for side in (ProducerOptions, ConsumerOptions) for each in fields(side)}
    unknown = sorted(set(given) - known)
    if unknown:
        choices = ", ".join(("produce_hook", "consume_hook", *sorted(known)))
        msg = f"instrument({', '.join(unknown)}=...): give one of {choices}"
        raise TypeError(msg)
