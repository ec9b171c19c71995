"""A random scenario of a service, which runs on either path, and everything that can be seen of it.

A scenario is plain data, which `SCENARIOS` draws: the options of a producer and of two consumers, what the consumers
read, and the steps that the service takes. `seen_of()` runs it, at a fixed time and with the same ids drawn for traces,
and returns what the application and its backend have got: results, errors, headers, contexts, spans and metrics.
"""

import contextvars
import re
from collections import deque
from contextlib import ExitStack, suppress

import pytest
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.errors import KafkaTimeoutError, MessageSizeTooLargeError
from opentelemetry import baggage, context, metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics.export import HistogramDataPoint
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.test.globals_test import reset_metrics_globals, reset_trace_globals
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otelkafka import ConsumerOptions, HeaderCarrier, ProducerOptions, process
from otelkafka.testing import FakeClock, FakeFuture, MetricRecorder, SpanRecorder, fake_record
from tests.support.face import process_batch_of, process_of, wrap_consumer, wrap_producer
from tests.support.fakes import FakeConsumer, FakeProducer, failed
from tests.support.internals import draw_trace_ids_from, replace_clock_of_limits

MILLISECOND, SECOND = 10**6, 10**9
START = 1_767_225_600 * SECOND
_NOW = START // MILLISECOND


class OwnCarrier(HeaderCarrier):
    """A user's own, which does the same: nothing is certain of it."""


def _do_nothing(*_):
    pass


GENERAL = {
    "own carrier": ({"carrier": OwnCarrier}, {"carrier": OwnCarrier}),
    "hooks": ({"on_send": _do_nothing}, {"on_process": _do_nothing}),
}
"""Options of producer and consumers that mean the general path, and nothing else."""


# Samplers.


class Choosing(Sampler):
    """A user's own: it drops, records or samples by the trace id, and adds an attribute and a tracestate."""

    def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, links=None, trace_state=None):
        decision = (Decision.DROP, Decision.RECORD_ONLY, Decision.RECORD_AND_SAMPLE)[trace_id % 3]
        return SamplingResult(decision, {**(attributes or {}), "chosen": True}, TraceState([("of", "sampler")]))

    def get_description(self):
        return "chooses"


class Raising(Choosing):
    """A user's own, which fails."""

    def should_sample(self, *args, **kwargs):
        raise RuntimeError("the sampler")


SAMPLERS = {
    "no SDK": None,
    "always": lambda: ALWAYS_ON,
    "never": lambda: ALWAYS_OFF,
    "parent or always": lambda: ParentBased(ALWAYS_ON),
    "parent or never": lambda: ParentBased(ALWAYS_OFF),
    "ratio 0": lambda: ParentBasedTraceIdRatio(0.0),
    "ratio 1": lambda: ParentBasedTraceIdRatio(1.0),
    "ratio tiny": lambda: ParentBasedTraceIdRatio(1e-9),
    "ratio half": lambda: ParentBased(TraceIdRatioBased(0.5)),
    "drops the sampled": lambda: ParentBased(ALWAYS_ON, remote_parent_sampled=ALWAYS_OFF),
    "keeps the unsampled": lambda: ParentBased(ALWAYS_OFF, remote_parent_not_sampled=ALWAYS_ON),
    "local alone": lambda: ParentBased(ALWAYS_OFF, local_parent_not_sampled=ALWAYS_ON),
    "choosing": Choosing,
    "choosing roots": lambda: ParentBased(Choosing()),
    "choosing remote": lambda: ParentBased(ALWAYS_OFF, remote_parent_sampled=Choosing()),
    "disabled": lambda: ALWAYS_ON,
    "raising": Raising,
    "raising remote": lambda: ParentBased(ALWAYS_OFF, remote_parent_sampled=Raising()),
}


# What is drawn.


def _weighted(*choices):
    """Draw from strategies, each as often as the number before it says; `st.one_of()` draws from all alike."""
    return st.sampled_from([each for weight, each in choices for _ in range(weight)]).flatmap(lambda each: each)


