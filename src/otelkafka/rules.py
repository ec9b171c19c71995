"""Rules: what is certain to come of a send or a record that will not be sampled, without any object of OpenTelemetry's.

They do the same as OpenTelemetry does, with less: the same ids are drawn, and the same context is carried on.
"""

import copy
from collections.abc import Mapping
from typing import Any, Final, TypeAlias, TypeVar

from opentelemetry import propagate, trace
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, Span, SpanContext

from otelkafka.w3c import (
    RANDOM,
    RANDOM_DIGITS,
    SAMPLED,
    SAMPLED_DIGITS,
    SPAN_KEY,
    TRACEPARENT,
    Header,
    Ids,
    UnparsedSpan,
    has_baggage,
    header,
    traceparent_of,
)

_LOW_BITS: Final = (1 << 64) - 1

M = TypeVar("M")
Start: TypeAlias = tuple[Span | None, Mapping[str, object], M | None, int | None]
"""How a span starts: one that records nothing, None where the general path has to be taken; the context that it is
current in; of a send the headers that carry it, of a record the origin of its pipeline, None for none; and the id that
was drawn for a trace that will be sampled.

A plain tuple: it is made for each record.
"""

UNCERTAIN: Final[Start[Any]] = (None, {}, None, None)
_AS_IT_IS: Final[Start[Any]] = (INVALID_SPAN, {SPAN_KEY: INVALID_SPAN}, None, None)


class Rules:
    """What is certain under the options and the global propagator and provider of a moment: contexts are the W3C's.

    Of sampling nothing is.

    Args:
        propagator: the global one.
        provider: the global one; None where there is none yet.

    Attributes:
        samples: whether anything may be recorded.
    """

    samples = True

    def __init__(self, propagator: Any, provider: Any) -> None:
        self._propagator = propagator
        self._provider = provider

    def hold(self) -> bool:
        """Tell whether propagator and provider are still those of that moment."""
        return propagate._HTTP_TEXT_FORMAT is self._propagator and trace._TRACER_PROVIDER is self._provider

    def start(self, ambient: Mapping[str, object], now: int) -> Start[list[Header]]:  # noqa: ARG002
        """Start the span of a send, whose parent is the current span, if there is one.

        Args:
            ambient: the current context.
            now: Unix time in nanoseconds.
        """
        return UNCERTAIN

    def continue_trace(self, headers: Any, ambient: Mapping[str, object], now: int) -> Start[int]:  # noqa: ARG002
        """Start the span of a record, whose context says whether it was sampled; without one it starts a trace.

        Args:
            headers: of the record.
            ambient: the current context.
            now: Unix time in nanoseconds.
        """
        return UNCERTAIN

    def tracer_for(self, _: int) -> Any:
        """Return the tracer, which takes this id for the next trace that it starts; None where nothing is drawn."""
        return None


