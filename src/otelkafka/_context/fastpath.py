"""The fast path of sends and records that will not be sampled. It makes no objects of OpenTelemetry.

It is used only if sampler, id generator and propagators are exactly those of the SDK and the API, or if there is no
SDK. Then the result of the general path is known in advance, and the fast path has the same result with less work: it
draws the same ids, and carries the same context on. Everything else takes the general path.
"""

import copy
from collections.abc import Callable, Mapping
from random import getrandbits
from typing import Any, Final, final

from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext

from otelkafka._context.current import UNPARSED, UnparsedSpan, draw_span_id
from otelkafka._context.origin import is_possible, only_origin, without_origin
from otelkafka._context.sdk import (
    Sampler,
    global_propagator,
    global_provider,
    is_sdk,
    is_without_sdk,
    sampler_of,
)
from otelkafka._context.traceparent import (
    BAGGAGE_KEY,
    CONTINUED,
    RANDOM,
    RANDOM_DIGITS,
    SAMPLED,
    SAMPLED_DIGITS,
    SPAN_KEY,
    UNSAMPLED,
    VALID,
    carries_baggage,
    is_w3c,
    traceparent_of,
)
from otelkafka._telemetry.api import PROPAGATE, PROPAGATOR, PROVIDER, TRACE
from otelkafka._telemetry.clock import MILLISECOND
from otelkafka.headers import HeaderCarrier
from otelkafka.options import Options

_new: Callable[[type[UnparsedSpan]], UnparsedSpan] = object.__new__
_LOW_BITS: Final = (1 << 64) - 1


@final
class SampledRoot:
    """A new trace that the sampler samples. Its id was drawn for the sampler's decision.

    Args:
        tracer: the SDK's.
        trace_id: the id.
    """

    __slots__ = ("_trace_id", "_tracer")

    def __init__(self, tracer: Any, trace_id: int) -> None:
        self._tracer = tracer
        self._trace_id = trace_id

    def tracer(self) -> Any:
        """Return a tracer that takes this id for the next trace that it starts."""
        tracer = copy.copy(self._tracer)
        tracer.id_generator = _Drawn(self._trace_id, self._tracer.id_generator)
        return tracer