_IDS = st.integers(1, 5)
_FLAGS = st.sampled_from([b"01"] * 6 + [b"00"] * 6 + [b"02", b"03", b"fe", b"ff", b"0A"])
_VALID = st.builds(lambda number, flags: b"00-%032x-%016x-%b" % (number * 7, number * 3, flags), _IDS, _FLAGS)
_BROKEN = st.sampled_from(
    [
        b"",
        b"junk",
        None,
        b"\xff",
        b"00-" + b"0" * 32 + b"-" + b"1" * 16 + b"-01",
        b"00-" + b"1" * 32 + b"-" + b"0" * 16 + b"-00",
        b"01-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01",
        b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01\n",
        b"00-" + b"A" * 32 + b"-" + b"2" * 16 + b"-00",
    ]
)
_PARENTS = st.tuples(st.just("traceparent"), _VALID)
_ORIGINS = st.sampled_from([b"otelkafka.origin=%d" % (_NOW + by) for by in (-5000, -1, 10**9)])
_OTHERS = st.one_of(
    st.tuples(st.just("traceparent"), _BROKEN),
    st.tuples(st.just("tracestate"), st.sampled_from([b"a=b", b"", b"\xff"])),
    st.tuples(st.just("baggage"), st.sampled_from([b"tenant=a", b"", b"tenant=b,who=c"]) | _ORIGINS),
    st.tuples(st.just("x"), st.sampled_from([b"y", b"z", b"\xff"])),
    st.tuples(st.just("Traceparent"), _VALID),
)
_PARENT = st.lists(_PARENTS, min_size=1, max_size=1)
_HEADERS = st.one_of(
    _PARENT,
    st.just([]),
    st.lists(_PARENTS | _OTHERS, max_size=3),
)
_ODD_HEADERS = st.one_of(
    st.none(),
    _HEADERS.map(tuple),
    _PARENT.map(lambda headers: [list(header) for header in headers]),
    _PARENT.map(lambda headers: [(*header, 1) for header in headers]),
    st.sampled_from([[None], ["ab"], [("traceparent",)], [("traceparent", "text")], [b"ab"], 5]),
)
_KEYS = st.sampled_from([None, b"k", "ä".encode(), b"\xff", "text", 5, 1.5, ("other",)])
_TIMESTAMPS = st.sampled_from([None, -1, _NOW, _NOW + 1, _NOW + 2, _NOW + 7, _NOW - 30_000, _NOW + 10**6])
_RECORDS = st.fixed_dictionaries(
    {
        "topic": st.sampled_from(["t", "t", "u", "quiet"]),
        "partition": st.integers(0, 1),
        "headers": _weighted((6, _PARENT), (2, _HEADERS), (1, _ODD_HEADERS)),
        "key": _KEYS,
        "value": st.sampled_from([b"v", None]),
        "timestamp": _TIMESTAMPS,
        "timestamp_type": st.integers(0, 2),
        "serialized_value_size": st.sampled_from([-1, 1, None]),
    }
)
_EITHER = st.integers(0, 1)
_AMBIENTS = st.sampled_from(
    [
        "span",
        "unsampled",
        "remote",
        "remote unsampled",
        "state",
        "baggage",
        "origin",
        "suppressed",
        "key",
        "invalid",
        "empty",
    ]
)
_SENDS = st.tuples(
    st.just("send"),
    st.fixed_dictionaries(
        {
            "topic": st.sampled_from(["t", "u", "quiet"]),
            "value": st.sampled_from([b"v", None]),
            "key": st.sampled_from([None, None, b"k", b"\xff", "text"]),
            "headers": _weighted((4, st.none()), (1, _HEADERS), (1, _ODD_HEADERS)),
            "partition": st.sampled_from([None, None, 0, 1]),
            "timestamp_ms": st.sampled_from([None, None, _NOW, _NOW + 10**6]),
        }
    ),
    st.sampled_from(["later", "later", "at once", "raises", "refused", "too large", "broker"]),
)
_TICKS = st.sampled_from([0, 1000, 400_000, MILLISECOND, 5 * MILLISECOND, 2 * SECOND])
_LOOPS = st.tuples(
    st.sampled_from(["loop", "loop of list"]),
    _EITHER,
    _TICKS,
    st.booleans(),
    st.lists(_SENDS, max_size=1),
    st.integers(1, 9),
)
_STEPS = _weighted(
    (5, _LOOPS),
    (5, st.tuples(st.just("next"), _EITHER)),
    (4, _SENDS),
    (3, st.tuples(st.just("tick"), _TICKS)),
    (2, st.tuples(st.just("process"), _EITHER, st.booleans(), st.lists(_SENDS, max_size=1))),
    (1, st.tuples(st.just("foreign"), _RECORDS, st.booleans())),
    (1, st.tuples(st.just("assign"), _EITHER)),
    (2, st.tuples(st.just("poll"), _EITHER, st.integers(1, 4))),
    (2, st.tuples(st.just("walk"), _EITHER)),
    (2, st.tuples(st.just("settle"), st.booleans())),
    (2, st.just(("ask",))),
    (1, st.tuples(st.just("iterate"), _EITHER)),
    (1, st.tuples(st.just("drop"), _EITHER)),
    (1, st.tuples(st.just("fail"), _EITHER, st.sampled_from(["next", "poll"]))),
    (1, st.tuples(st.just("batch"), _EITHER, st.booleans())),
    (1, st.tuples(st.just("commit"), _EITHER)),
    (1, st.tuples(st.sampled_from(["close", "commit", "commit"]), _EITHER)),
    (1, st.tuples(st.just("enter"), _AMBIENTS)),
    (2, st.just(("leave",))),
    (1, st.just(("collect",))),
    (1, st.tuples(st.just("inherit"), _EITHER)),
    (1, st.tuples(st.just("tick"), st.just(-3 * MILLISECOND))),
    (1, st.tuples(st.just("swap"), st.sampled_from(["provider", "meters", "propagator"]))),
)
_OPTIONS = {
    "capture_headers": st.sampled_from([(), (), (), ("x",), ("*",)]),
    "capture_key": st.sampled_from([True, True, False, repr]),
    "sample_errors": st.booleans(),
    "sample_limit": st.sampled_from([10, 1]),
    "pipeline_time": st.sampled_from([False, False, True]),
    "trace_topic": st.sampled_from([None, lambda topic: topic != "quiet"]),
    "destination_template": st.sampled_from([None, None, lambda topic: "any" if topic == "t" else None]),
    "record_exceptions": st.sampled_from([True, True, False]),
}
SCENARIOS = st.fixed_dictionaries({
    "sampler": st.sampled_from(sorted(SAMPLERS)),
    "is_measured": st.booleans(),
    "is_global": st.booleans(),
    "has_highwater": st.booleans(),
    "fetch": st.sampled_from([0, 0, 1000, 300_000, 2 * MILLISECOND]),
    "producing": _weighted((1, st.just({})), (1, st.fixed_dictionaries({}, optional={**_OPTIONS, "max_in_flight": st.sampled_from([100_000, 1])}))),
    "consuming": _weighted((1, st.just({})), (1, st.fixed_dictionaries({}, optional={
        **_OPTIONS,
        "relation": st.sampled_from(["parent", "parent", "parent", "link", "both"]),
        "sample_waits_over": st.sampled_from([None, None, 10.0]),
        "max_links": st.sampled_from([128, 1, 0]),
        "process": st.sampled_from(["auto", "auto", "iterate", "manual"]),
        "poll_spans": st.booleans(),
    }))),
    "ambient": _weighted((3, st.just([])), (1, st.lists(_AMBIENTS, min_size=1, max_size=2))),
    "records": st.tuples(st.lists(_RECORDS, min_size=4, max_size=9), st.lists(_RECORDS, min_size=2, max_size=4)),
    "steps": st.lists(_STEPS, min_size=10, max_size=25),
})  # fmt: skip


