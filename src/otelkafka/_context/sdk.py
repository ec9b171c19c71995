"""Private facts of OpenTelemetry's API and SDK, except metrics and the globals of the API.

If a fact is missing, or another release keeps it elsewhere, it is unknown, and the public API is used.
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import cache
from operator import is_
from types import FunctionType
from typing import Any, Final, NamedTuple, final

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import Link, Span, SpanContext, SpanKind

from otelkafka._telemetry import scope, semconv
from otelkafka._telemetry.api import PROPAGATE, PROPAGATOR, PROVIDER, TRACE
from otelkafka._telemetry.attributes import Attributes

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


_are_plain: Final = frozenset((str, int, float, bool)).issuperset
"""Whether the SDK keeps values of these types as they are."""


@final
class QuickTracer:
    """Starts the spans of an SDK's tracer, and writes the attributes, which the SDK would check and copy one by one.

    The spans are the same. The attributes are left to the SDK where other code may read them before `start_span()`
    returns (a sampler or a span processor), where a limit may cut them, and where a self-test has failed. Links that
    several spans have one after the other are checked by the SDK for the first of them.

    Args:
        tracer: the SDK's.
    """

    __slots__ = ("_checked", "_most", "_processors", "_span_class", "_tracer")

    def __init__(self, tracer: Any) -> None:
        self._tracer = tracer
        self.choose()

    def choose(self) -> None:
        """Find out who writes the attributes."""
        tracer, self._most = self._tracer, -1
        self._checked: Sequence[Link] | None = None
        self._processors = getattr(tracer.span_processor, "_span_processors", None)
        self._span_class = _writable_span_class()
        with suppress(Exception):  # an SDK or a span processor that is made otherwise, in whatever way
            sdk = sys.modules["opentelemetry.sdk.trace"]
            if (
                self._span_class is sdk._Span
                and _is_own(vars(sdk.Tracer)["start_span"], sdk)
                and _passes_attributes_on(tracer.sampler, sys.modules["opentelemetry.sdk.trace.sampling"])
                and not _is_read_at_start(tracer.span_processor, sdk)
            ):
                self._most = _most_attributes(tracer._span_limits)

    def start_span(
        self,
        name: str,
        context: Context,
        kind: SpanKind,
        attributes: Attributes,
        links: Sequence[Link],
        start_time: int | None,
    ) -> Span:
        """Start a span, as the SDK's tracer does.

        Args:
            name: the name of the span.
            context: holds its parent.
            kind: the kind of the span.
            attributes: the attributes of the span, which may keep this dictionary itself.
            links: the links of the span. A list that was given before must not have changed.
            start_time: Unix time in nanoseconds; None for now.
        """
        tracer = self._tracer
        if getattr(tracer.span_processor, "_span_processors", None) is not self._processors:
            self.choose()
        if len(attributes) > self._most or not _are_plain(map(type, attributes.values())):
            started: Span = tracer.start_span(name, context, kind, attributes, links, start_time)
            return started
        are_checked = links is self._checked
        span: Any = tracer.start_span(name, context, kind, None, () if are_checked else links, start_time)
        if type(span) is self._span_class:
            span._attributes._dict = attributes
            if are_checked:
                span._links.extend(links)
            elif links and len(span._links) == len(links) and all(map(is_, span._links, links)):
                self._checked = links
        elif span.is_recording():  # its class was replaced a moment ago
            span.set_attributes(attributes)
        return span  # type: ignore[no-any-return]


def set_attributes(span: Any, attributes: Attributes) -> None:
    """Set attributes on a recording span, as its `set_attributes()` does."""
    is_writable = type(span) is _writable_span_class() and _are_plain(map(type, attributes.values()))
    if not is_writable or not _write(span, attributes):
        span.set_attributes(attributes)


def _write(span: Any, attributes: Attributes) -> bool:
    """Write attributes that the SDK would keep as they are; False if the span has ended or has no room for them.

    It takes no lock of the SDK, which an interrupt could leave locked: `update()` is one step for all other threads.
    """
    kept = span._attributes._dict
    if span._end_time is not None or len(kept) + len(attributes) > _most_attributes(span._limits):
        return False
    kept.update(attributes)
    return True


def quick_tracer(tracer: Any) -> Any:
    """Return a tracer with faster attributes for one that is exactly the SDK's; any other as it is."""
    if type(tracer) is QuickTracer:
        tracer.choose()
        return tracer
    sdk = sys.modules.get("opentelemetry.sdk.trace")
    is_known = type(tracer) is getattr(sdk, "Tracer", None) and hasattr(tracer, "span_processor")
    return QuickTracer(tracer) if is_known else tracer


@cache
def _writable_span_class() -> Any:
    """Return the SDK's class of spans, if one whose attributes are written afterwards is like any other."""
    try:
        sdk = sys.modules["opentelemetry.sdk.trace"]
        given: Attributes = {"text": "a", "count": 1, "share": 0.5, "is_so": True}
        started, written = _test_span(sdk, given), _test_span(sdk, None)
        is_dict = type(started._attributes._dict) is type(written._attributes._dict) is dict
        written._attributes._dict = dict(given)
        started.set_attributes({"late": 2})
        is_dict = is_dict and _write(written, {"late": 2})
        kept = []
        for span in started, written:
            span.set_attributes({"more": [1], "text": "b"})
            span.end()
            kept.append((list(span.attributes.items()), span.dropped_attributes))
        return sdk._Span if is_dict and kept[0] == kept[1] else None
    except Exception:  # noqa: BLE001 (an SDK that is made otherwise, in whatever way)
        return None


def _test_span(sdk: Any, attributes: Attributes | None) -> Any:
    span = sdk._Span("test", SpanContext(1, 1, is_remote=False), resource=sdk.Resource({}), attributes=attributes)
    span.start()
    return span


def _most_attributes(limits: Any) -> int:
    """Return how many attributes a span keeps as they are; -1 where long ones are cut."""
    if limits.max_span_attribute_length is not None:
        return -1
    most = limits.max_span_attributes
    return sys.maxsize if most is None else int(most)


def _is_own(function: Any, module: Any) -> bool:
    """Return whether a function is defined in a module, and not one that was put in its place."""
    return type(function) is FunctionType and function.__globals__ is vars(module)


def _passes_attributes_on(sampler: Any, sampling: Any) -> bool:
    """Return whether a sampler gives a span the attributes that it gets, and does not read them."""
    if type(sampler) in (sampling.ParentBased, sampling.ParentBasedTraceIdRatio):
        return all(_passes_attributes_on(delegate, sampling) for delegate in vars(sampler).values())
    return type(sampler) in (sampling.StaticSampler, sampling.TraceIdRatioBased)


def _is_read_at_start(processor: Any, sdk: Any) -> bool:
    """Return whether a span processor, or one of those that it stands for, may read a span that has just started."""
    if type(processor) is not sdk.SynchronousMultiSpanProcessor:
        return True
    export = sys.modules.get("opentelemetry.sdk.trace.export", sdk)
    names = "SpanProcessor", "BatchSpanProcessor", "SimpleSpanProcessor"
    known = {getattr(export, name, sdk.SpanProcessor).on_start for name in names}
    silent = {each for each in known if _is_own(each, sdk) or _is_own(each, export)}
    return any(type(each).on_start not in silent or "on_start" in vars(each) for each in processor._span_processors)
