"""Zero code: the faces' methods in the place of the client classes' own, and options from environment variables."""

import os
from collections.abc import Collection
from dataclasses import fields
from typing import Any

import kafka
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from otelkafka._clients.kafka_python.consumer import ConsumerFace
from otelkafka._clients.kafka_python.producer import ProducerFace
from otelkafka._clients.patch import Patch
from otelkafka._telemetry.guard import warn
from otelkafka.options import ConsumerOptions, ProducerOptions

PREFIX = "OTELKAFKA_"

_TRUTH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_KINDS = (bool, int, float, str, tuple)


class KafkaInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Traces every `KafkaProducer` and `KafkaConsumer` of the process, also those that are there already.

    `instrument()` takes, by keyword, every option of `ProducerOptions` and `ConsumerOptions`, which environment
    variables `OTELKAFKA_<OPTION>` set where it does not; and, with the signatures of
    opentelemetry-instrumentation-kafka-python, `produce_hook(span, args, kwargs)` and
    `consume_hook(span, record, args, kwargs)`. A wrong option raises TypeError or ValueError; a wrong variable is a
    warning, and the default is used.
    """

    _patches: tuple[Patch, ...] = ()

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
                ProducerFace,
                lambda producer: ProducerFace(producer, producing, produce_hook=produce_hook),
            ),
            Patch(kafka.KafkaConsumer, ConsumerFace, lambda consumer: ConsumerFace(consumer, consuming)),
        )
        for patch in self._patches:
            patch.apply()

    def _uninstrument(self, **_: Any) -> None:
        for patch in self._patches:
            patch.remove()
        self._patches = ()


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


def options_from_environment(side: type[Any]) -> dict[str, Any]:
    """Return the options of one side that environment variables set: `OTELKAFKA_RELATION=link`, say.

    A wrong value is a warning that names it, and the default is used: it must not stop an application.

    Args:
        side: `ProducerOptions` or `ConsumerOptions`.
    """
    found = {}
    for each in fields(side):
        variable = PREFIX + each.name.upper()
        text = os.environ.get(variable, "")
        if text and each.metadata["kind"] in _KINDS:
            try:
                value = _parsed(text, each.metadata["kind"])
                side(**{each.name: value})
            except (TypeError, ValueError) as error:
                warn("%s=%r is left out: %s", variable, text, error)
            else:
                found[each.name] = value
    return found


def _parsed(text: str, kind: type) -> Any:
    if kind is bool:
        if text.strip().lower() not in _TRUTH:
            msg = "give true or false"
            raise ValueError(msg)
        return _TRUTH[text.strip().lower()]
    if kind is tuple:
        return tuple(each.strip() for each in text.split(",") if each.strip())
    return kind(text)