# The service.


class _Consumer(FakeConsumer):
    """Hands over records as they are, also what no cluster would keep.

    Args:
        records: as `SCENARIOS` draws them.
        clock: goes on where it fetches.
        fetch: by how many nanoseconds.
        has_highwater: whether it knows the ends of its partitions.
    """

    def __init__(self, records, clock, fetch, *, has_highwater):
        super().__init__()
        self.assign([TopicPartition(topic, partition) for topic in ("t", "u", "quiet") for partition in (0, 1)])
        made = [fake_record()._replace(offset=at, **each) for at, each in enumerate(records)]
        self._left, self._clock, self._fetch, self._known = deque(made), clock, fetch, has_highwater

    def _take(self, most):
        self._clock.now += self._fetch
        if self._errors:
            raise self._errors.pop(0)
        return [self._left.popleft() for _ in range(min(most, len(self._left)))]

    def highwater(self, partition):
        return super().highwater(partition) if self._known else None


class _Producer(FakeProducer):
    """Takes any headers, keeps what is current while it sends, and resolves a send as the step says.

    Attributes:
        outcome: of the next send.
        currents: the span context and the baggage of each.
    """

    outcome = "later"

    def __init__(self, note):
        super().__init__(client_id="p")
        self._note = note
        self.waiting = deque()

    def send(self, topic, value=None, key=None, headers=None, partition=None, timestamp_ms=None):
        self._note("sent", topic, value, key, headers, partition, timestamp_ms)
        outcome, future = self.outcome, FakeFuture(topic, partition or 0)
        if outcome == "raises":
            raise KafkaTimeoutError(topic)
        if outcome == "refused":
            return failed(KafkaTimeoutError(topic))
        if outcome == "too large" and headers:
            raise MessageSizeTooLargeError(topic)
        if outcome == "at once":
            future.acknowledge(offset=7)
        elif outcome == "broker":
            future.fail(KafkaTimeoutError("broker"))
        else:
            self.waiting.append(future)
        return future