class WithSdk(Rules):
    """What is certain under the SDK's own provider, sampler and id generator.

    Args:
        moment: the propagator and the provider of it.
        tracer: the SDK's.
        bound: trace ids whose low bits lie below it are sampled; None where that is not certain.
        drops: whether what continues an unsampled trace is dropped: where that is of this process, and of elsewhere.
        flags: of a new trace that is not sampled.
    """

    def __init__(
        self, moment: tuple[Any, Any], tracer: Any, bound: int | None, drops: tuple[bool, bool], flags: int
    ) -> None:
        super().__init__(*moment)
        self._tracer = tracer
        self.bound = bound
        self.drops = drops
        self._drops_remote = drops[True]
        self._flags = flags
        self._traceparent = b"00-%%032x-%%016x-%02x" % flags
        self._draw_trace_id = tracer.id_generator.generate_trace_id
        self._draw_span_id = tracer.id_generator.generate_span_id

    def start(self, ambient: Mapping[str, object], now: int) -> Start[list[Header]]:  # noqa: ARG002
        """Start the span of a send."""
        if propagate._HTTP_TEXT_FORMAT is not self._propagator or trace._TRACER_PROVIDER is not self._provider:
            return UNCERTAIN
        if not ambient:
            return self._start_trace(ambient)
        parent = ambient.get(SPAN_KEY)
        if has_baggage(ambient):
            return UNCERTAIN
        if parent is None:
            return self._start_trace(ambient)
        ids = _ids_of(parent)
        if ids is None or ids[2] & SAMPLED or not self.drops[ids[3]]:
            return UNCERTAIN
        flags = ids[2] & RANDOM if self._flags else 0
        span_id = self._draw_span_id()
        span = UnparsedSpan((ids[0], span_id, flags, False))
        return span, {**ambient, SPAN_KEY: span}, [header(ids[0], span_id, flags)], None

    def continue_trace(self, headers: Any, ambient: Mapping[str, object], now: int) -> Start[int]:  # noqa: ARG002
        """Start the span of a record."""
        if propagate._HTTP_TEXT_FORMAT is not self._propagator or trace._TRACER_PROVIDER is not self._provider:
            return UNCERTAIN
        parent = traceparent_of(headers)
        if not parent:
            if parent is None or SPAN_KEY in ambient:
                return UNCERTAIN
            begun, context, _, drawn = self._start_trace(ambient)
            return begun, context, None, drawn
        last = parent[54]
        if last in SAMPLED_DIGITS or not self._drops_remote:
            return UNCERTAIN
        flags = RANDOM if self._flags and last in RANDOM_DIGITS else 0
        span = UnparsedSpan((parent[3:35], self._draw_span_id(), flags, False))
        return span, {**ambient, SPAN_KEY: span} if ambient else {SPAN_KEY: span}, None, None

    def _start_trace(self, ambient: Mapping[str, object]) -> Start[list[Header]]:
        """Draw the ids of a new trace, and take the sampler's decision."""
        if self.bound is None:
            return UNCERTAIN
        trace_id = self._draw_trace_id()
        if trace_id & _LOW_BITS < self.bound:
            return None, ambient, None, trace_id
        span_id = self._draw_span_id()
        span = UnparsedSpan((trace_id, span_id, self._flags, False))
        headers = [(TRACEPARENT, self._traceparent % (trace_id, span_id))]
        return span, {**ambient, SPAN_KEY: span} if ambient else {SPAN_KEY: span}, headers, None

    def tracer_for(self, drawn: int) -> Any:
        """Return a tracer that takes this id for the next trace that it starts."""
        tracer = copy.copy(self._tracer)
        tracer.id_generator = _Drawn(drawn, self._tracer.id_generator)
        return tracer


class WithoutSdk(Rules):
    """What is certain without an SDK: nothing is recorded, and a context is carried on as it is."""

    samples = False

    def start(self, ambient: Mapping[str, object], now: int) -> Start[list[Header]]:  # noqa: ARG002
        """Carry the current span's context on, if there is one."""
        if not self.hold():
            return UNCERTAIN
        if not ambient:
            return _AS_IT_IS
        parent = ambient.get(SPAN_KEY)
        if type(parent) is not UnparsedSpan or has_baggage(ambient):
            return UNCERTAIN
        return parent, ambient, [header(*parent.ids[:3])], None

    def continue_trace(self, headers: Any, ambient: Mapping[str, object], now: int) -> Start[int]:  # noqa: ARG002
        """Return a span with the context of a record."""
        if not self.hold():
            return UNCERTAIN
        parent = traceparent_of(headers)
        if not parent:
            return UNCERTAIN if parent is None or ambient else _AS_IT_IS
        span = UnparsedSpan((parent[3:35], parent[36:52], int(parent[-2:], 16), True))
        return span, {**ambient, SPAN_KEY: span} if ambient else {SPAN_KEY: span}, None, None


def _ids_of(parent: object) -> Ids | None:
    """Return the ids of a span that records nothing; None where there is more to it."""
    if type(parent) is UnparsedSpan:
        return parent.ids
    if type(parent) is not NonRecordingSpan:
        return None
    context = parent.get_span_context()
    if type(context) is not SpanContext or not context.is_valid or context.trace_state:
        return None
    return context.trace_id, context.span_id, context.trace_flags, context.is_remote


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
