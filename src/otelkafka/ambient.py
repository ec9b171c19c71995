"""The current context, and whether telemetry is suppressed in it."""

from opentelemetry import context as context_api
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

_runtime = getattr(context_api, "_RUNTIME_CONTEXT", None)
_variable = getattr(_runtime, "_current_context", None) if type(_runtime) is ContextVarsRuntimeContext else None
get_current = context_api.get_current if _variable is None else _variable.get
"""OpenTelemetry's `get_current()`; where it keeps the context in a context variable, that one's own."""
attach = context_api.attach if _variable is None else _variable.set
"""OpenTelemetry's `attach()`, likewise."""

_SUPPRESSION_KEYS = tuple(
    key
    for key in ("suppress_instrumentation", getattr(context_api, "_SUPPRESS_INSTRUMENTATION_KEY", None))
    if key is not None
)


def is_suppressed() -> bool:
    """Tell whether OpenTelemetry's `suppress_instrumentation()` is in force here."""
    current = get_current()
    return bool(current) and any([current.get(key) for key in _SUPPRESSION_KEYS])  # noqa: C419 (a list is faster here)