_APPLICATION = TracerProvider(shutdown_on_exit=False).get_tracer("application")


class _Service:
    """Clients, and what they and the application do; `seen` keeps what can be seen of it.

    Args:
        scenario: which.
        more: options of the producer, and of the consumers.
        clock: the time.
    """

    def __init__(self, scenario, more, clock):
        self.seen, self._clock, self._scenario = [], clock, scenario
        self._recorders, self._metrics = [], []
        self._entered, self._iterators, self._walks = [], {}, {}
        self._last, self._polled = {}, {}
        given = self._set_globals() if scenario["is_global"] else self._make_providers()
        self._bare = _Producer(self._note)
        self._producer = wrap_producer(self._bare, ProducerOptions(**given, **scenario["producing"], **more[0]))
        self._options = options = ConsumerOptions(**given, **scenario["consuming"], **more[1])
        fetch, known = scenario["fetch"], scenario["has_highwater"]
        self._bares = [_Consumer(each, clock, fetch, has_highwater=known) for each in scenario["records"]]
        self._consumers = [wrap_consumer(each, options) for each in self._bares]

    def _make_providers(self):
        make, given = SAMPLERS[self._scenario["sampler"]], {}
        if make is None:
            given["tracer_provider"] = trace.NoOpTracerProvider()
        else:
            self._recorders.append(SpanRecorder(make()))
            given["tracer_provider"] = provider = self._recorders[-1].tracer_provider
            if self._scenario["sampler"] == "disabled" and hasattr(provider, "_set_tracer_configurator"):
                config = type(provider.get_tracer("any")._tracer_config)(is_enabled=False)
                provider._set_tracer_configurator(tracer_configurator=lambda _: config)
        if self._scenario["is_measured"]:
            self._metrics.append(MetricRecorder())
            given["meter_provider"] = self._metrics[-1].meter_provider
        return given

    def _set_globals(self, *names):
        given = self._make_providers()
        if not names or "provider" in names:
            reset_trace_globals()
            if SAMPLERS[self._scenario["sampler"]] is not None:
                trace.set_tracer_provider(given["tracer_provider"])
        if not names or "meters" in names:
            reset_metrics_globals()
            if "meter_provider" in given:
                metrics.set_meter_provider(given["meter_provider"])
        return {}

    def run(self, ambient, steps):
        for kind in ambient:
            self.do_enter(kind)
        for name, *given in steps:
            try:
                self._note("did", name, getattr(self, f"do_{name.replace(' ', '_')}")(*given))
            except (Exception, StopIteration) as error:
                self._note("raised", type(error).__name__, str(error), type(error.__cause__), type(error.__context__))
        while self._entered:
            self.do_leave()
        self.do_ask()

    def end(self):
        """End what is open, and return all that was seen."""
        self._iterators.clear()
        self._walks.clear()
        for client in (*self._consumers, self._producer):
            with suppress(Exception):
                client.close()
        self.do_ask()
        self.do_collect()
        spans = [[_shown(span) for span in recorder.spans] for recorder in self._recorders]
        return self.seen, spans

    def _note(self, *what):
        self.seen.append(what)

    # The steps.

    def do_next(self, which):
        self._last[which] = record = next(self._consumers[which])
        return record.offset

    def do_iterate(self, which):
        if which not in self._iterators:
            self._iterators[which] = iter(self._consumers[which])
        self._last[which] = record = next(self._iterators[which])
        return record.offset

    def do_drop(self, which):
        self._iterators.pop(which, None)
        self._walks.pop(which, None)

    def do_poll(self, which, most):
        polled = self._consumers[which].poll(max_records=most)
        self._polled[which] = [each for records in polled.values() for each in records[:]]
        self._walks[which] = iter(list(polled.values()))
        return [(place, [each.offset for each in records[:]]) for place, records in polled.items()]

    def do_walk(self, which):
        lists = self._walks.get(which)
        if lists is None:
            return None
        current = self._iterators.get(("list", which))
        while True:
            if current is not None:
                try:
                    self._last[which] = record = next(current)
                except StopIteration:
                    pass
                else:
                    return record.offset
            current = self._iterators[("list", which)] = iter(next(lists))

    def do_loop(self, which, tick, asks, inside, most):
        self._loop(self._consumers[which], tick, asks, inside, most)

    def do_loop_of_list(self, which, tick, asks, inside, most):
        for records in self._consumers[which].poll().values():
            self._loop(records, tick, asks, inside, most)

    def _loop(self, records, tick, asks, inside, most):
        for at, _ in enumerate(records):
            if asks:
                self.do_ask()
            self._clock.now += tick
            for _, *given in inside:
                with suppress(KafkaTimeoutError, MessageSizeTooLargeError):
                    self.do_send(*given)
            if at == most - 1:
                break

    def do_fail(self, which, how):
        self._bares[which].error_next(KafkaTimeoutError("away"))
        return next(self._consumers[which]) if how == "next" else self._consumers[which].poll()

    def do_process(self, which, fails, inside):
        if which not in self._last:
            return
        with process_of(self._consumers[which], self._last[which]):
            self.do_ask()
            for _, *given in inside:
                self.do_send(*given)
            if fails:
                raise LookupError("mine")

    def do_foreign(self, given, fails):
        """A record of a consumer that is not known."""
        with process(fake_record()._replace(offset=1000, **given), self._options):
            self.do_ask()
            if fails:
                raise LookupError("mine")

    def do_assign(self, which):
        self._consumers[which].assign([TopicPartition("t", 0), TopicPartition("u", 1)])

    def do_batch(self, which, fails):
        with process_batch_of(self._consumers[which], self._polled.get(which, [])):
            self.do_ask()
            if fails:
                raise LookupError("mine")

    def do_commit(self, which):
        return self._consumers[which].commit({TopicPartition("t", 0): 1})

    def do_close(self, which):
        return self._consumers[which].close()

    def do_send(self, given, outcome):
        self._bare.outcome = outcome
        given = {name: value for name, value in given.items() if value is not None or name == "value"}
        return type(self._producer.send(**given)).__name__

    def do_settle(self, succeeds):
        if self._bare.waiting:
            future = self._bare.waiting.popleft()
            _ = future.acknowledge(offset=3) if succeeds else future.fail(KafkaTimeoutError("away"))

    def do_tick(self, by):
        self._clock.now += by

    def do_ask(self):
        current = context.get_current()
        rest = {key: value for key, value in current.items() if not key.startswith(("current-span-", "baggage-"))}
        carrier = {}
        propagate.inject(carrier)
        span = trace.get_current_span()
        self._note("current", span.get_span_context(), dict(baggage.get_all()), rest, carrier, span.is_recording())

    def do_enter(self, kind):
        ids = SpanContext(0xABC, 0xDEF, False, TraceFlags(1))
        current, span = context.get_current(), None
        if kind == "span":
            span = _APPLICATION.start_span("around")
        elif kind == "unsampled":
            span = NonRecordingSpan(SpanContext(ids.trace_id, ids.span_id, False, TraceFlags(0)))
        elif kind.startswith("remote"):
            flags = TraceFlags(int(kind == "remote"))
            span = NonRecordingSpan(SpanContext(ids.trace_id, ids.span_id, True, flags))
        elif kind == "state":
            span = NonRecordingSpan(
                SpanContext(ids.trace_id, ids.span_id, True, TraceFlags(0), TraceState([("s", "t")]))
            )
        elif kind == "invalid":
            span = trace.INVALID_SPAN
        elif kind == "baggage":
            current = baggage.set_baggage("who", "me")
        elif kind == "origin":
            current = baggage.set_baggage("otelkafka.origin", str(_NOW - 60))
        elif kind == "suppressed":
            current = context.set_value("suppress_instrumentation", True)
        elif kind == "key":
            current = context.set_value("own", 1)
        elif kind == "empty":
            current = Context()
        if span is not None:
            current = trace.set_span_in_context(span, current)
        self._entered.append(context.attach(current))

    def do_leave(self):
        if self._entered:
            context.detach(self._entered.pop())

    def do_collect(self):
        for each in self._metrics:
            found = {
                name: sorted(map(_point, metric.data.data_points), key=repr) for name, metric in each.metrics.items()
            }
            self._note("metrics", sorted(found.items()))

    def do_inherit(self, which):
        """A task inherits the context, and goes on there."""
        copied = contextvars.copy_context()
        for step in (self.do_ask, self.do_next, self.do_ask):
            with suppress(StopIteration):
                copied.run(*((step, which) if step == self.do_next else (step,)))

    def do_swap(self, what):
        if not self._scenario["is_global"]:
            return
        if what == "propagator":
            propagate.set_global_textmap(TraceContextTextMapPropagator())
        else:
            self._set_globals(what)


