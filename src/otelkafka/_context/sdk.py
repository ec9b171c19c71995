"""Private facts of OpenTelemetry's API and SDK, except metrics and the globals of the API.

If a fact is missing, or another release keeps it elsewhere, it is unknown, and the public API is used.
"""

import sys
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.propagators.composite import CompositePropagator

from otelkafka._telemetry import scope, semconv
from otelkafka._telemetry.api import PROPAGATE, PROPAGATOR, PROVIDER, TRACE

SUPPRESSED: Final = "suppress_instrumentation"
SUPPRESSED_ELSE: Final[str] = getattr(context_api, "_SUPPRESS_INSTRUMENTATION_KEY", SUPPRESSED)
"""The two keys by which a context says that instrumentation is suppressed."""


def context_variable() -> ContextVar[Any] | None:
    """Return the context variable that holds the current context; None where it is held otherwise."""
    runtime: Any = getattr(context_api, "_RUNTIME_CONTEXT", None)
    return getattr(runtime, "_current_context", None) if type(runtime) is ContextVarsRuntimeContext else None


def global_propagator() -> Any:
    """Return the global propagator.

    Raises:
        KeyError: this release has it elsewhere.
    """
    return PROPAGATE[PROPAGATOR]


def global_provider() -> Any:
    """Return the global tracer provider; None as long as there is none.

    Raises:
        KeyError: this release has it elsewhere.
    """
    return TRACE[PROVIDER]


def parts_of(propagator: Any) -> list[Any]:
    """Return the propagators that a composite one consists of, else the one."""
    return list(propagator._propagators) if type(propagator) is CompositePropagator else [propagator]


class Sampler(NamedTuple):
    """The decisions of the SDK's own sampler that are known in advance.

    Args:
        tracer: the SDK's, which has it.
        bound: trace ids whose low 64 bits lie below it are sampled; None where that is not certain.
        drops_local: whether what continues an unsampled trace of this process is dropped.
        drops_remote: whether what continues an unsampled trace of another process is dropped.
        has_random_ids: whether the trace ids that are drawn are known to be random.
    """

    tracer: Any
    bound: int | None
    drops_local: bool
    drops_remote: bool
    has_random_ids: bool


def is_without_sdk(provider: Any) -> bool:
    """Return whether a tracer provider is the API's own, which records nothing."""
    return type(provider) is trace.NoOpTracerProvider or provider is TRACE.get("_PROXY_TRACER_PROVIDER")


def records_roots(provider: Any) -> bool:
    """Return whether a tracer provider records each trace that it starts, as far as that is known.

    Of one that is not the SDK's it is taken for granted: its spans may take no link once they have started.
    """
    kind = type(provider)
    if kind.__module__.startswith(trace.__name__):  # the API's own, which records nothing
        return False
    if not any(each.__module__.startswith("opentelemetry.sdk.") for each in kind.__mro__):
        return True
    try:
        sampling = sys.modules["opentelemetry.sdk.trace.sampling"]
        sampler = provider.sampler
        root = getattr(sampler, "_root", sampler)
        return type(root) is sampling.StaticSampler and root._decision is sampling.Decision.RECORD_AND_SAMPLE
    except (AttributeError, KeyError):  # no SDK, or one that is made otherwise
        return False


def is_sdk(provider: Any) -> bool:
    """Return whether a tracer provider, and the tracer that it has for us, is exactly the SDK's own."""
    try:
        sdk = sys.modules["opentelemetry.sdk.trace"]
        return type(provider) is sdk.TracerProvider and type(_tracer_of(provider)) is sdk.Tracer
    except (AttributeError, KeyError):  # no SDK, or one that is made otherwise
        return False


def _tracer_of(provider: Any) -> Any:
    return provider.get_tracer(scope.NAME, scope.VERSION, semconv.SCHEMA_URL)


def sampler_of(provider: Any) -> Sampler | None:
    """Return the known decisions of a tracer provider's sampler; None if it is not exactly one of the SDK's own."""
    try:
        return _sampler_of(provider)
    except (AttributeError, KeyError):  # an SDK that is made otherwise
        return None


def _sampler_of(provider: Any) -> Sampler | None:
    sdk = sys.modules["opentelemetry.sdk.trace"]
    sampling = sys.modules["opentelemetry.sdk.trace.sampling"]
    generators = sys.modules["opentelemetry.sdk.trace.id_generator"]
    if type(provider) is not sdk.TracerProvider:
        return None
    tracer = _tracer_of(provider)
    if type(tracer) is not sdk.Tracer or type(tracer.id_generator) is not generators.RandomIdGenerator:
        return None
    if hasattr(tracer, "_is_enabled") and not tracer._is_enabled():
        return None
    if hasattr(tracer, "_tracer_metrics") and not type(tracer._tracer_metrics).__name__.startswith("NoOp"):
        return None
    sampler = tracer.sampler
    if type(sampler) not in (sampling.ParentBased, sampling.ParentBasedTraceIdRatio):
        return None
    is_random = getattr(tracer.id_generator, "is_trace_id_random", None)
    return Sampler(
        tracer,
        _bound(sampler._root, sampling),
        drops_local=_drops(sampler._local_parent_not_sampled, sampling),
        drops_remote=_drops(sampler._remote_parent_not_sampled, sampling),
        has_random_ids=is_random is not None and is_random(),
    )


def _bound(root: Any, sampling: Any) -> int | None:
    if type(root) is sampling.TraceIdRatioBased:
        bound: int = root.bound
        return bound
    return 0 if _drops(root, sampling) else None


def _drops(sampler: Any, sampling: Any) -> bool:
    return type(sampler) is sampling.StaticSampler and sampler._decision is sampling.Decision.DROP
