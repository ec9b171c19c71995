"""Short cuts for what will not be sampled: when its outcome is certain.

They are taken only where sampler, id generator and propagators are exactly the SDK's and the API's own, or where there
is no SDK: then what the general path would do is known, and the rules do the same with less. This is the one module
that looks up the SDK's classes and reads its private attributes; one that is missing, and anything else unknown, means
the general path.
"""

import sys
from typing import Any

from opentelemetry import propagate, trace

from otelkafka.headers import HeaderCarrier
from otelkafka.options import Options
from otelkafka.rules import Rules, WithoutSdk, WithSdk
from otelkafka.w3c import RANDOM, is_w3c


def rules_of(options: Options, tracer_name: str, version: str, schema_url: str) -> Rules | None:
    """Return what is certain under these options at this moment; None where contexts are not in the W3C's format."""
    try:
        moment = propagator, _ = propagate._HTTP_TEXT_FORMAT, trace._TRACER_PROVIDER
        if options.carrier is not HeaderCarrier or not is_w3c(options.propagator or propagator):
            return None
    except AttributeError:  # an API that is made otherwise
        return None
    try:
        return _rules(moment, options, tracer_name, version, schema_url)
    except (AttributeError, KeyError):  # an SDK that is made otherwise
        return Rules(*moment)


def _rules(  # noqa: PLR0911 (each thing that is not the SDK's own ends it)
    moment: tuple[Any, Any], options: Options, tracer_name: str, version: str, schema_url: str
) -> Rules:
    provider = options.tracer_provider or trace.get_tracer_provider()
    if type(provider) is trace.NoOpTracerProvider or provider is trace._PROXY_TRACER_PROVIDER:
        return WithoutSdk(*moment)
    sdk = sys.modules["opentelemetry.sdk.trace"]
    sampling = sys.modules["opentelemetry.sdk.trace.sampling"]
    generators = sys.modules["opentelemetry.sdk.trace.id_generator"]
    if type(provider) is not sdk.TracerProvider:
        return Rules(*moment)
    tracer: Any = provider.get_tracer(tracer_name, version, schema_url)
    if type(tracer) is not sdk.Tracer or type(tracer.id_generator) is not generators.RandomIdGenerator:
        return Rules(*moment)
    if hasattr(tracer, "_is_enabled") and not tracer._is_enabled():
        return Rules(*moment)
    if hasattr(tracer, "_tracer_metrics") and not type(tracer._tracer_metrics).__name__.startswith("NoOp"):
        return Rules(*moment)
    sampler = tracer.sampler
    if type(sampler) not in (sampling.ParentBased, sampling.ParentBasedTraceIdRatio):
        return Rules(*moment)
    parents = sampler._local_parent_not_sampled, sampler._remote_parent_not_sampled
    local, remote = (_drops(parent, sampling) for parent in parents)
    is_random = getattr(tracer.id_generator, "is_trace_id_random", None)
    flags = RANDOM if is_random is not None and is_random() else 0
    return WithSdk(moment, tracer, _bound(sampler._root, sampling), (local, remote), flags)


def _bound(root: Any, sampling: Any) -> int | None:
    if type(root) is sampling.TraceIdRatioBased:
        bound: int = root.bound
        return bound
    return 0 if _drops(root, sampling) else None


def _drops(sampler: Any, sampling: Any) -> bool:
    return type(sampler) is sampling.StaticSampler and sampler._decision is sampling.Decision.DROP