_OF_HISTOGRAMS = ("count", "sum", "min", "max", "bucket_counts", "explicit_bounds")


def _point(point):
    names = _OF_HISTOGRAMS if isinstance(point, HistogramDataPoint) else ("value",)
    return sorted(point.attributes.items()), [(name, getattr(point, name)) for name in names]


def _shown(span):
    links = [(link.context, sorted(link.attributes.items())) for link in span.links]
    events = [(event.name, event.timestamp, _without_traceback(event.attributes)) for event in span.events]
    status = span.status.status_code, span.status.description
    when = span.start_time, span.end_time
    return span.name, span.kind, span.context, span.parent, sorted(span.attributes.items()), links, events, status, when


def _without_traceback(attributes):
    return sorted((name, value) for name, value in attributes.items() if name != "exception.stacktrace")


class _Names:
    """Names span ids in the order in which they are seen: who draws none where nobody asks has others."""

    _HEADER = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")

    def __init__(self):
        self._known = {}

    def of(self, seen):
        if isinstance(seen, SpanContext):
            flags, state = int(seen.trace_flags), dict(seen.trace_state)
            return "context", seen.trace_id, self._name(seen.span_id), flags, seen.is_remote, state
        if isinstance(seen, bytes) and (found := self._HEADER.fullmatch(seen)):
            return "header", int(found[1], 16), self._name(int(found[2], 16)), found[3]
        if isinstance(seen, str) and (found := self._HEADER.fullmatch(seen.encode(errors="replace"))):
            return "header", int(found[1], 16), self._name(int(found[2], 16)), found[3]
        if isinstance(seen, tuple) and len(seen) == 2 and seen[0] == "otelkafka.sampled.original_span_id":
            return seen[0], self._name(int(seen[1], 16))
        if isinstance(seen, dict):
            return {key: self.of(value) for key, value in seen.items()}
        if type(seen) in (tuple, list):
            return type(seen)(map(self.of, seen))
        return seen

    def _name(self, span_id):
        return self._known.setdefault(span_id, f"span {len(self._known)}")


def seen_of(scenario, more=({}, {})):
    """Run a scenario and return everything that can be seen of it.

    Args:
        scenario: which.
        more: options of the producer, and of the consumers.
    """
    before = propagate.get_global_textmap()
    with ExitStack() as stack, FakeClock(START) as clock, pytest.MonkeyPatch.context() as patch:
        stack.callback(propagate.set_global_textmap, before)
        if scenario["is_global"]:
            stack.callback(reset_trace_globals)
            stack.callback(reset_metrics_globals)
        draw_trace_ids_from(7, patch.setattr)
        replace_clock_of_limits(lambda: clock.now / SECOND, patch.setattr)
        seen = contextvars.Context().run(_run, scenario, more, clock)
    return _Names().of(seen)


def _run(scenario, more, clock):
    service = _Service(scenario, more, clock)
    service.run(scenario["ambient"], scenario["steps"])
    return service.end()
