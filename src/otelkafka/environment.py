"""Options from environment variables, for services whose code is not touched."""

import logging
import os
from dataclasses import fields
from typing import Any

PREFIX = "OTELKAFKA_"

_TRUTH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_KINDS = (bool, int, float, str, tuple)
_logger = logging.getLogger("otelkafka")


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
                _logger.warning("%s=%r is left out: %s", variable, text, error)
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