class _Drawn:
    """An id generator that returns a trace id that was drawn before.

    Args:
        trace_id: the id that was drawn.
        generator: draws all other ids.
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


class FastPath:
    """The fast path for the present options, global propagator and provider, with contexts in the W3C format.

    This base class knows nothing about sampling.

    Args:
        propagator: the global one.
        provider: the global one; None if there is none yet.

    Attributes:
        is_unrecorded: matches the `traceparent` of a record that is certainly not recorded, if it is the only header;
            None if that is not known.
        is_continued: matches the `traceparent` of a record whose span the SDK itself starts, and most likely records.
        carries: whether the process span of a record has the ids of the span in its headers.
        keeps_random: whether the process span of a record keeps the flag for a random trace id.
    """

    is_unrecorded: Callable[[bytes], object] | None = None
    is_continued: Callable[[bytes], object] | None = None
    carries = keeps_random = False

    def __init__(self, propagator: Any, provider: Any) -> None:
        self.propagator = propagator
        self.provider = provider

    def holds(self) -> bool:
        """Return whether the global propagator and provider are still the same."""
        return PROPAGATE[PROPAGATOR] is self.propagator and TRACE[PROVIDER] is self.provider

    def start_send(
        self,
        ambient: Mapping[str, object],  # noqa: ARG002
        now: int,  # noqa: ARG002
        kind: type[UnparsedSpan] = UnparsedSpan,  # noqa: ARG002
    ) -> NonRecordingSpan | SampledRoot | None:
        """Start the span of a send, whose parent is the current span, if there is one.

        Args:
            ambient: the current context.
            now: Unix time in nanoseconds.
            kind: the kind of the span, where it has a context of its own.

        Returns:
            A span that records nothing, and whose context the headers carry where it is valid. Otherwise the send takes
            the general path: with None as it is, with a `SampledRoot` by its tracer.
        """
        return None

    def start_process(
        self,
        headers: Any,  # noqa: ARG002
        ambient: Mapping[str, object],  # noqa: ARG002
        now: int,  # noqa: ARG002
    ) -> NonRecordingSpan | SampledRoot | None:
        """Start the span of a record, whose context says whether it was sampled; without one it starts a trace.

        Args:
            headers: the headers of the record.
            ambient: the current context.
            now: Unix time in nanoseconds.

        Returns:
            A span that records nothing; otherwise as `start_send()`.
        """
        return None

    def without_origin(self, headers: Any) -> tuple[Any, int | None]:
        """Return headers and None: pipelines are not measured."""
        return headers, None


class WithSdk(FastPath):
    """The fast path under the SDK's own provider, sampler and id generator.

    Args:
        propagator: the global one.
        provider: the global one.
        sampler: the decisions of the sampler that are known in advance.
    """

    def __init__(self, propagator: Any, provider: Any, sampler: Sampler) -> None:
        super().__init__(propagator, provider)
        self._sampler = sampler
        self._bound = sampler.bound
        self._drops_remote = sampler.drops_remote
        self.is_unrecorded = UNSAMPLED.fullmatch if sampler.drops_remote else None
        self.keeps_random = sampler.has_random_ids
        self._root_flags = RANDOM if sampler.has_random_ids else 0

    def start_send(
        self,
        ambient: Mapping[str, object],
        now: int,  # noqa: ARG002
        kind: type[UnparsedSpan] = UnparsedSpan,
    ) -> NonRecordingSpan | SampledRoot | None:
        """Start the span of a send."""
        if PROPAGATE[PROPAGATOR] is not self.propagator or TRACE[PROVIDER] is not self.provider:
            return None
        parent: Any = None
        if ambient:
            if BAGGAGE_KEY in ambient:
                return None
            parent = ambient.get(SPAN_KEY)
        if parent is None:
            return self._start_trace(kind)
        plain = parent if type(parent) in UNPARSED else _unparsed(parent)
        if plain is None or (flags := plain.flags) & SAMPLED:
            return None
        if not (self._drops_remote if plain.is_remote else self._sampler.drops_local):
            return None
        span = _new(kind)
        span.trace_id, span.span_id = plain.trace_id, getrandbits(64) or draw_span_id()
        if flags & RANDOM and self._root_flags:
            span.flags = RANDOM
        return span

    def start_process(
        self,
        headers: Any,
        ambient: Mapping[str, object],
        now: int,  # noqa: ARG002
    ) -> NonRecordingSpan | SampledRoot | None:
        """Start the span of a record."""
        if PROPAGATE[PROPAGATOR] is not self.propagator or TRACE[PROVIDER] is not self.provider:
            return None
        parent = traceparent_of(headers)
        if not parent:
            return None if parent is None or SPAN_KEY in ambient else self._start_trace()
        last = parent[54]
        if last in SAMPLED_DIGITS or not self._drops_remote:
            return None
        flags = RANDOM if self._root_flags and last in RANDOM_DIGITS else 0
        return UnparsedSpan(parent[3:35], None, flags)

    def _start_trace(self, kind: type[UnparsedSpan] = UnparsedSpan) -> NonRecordingSpan | SampledRoot | None:
        """Draw the ids of a new trace as the SDK's own generator does, and take the sampler's decision."""
        bound = self._bound
        if bound is None:
            return None
        while not (trace_id := getrandbits(128)):
            pass
        if trace_id & _LOW_BITS < bound:
            return SampledRoot(self._sampler.tracer, trace_id)
        span = _new(kind)
        span.trace_id, span.span_id, span.flags = trace_id, getrandbits(64) or draw_span_id(), self._root_flags
        return span


class WithoutSdk(FastPath):
    """The fast path without an SDK: nothing is recorded, and a context is carried on unchanged."""

    carries = True

    def __init__(self, propagator: Any, provider: Any) -> None:
        super().__init__(propagator, provider)
        self.is_unrecorded = VALID.fullmatch

    def start_send(
        self,
        ambient: Mapping[str, object],
        now: int,  # noqa: ARG002
        kind: type[UnparsedSpan] = UnparsedSpan,  # noqa: ARG002
    ) -> NonRecordingSpan | SampledRoot | None:
        """Return the current span, if there is one."""
        if not self.holds():
            return None
        if not ambient:
            return INVALID_SPAN
        parent: Any = ambient.get(SPAN_KEY)
        return parent if type(parent) in UNPARSED and BAGGAGE_KEY not in ambient else None

    def start_process(
        self,
        headers: Any,
        ambient: Mapping[str, object],
        now: int,  # noqa: ARG002
    ) -> NonRecordingSpan | SampledRoot | None:
        """Return a span with the context of a record."""
        if not self.holds():
            return None
        parent = traceparent_of(headers)
        if not parent:
            return None if parent is None or ambient else INVALID_SPAN
        return UnparsedSpan(parent[3:35], parent[36:52], int(parent[-2:], 16), True)


class WithOrigins(FastPath):
    """The fast path if the origin of a pipeline is the only baggage.

    Args:
        without: the fast path without baggage.
        carried: whether the propagator writes a `baggage` behind its `traceparent`, as the API's own.
    """

    def __init__(self, without: FastPath, *, carried: bool) -> None:
        self._without = without
        self._carried = carried

    def holds(self) -> bool:
        """Return whether the other one does."""
        return self._without.holds()

    def start_send(
        self,
        ambient: Mapping[str, object],
        now: int,
        kind: type[UnparsedSpan] = UnparsedSpan,  # noqa: ARG002
    ) -> NonRecordingSpan | SampledRoot | None:
        """Start the span of a send: it is the origin where the current context has none."""
        origin: int | None = now // MILLISECOND
        around = ambient
        if BAGGAGE_KEY in ambient:
            origin = only_origin(ambient[BAGGAGE_KEY])
            around = {key: value for key, value in ambient.items() if key != BAGGAGE_KEY}
        if not self._carried or not is_possible(origin, now):
            return None
        return _with_origin(self._without.start_send(around, now), origin)

    def start_process(
        self, headers: Any, ambient: Mapping[str, object], now: int
    ) -> NonRecordingSpan | SampledRoot | None:
        """Start the span of a record."""
        if BAGGAGE_KEY in ambient:
            return None
        rest, origin = self.without_origin(headers)
        if origin is not None and not is_possible(origin, now):
            return None
        return _with_origin(self._without.start_process(rest, ambient, now), origin)

    def without_origin(self, headers: Any) -> tuple[Any, int | None]:
        """Return the headers without a baggage that has the origin as its one entry, and that origin, else None."""
        return without_origin(headers) if self._carried else (headers, None)


def fast_path_of(options: Options) -> FastPath | None:
    """Return the fast path for the present options; None if contexts are not in the W3C format."""
    try:
        propagator, provider = global_propagator(), global_provider()
        used = options.propagator or propagator
        if options.carrier is not HeaderCarrier or not is_w3c(used):
            return None
    except (AttributeError, KeyError):  # an API that is made otherwise
        return None
    makes_spans = options.tracer_provider or trace.get_tracer_provider()
    found = FastPath(propagator, provider)
    if is_without_sdk(makes_spans):
        found = WithoutSdk(propagator, provider)
    elif (sampler := sampler_of(makes_spans)) is not None:
        found = WithSdk(propagator, provider, sampler)
    if is_sdk(makes_spans):
        found.is_continued = CONTINUED.fullmatch
    return WithOrigins(found, carried=carries_baggage(used)) if options.pipeline_time else found


def _with_origin(
    started: NonRecordingSpan | SampledRoot | None, origin: int | None
) -> NonRecordingSpan | SampledRoot | None:
    if origin is None or started is None or type(started) is SampledRoot:
        return started
    if isinstance(started, UnparsedSpan):
        ids = started.trace_id, started.span_id, started.flags
        return UnparsedSpan(*ids, started.is_remote, origin)
    return UnparsedSpan(0, 0, 0, origin=origin)


def _unparsed(parent: object) -> UnparsedSpan | None:
    """Return a span that records nothing in the form of the fast path; None where there is more to it."""
    if type(parent) is not NonRecordingSpan:
        return None
    context = parent.get_span_context()
    if type(context) is not SpanContext or not context.is_valid or context.trace_state:
        return None
    return UnparsedSpan(context.trace_id, context.span_id, context.trace_flags, context.is_remote)
