"""Short cuts for what will not be sampled: the SDK's outcome, without making the SDK's objects.

They are taken only where sampler, id generator and propagators are exactly the SDK's and the API's own: then what the
general path would do is certain, and the same is done here with less. This is the one module that reads private
attributes of the SDK; one that is missing, and anything else unknown, means the general path.
"""

import copy
import re
import sys
from typing import Any, Final, NamedTuple

from opentelemetry import propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otelkafka.headers import HeaderCarrier
from otelkafka.options import Options

_LOW_BITS: Final = (1 << 64) - 1
_RANDOM: Final = 2
_SAMPLED: Final = 1
_TRACEPARENT: Final = "traceparent"
_OTHERS: Final = frozenset(("tracestate", "baggage"))
_VALID = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
(_SPAN_KEY,) = trace.set_span_in_context(INVALID_SPAN, Context())
_WHOLE = frozenset((TraceContextTextMapPropagator, W3CBaggagePropagator))


class UnsampledSpan(NonRecordingSpan):
    """A span that records nothing, and whose context is made only when somebody asks for it.

    Args:
        trace_id: as a number, or as its hexadecimal digits.
        span_id: as a number.
        flags: of the trace.
    """

    def __init__(self, trace_id: int | bytes, span_id: int, flags: int) -> None:
        self._ids = (trace_id, span_id, flags)

    @property
    def _context(self) -> SpanContext:  # type: ignore[override]
        trace_id, span_id, flags = self._ids
        number = trace_id if isinstance(trace_id, int) else int(trace_id, 16)
        return SpanContext(number, span_id, is_remote=False, trace_flags=TraceFlags(flags))


class Started(NamedTuple):
    """A send that starts a trace.

    Args:
        trace_id: which was drawn for it.
        span: the span that will not be recorded; None where the trace is sampled.
        header: carries its context; None where the trace is sampled.
    """

    trace_id: int
    span: UnsampledSpan | None
    header: tuple[str, bytes] | None


class Rules(NamedTuple):
    """What is certain under a provider and a propagator.

    Args:
        provider: of traces.
        propagator: of the moment.
        tracer: the SDK's.
        bound: trace ids whose low bits lie below it are sampled; None where that is not certain.
        drops: whether what continues a trace that was not sampled elsewhere is dropped.
        flags: of a new trace that is not sampled.
    """

    provider: Any
    propagator: Any
    tracer: Any
    bound: int | None
    drops: bool
    flags: int

    def start_trace(self) -> Started | None:
        """Draw the ids of a new trace, and take the sampler's decision; None where that is not certain."""
        if self.bound is None:
            return None
        ids = self.tracer.id_generator
        trace_id = ids.generate_trace_id()
        if trace_id & _LOW_BITS < self.bound:
            return Started(trace_id, None, None)
        span_id = ids.generate_span_id()
        header = (_TRACEPARENT, b"00-%032x-%016x-%02x" % (trace_id, span_id, self.flags))
        return Started(trace_id, UnsampledSpan(trace_id, span_id, self.flags), header)

    def tracer_for(self, trace_id: int) -> Any:
        """Return the tracer, which takes this id for the next trace that it starts."""
        tracer = copy.copy(self.tracer)
        tracer.id_generator = _Drawn(trace_id, self.tracer.id_generator)
        return tracer

    def continue_trace(self, headers: Any) -> UnsampledSpan | None:
        """Return the span of a record whose context says that it was not sampled; None where that is not certain."""
        if not self.drops or not isinstance(headers, list | tuple):
            return None
        parent = _only_traceparent(headers)
        if parent is None or _VALID.fullmatch(parent) is None:
            return None
        flags = int(parent[-2:], 16)
        if flags & _SAMPLED:
            return None
        kept = flags & _RANDOM if self.flags else 0
        return UnsampledSpan(parent[3:35], self.tracer.id_generator.generate_span_id(), kept)


def _only_traceparent(headers: list[Any] | tuple[Any, ...]) -> bytes | None:
    """Return the one traceparent; None where there is none, or more, or anything else that a context is made of."""
    parent = None
    for header in headers:
        if type(header) is not tuple or len(header) != 2:  # noqa: PLR2004 (key and value)
            return None
        key, value = header
        if key in _OTHERS or (key == _TRACEPARENT and parent is not None):
            return None
        if key == _TRACEPARENT:
            parent = value
    return parent if type(parent) is bytes else None


def context_with(span: UnsampledSpan) -> Context:
    """Return a context with nothing in it but a span."""
    return Context({_SPAN_KEY: span})


def rules_of(options: Options, tracer_name: str, version: str, schema_url: str) -> Rules | None:
    """Return what is certain under these options and the global providers of this moment; None where nothing is."""
    try:
        return _rules(options, tracer_name, version, schema_url)
    except (AttributeError, KeyError):  # an SDK that is made otherwise
        return None


def still_hold(rules: Rules, options: Options) -> bool:
    """Tell whether provider and propagator are those that the rules are of."""
    provider = options.tracer_provider or trace.get_tracer_provider()
    return rules.provider is provider and rules.propagator is (options.propagator or propagate.get_global_textmap())


def _rules(options: Options, tracer_name: str, version: str, schema_url: str) -> Rules | None:
    sdk = sys.modules["opentelemetry.sdk.trace"]
    sampling = sys.modules["opentelemetry.sdk.trace.sampling"]
    generators = sys.modules["opentelemetry.sdk.trace.id_generator"]
    provider = options.tracer_provider or trace.get_tracer_provider()
    propagator = options.propagator or propagate.get_global_textmap()
    if type(provider) is not sdk.TracerProvider or not _is_whole(propagator) or options.carrier is not HeaderCarrier:
        return None
    tracer: Any = provider.get_tracer(tracer_name, version, schema_url)
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
    return Rules(
        provider,
        propagator,
        tracer,
        _bound(sampler._root, sampling),
        _drops(sampler._remote_parent_not_sampled, sampling),
        _RANDOM if is_random is not None and is_random() else 0,
    )


def _is_whole(propagator: Any) -> bool:
    parts = propagator._propagators if type(propagator) is CompositePropagator else [propagator]
    kinds = [type(part) for part in parts]
    return kinds.count(TraceContextTextMapPropagator) == 1 and _WHOLE.issuperset(kinds)


def _bound(root: Any, sampling: Any) -> int | None:
    if type(root) is sampling.TraceIdRatioBased:
        bound: int = root.bound
        return bound
    return 0 if _drops(root, sampling) else None


def _drops(sampler: Any, sampling: Any) -> bool:
    return type(sampler) is sampling.StaticSampler and sampler._decision is sampling.Decision.DROP


class _Drawn:
    """An id generator whose next trace id was drawn before.

    Args:
        trace_id: which.
        generator: draws the others.
    """

    def __init__(self, trace_id: int, generator: Any) -> None:
        self._trace_id = trace_id
        self._generator = generator

    def generate_trace_id(self) -> int:
        """Return the id that was drawn."""
        return self._trace_id

    def __getattr__(self, name: str) -> Any:
        """Leave everything else to the generator."""
        return getattr(self._generator, name)
