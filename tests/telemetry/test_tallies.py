"""Points that are tallied are exported as if each had gone by the public API."""

import os
import random
import threading
from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import metrics as api
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics._internal import measurement_consumer
from opentelemetry.sdk.metrics._internal.exemplar import (
    AlignedHistogramBucketExemplarReservoir,
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    MetricExporter,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    SumAggregation,
    View,
)
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from otelkafka import ConsumerOptions, ProducerOptions
from otelkafka.testing import MetricRecorder, SpanRecorder
from tests.support.face import wrap_consumer, wrap_producer
from tests.support.fakes import FakeConsumer, FakeProducer, record
from tests.support.internals import (
    HISTOGRAMS,
    MOST_PENDING,
    count_pending,
    passes_self_test,
    tally_of,
    use_public_api,
)

pytestmark = pytest.mark.per_telemetry

OURS = "messaging.process.duration"
PUBLIC = "public"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)  # the conventions'
TEMPORALITIES = (AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA)
UNSAMPLED = NonRecordingSpan(SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(0)))
SETS = [{"a": "b"}, {"a": "b", "n": "1"}, {"a": "c", "port": 9092}]
CAN_ADD_READERS = hasattr(measurement_consumer.SynchronousMeasurementConsumer, "add_metric_reader")


def reader_of(temporality):
    return InMemoryMetricReader({Histogram: temporality})


class Pair:
    """Two histograms of one provider: each point goes to one by the public API, and to the other by a tally."""

    def __init__(self, *readers, **given):
        self.readers = list(readers)
        self.provider = MeterProvider(readers, shutdown_on_exit=False, **given)
        self.tracer = SpanRecorder().tracer_provider.get_tracer("spans")
        self.tally(SETS[0])
        self._public = self.provider.get_meter("m").create_histogram(
            PUBLIC, "s", explicit_bucket_boundaries_advisory=BUCKETS
        )
        self._begins: dict = {}

    def tally(self, attributes):
        return tally_of(self.provider, OURS, attributes)

    def record(self, value, attributes, span=INVALID_SPAN):
        self._public.record(value, attributes, set_span_in_context(span, Context()))
        self.tally(attributes).record(value, span)

    def recording(self):
        return self.tracer.start_span("recording")

    def collect(self, reader):
        """Return what a reader collects of the public histogram, and of ours, which may be known by another name."""
        data = reader.get_metrics_data()
        scopes = [scope for resource in (data.resource_metrics if data else ()) for scope in resource.scope_metrics]
        found = {PUBLIC: [], OURS: []}
        for scope in scopes:
            for metric in scope.metrics:
                if metric.unit == "s" and hasattr(metric.data, "aggregation_temporality"):
                    name = PUBLIC if scope.scope.name == "m" else OURS
                    if metric.name in (name, "renamed"):
                        found[name] += [self._facts(reader, metric, point) for point in metric.data.data_points]
        return found[PUBLIC], found[OURS]

    def check(self, reader):
        public, ours = self.collect(reader)
        key = lambda facts: repr(facts[0])  # noqa: E731 (used here alone)
        assert sorted(ours, key=key) == sorted(public, key=key)
        return ours

    def _facts(self, reader, metric, point):
        ends = self._begins.setdefault(reader, [])
        begin = ends.index(point.start_time_unix_nano) if point.start_time_unix_nano in ends else "its first point"
        ends.append(point.time_unix_nano)
        exemplars = getattr(point, "exemplars", ())
        bounds = getattr(point, "explicit_bounds", ())
        return (
            sorted(point.attributes.items()),
            metric.data.aggregation_temporality,
            bounds,
            getattr(point, "bucket_counts", None),
            getattr(point, "count", None),
            pytest.approx(getattr(point, "sum", getattr(point, "value", None)), nan_ok=True),
            getattr(point, "min", None),
            getattr(point, "max", None),
            sorted({bisect_left(bounds, each.value) for each in exemplars}),
            begin if begin == "its first point" else ends[begin],
        )


values = st.one_of(st.sampled_from([0, *BUCKETS]), st.floats(0, 1e9), st.floats(0, 1))
points = st.tuples(
    st.just("record"), values, st.sampled_from(SETS), st.sampled_from(["none", "unsampled", "recording"])
)
bursts = st.tuples(st.just("burst"), st.integers(1, 2 * MOST_PENDING + 1), st.sampled_from(SETS), st.integers(0, 9))
collections = st.tuples(st.just("collect"), st.integers(0, 3))
readers = st.tuples(st.sampled_from(["add", "remove", "stop"]), st.sampled_from(TEMPORALITIES), st.integers(0, 3))


def do(pair, step):
    kind, *given = step
    if kind == "record":
        value, attributes, span = given
        pair.record(value, attributes, {"none": INVALID_SPAN, "unsampled": UNSAMPLED}.get(span) or pair.recording())
    elif kind == "burst":
        count, attributes, seed = given
        for value in random.Random(seed).choices(BUCKETS, k=count):
            pair.record(value, attributes)
    elif kind == "collect" and pair.readers:
        pair.check(pair.readers[given[0] % len(pair.readers)])
    elif kind == "add" and CAN_ADD_READERS:
        pair.readers.append(reader_of(given[0]))
        pair.provider.add_metric_reader(pair.readers[-1])
    elif kind == "remove" and CAN_ADD_READERS and pair.readers:
        pair.provider.remove_metric_reader(pair.readers.pop(given[1] % len(pair.readers)))
    elif kind == "stop" and pair.readers:
        pair.readers[given[1] % len(pair.readers)].shutdown()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(TEMPORALITIES), max_size=3),
    st.lists(st.one_of(points, points, bursts, collections, readers), max_size=30),
)
def test_points_are_those_of_the_public_api(temporalities, steps):
    """Counts, bounds, sum, min, max, attributes, temporality, start and exemplars, for each reader at each collection."""
    pair = Pair(*map(reader_of, temporalities))
    for step in [*steps, *(("collect", at) for at in range(4))]:
        do(pair, step)
    assert not pair.tally(SETS[0]).is_public


@pytest.mark.skipif(not CAN_ADD_READERS, reason="this SDK takes no reader later")
def test_reader_added_later_has_the_points_from_then_on():
    """What was recorded before, and waits, is of the readers of before."""
    first, later = map(reader_of, TEMPORALITIES)
    pair = Pair(first)
    for _ in range(3):
        pair.record(0.2, SETS[0])
    pair.provider.add_metric_reader(later)
    assert pair.check(later) == []
    pair.record(0.2, SETS[0])
    assert [facts[4] for facts in pair.check(later)] == [1]
    assert [facts[4] for facts in pair.check(first)] == [4]


class OwnReservoir(AlignedHistogramBucketExemplarReservoir):
    """A user's own, which may keep any point."""


VIEWS = {
    "none": ({}, False),
    "of another instrument": ({"instrument_name": "else", "aggregation": DropAggregation()}, False),
    "drop": ({"aggregation": DropAggregation()}, False),
    "buckets": ({"aggregation": ExplicitBucketHistogramAggregation((0.1, 0.2, 3))}, False),
    "no min and max": ({"aggregation": ExplicitBucketHistogramAggregation(BUCKETS, record_min_max=False)}, False),
    "all attributes": ({"attribute_keys": {"a", "n", "port"}}, False),
    "some attributes": ({"attribute_keys": {"a"}}, True),
    "exponential": ({"aggregation": ExponentialBucketHistogramAggregation()}, True),
    "sum": ({"aggregation": SumAggregation()}, True),
    "other exemplars": ({"exemplar_reservoir_factory": lambda _: OwnReservoir}, True),
    "the same exemplars": ({"exemplar_reservoir_factory": lambda _: AlignedHistogramBucketExemplarReservoir}, False),
}


@pytest.mark.parametrize(("given", "is_public"), VIEWS.values(), ids=VIEWS)
def test_views_hold(given, is_public):
    """Those that change more than buckets are left to the public API."""
    views = [View(**{"instrument_name": "*", **given})] if given else []
    pair = Pair(*map(reader_of, TEMPORALITIES), views=views)
    for _ in range(3):
        for attributes in SETS:
            for value in (0, 0.15, 0.3, 20):
                pair.record(value, attributes)
                if is_public is False:
                    pair.record(value, attributes, pair.recording())
        for reader in pair.readers:
            pair.check(reader)
    assert pair.tally(SETS[2]).is_public is is_public


def test_each_of_several_views_is_given_the_points():
    """One under the name of the instrument, one under another, with buckets of its own: each with its exemplars."""
    views = [
        View(instrument_name=OURS, name="renamed", aggregation=ExplicitBucketHistogramAggregation((0.15, 1))),
        View(instrument_name=OURS),
    ]
    pair = Pair(reader_of(AggregationTemporality.DELTA), views=views)
    for value in (0.01, 0.12, 0.2, 3, 3, 3):
        pair.tally(SETS[0]).record(value, pair.recording())
    _, ours = pair.collect(pair.readers[0])
    assert sorted((facts[4], facts[8]) for facts in ours) == [(6, [0, 1, 2]), (6, [1, 6, 11])]
    assert not pair.tally(SETS[0]).is_public


@pytest.mark.parametrize(
    ("exemplar_filter", "is_public"),
    [(TraceBasedExemplarFilter, False), (AlwaysOffExemplarFilter, False), (AlwaysOnExemplarFilter, True)],
)
def test_exemplars_are_those_of_the_filter(exemplar_filter, is_public):
    """One that keeps some of what is not recording has all points by the public API."""
    pair = Pair(reader_of(AggregationTemporality.DELTA), exemplar_filter=exemplar_filter())
    for _ in range(3):
        for value in (0.01, 0.02, 0.02, 30):
            pair.record(value, SETS[0], UNSAMPLED)
        for value in (0.02, 0.2, 0.2):
            pair.record(value, SETS[0], pair.recording())
        pair.check(pair.readers[0])
    assert pair.tally(SETS[0]).is_public is is_public


def test_each_bucket_leads_to_a_trace():
    """Of the recording spans of a bucket, one is kept; in the next collection another."""
    pair = Pair(reader_of(AggregationTemporality.CUMULATIVE))
    tally, (reader,) = pair.tally(SETS[0]), pair.readers
    for _ in range(3):
        of_bucket = {}
        for value in (0.2, 3, 0.2, 3, 0.2):
            span = pair.recording()
            of_bucket.setdefault(value, set()).add(span.get_span_context().trace_id)
            tally.record(value, span)
        tally.record(0.006, UNSAMPLED)
        (scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
        (point,) = next(metric for metric in scope.metrics if metric.name == OURS).data.data_points
        assert sorted(each.value for each in point.exemplars) == [0.2, 3]
        assert all(each.trace_id in of_bucket[each.value] for each in point.exemplars)


def test_points_of_unsampled_spans_lead_to_no_span_around():
    """The span that is current somewhere else is no exemplar of theirs."""
    pair = Pair(reader_of(AggregationTemporality.CUMULATIVE))
    with pair.tracer.start_as_current_span("around"):
        pair.tally(SETS[0]).record(1, UNSAMPLED)
    _, ((*_, exemplars, _),) = pair.collect(pair.readers[0])
    assert exemplars == []


@pytest.mark.parametrize("values", [(-1.0,), (float("nan"),), (float("inf"),), (float("nan"), 2.0, -3.0, 0.1)])
def test_numbers_that_are_no_duration_are_left_to_the_sdk(values):
    """The newest leave out what is negative or not finite, older ones the negative alone; no other point goes with it."""
    pair = Pair(*map(reader_of, TEMPORALITIES))
    for value in (0.1, *values, 0.2):
        pair.record(value, SETS[0])
    for reader in pair.readers:
        assert pair.check(reader)[0][4] >= 2


def test_few_points_wait():
    """Where nobody collects, they are merged nevertheless."""
    pair = Pair()
    for _ in range(3 * MOST_PENDING):
        pair.tally(SETS[0]).add(0.1)
        assert count_pending(pair.tally(SETS[0])) < MOST_PENDING


def test_no_point_is_lost_or_counted_twice_between_threads():
    """Threads record while others collect, by readers of both temporalities: each has each point once."""
    pair = Pair(*map(reader_of, TEMPORALITIES))
    cumulative, delta = pair.readers
    threads, each = 4, 5000
    counts, done = [], threading.Event()

    def record_points():
        tally = pair.tally(SETS[0])
        for at in range(each):
            if at % 10:
                tally.add(0.3)
            else:
                tally.add_recording(0.3, span)

    def collect_points(reader):
        while not done.is_set():
            ours = pair.collect(reader)[1]
            if reader is delta:
                counts.extend(facts[4] for facts in ours)

    span = pair.recording()
    recording = [threading.Thread(target=record_points) for _ in range(threads)]
    collecting = [threading.Thread(target=collect_points, args=[reader]) for reader in pair.readers]
    for thread in (*recording, *collecting):
        thread.start()
    for thread in recording:
        thread.join()
    done.set()
    for thread in collecting:
        thread.join()
    counts.extend(facts[4] for facts in pair.collect(delta)[1])
    assert sum(counts) == threads * each
    assert [facts[4] for facts in pair.collect(cumulative)[1]] == [threads * each]


def test_last_collection_has_the_last_points():
    """The one that a provider's shutdown makes."""
    exported = []

    class Exporter(MetricExporter):
        def export(self, metrics_data, **_):
            exported.append(metrics_data)

        def force_flush(self, timeout_millis=0):
            return True

        def shutdown(self, **_):
            pass

    pair = Pair(PeriodicExportingMetricReader(Exporter(), export_interval_millis=3_600_000))
    pair.record(0.1, SETS[0])
    pair.provider.force_flush()
    pair.record(0.1, SETS[0])
    pair.record(0.1, SETS[0])
    pair.provider.shutdown()
    last = exported[-1].resource_metrics[0].scope_metrics
    found = {metric.name: metric for scope in last for metric in scope.metrics}
    assert [found[name].data.data_points[0].count for name in (PUBLIC, OURS)] == [3, 3]
    for _ in range(3 * MOST_PENDING):
        pair.record(0.1, SETS[0])
    assert count_pending(pair.tally(SETS[0])) < MOST_PENDING


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_points_that_wait_at_a_fork_are_those_of_the_parent():
    """The child begins with what the SDK has, with locks that nobody holds, and exports its own points besides."""
    pair = Pair(reader_of(AggregationTemporality.CUMULATIVE))
    tally = pair.tally(SETS[0])
    tally.add(0.1)
    pair.collect(pair.readers[0])
    for _ in range(5):
        tally.add(0.1)
    reading, writing = os.pipe()
    with merging(pair, tally):
        child = os.fork()
    if child == 0:
        tally.add(0.1)
        tally.add(0.1)
        _, ((_, _, _, _, count, *_),) = pair.collect(pair.readers[0])
        os.write(writing, str(count).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 10) == b"3"
    assert pair.collect(pair.readers[0])[1][0][4] == 6
    for end in (reading, writing):
        os.close(end)


class merging:
    """Another thread holds the locks of a merge."""

    def __init__(self, pair, tally):
        self._locks = [tally._lock, aggregations(pair, pair.readers[0])[0]._lock]
        self._held, self._leave = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold)

    def _hold(self):
        with self._locks[0], self._locks[1]:
            self._held.set()
            self._leave.wait()

    def __enter__(self):
        self._thread.start()
        self._held.wait()

    def __exit__(self, *_):
        self._leave.set()
        if self._thread.is_alive():
            self._thread.join()


def aggregations(pair, reader):
    """What the SDK has of our histogram for one reader."""
    matches = pair.provider._measurement_consumer._reader_storages[reader]._instrument_view_instrument_matches
    (ours,) = [found for histogram, found in matches.items() if histogram.name == OURS]
    return [each for match in ours for each in match._attributes_aggregation.values()]


class Lock:
    """A lock that does something when it is taken."""

    def __init__(self, act):
        self._act, self._lock = act, threading.Lock()

    def __enter__(self):
        self._lock.acquire()
        try:
            self._act()
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, *_):
        self._lock.release()


def test_points_that_are_recorded_inside_of_a_merge_wait_for_the_next():
    """By the handler of a signal: it waits for no lock, and each point counts once."""
    pair = Pair(reader_of(AggregationTemporality.CUMULATIVE))
    tally = pair.tally(SETS[0])
    tally.add(0.1)

    def interrupt():
        for _ in range(MOST_PENDING + 1):
            tally.add(0.1)
        tally.merge()

    (aggregation,) = aggregations(pair, pair.readers[0])
    sound, aggregation._lock = aggregation._lock, Lock(interrupt)
    tally.add(0.1)
    tally.merge()
    aggregation._lock = sound
    assert pair.collect(pair.readers[0])[1][0][4] == MOST_PENDING + 3


def fail():
    raise OSError


def test_aggregation_that_fails_costs_no_record():
    """What it raises is contained and counted, as what the public API raises, which is taken from then on."""
    pair = Pair(reader_of(AggregationTemporality.CUMULATIVE))
    count = MOST_PENDING + 2
    consumer = wrap_consumer(
        FakeConsumer(*map(record, range(count))),
        ConsumerOptions(meter_provider=pair.provider, tracer_provider=SpanRecorder(ALWAYS_OFF).tracer_provider),
    )
    next(consumer)
    next(consumer)  # which ends the first one
    sound = [(each, each._lock) for each in aggregations(pair, pair.readers[0])]
    for aggregation, _ in sound:
        aggregation._lock = Lock(fail)
    assert [each.offset for each in consumer] == list(range(2, count))
    for aggregation, lock in sound:
        aggregation._lock = lock
    data = pair.readers[0].get_metrics_data().resource_metrics[0].scope_metrics
    (errors,) = [metric for scope in data for metric in scope.metrics if metric.name == "otelkafka.telemetry.errors"]
    (failures,) = errors.data.data_points
    assert dict(failures.attributes) == {"otelkafka.call": "measure", "error.type": "OSError"}
    assert failures.value >= 1


def test_failing_aggregation_is_raised_once_and_the_others_have_the_points():
    """The caller that records contains it."""
    broken, sound = (reader_of(temporality) for temporality in TEMPORALITIES)
    pair = Pair(broken, sound)
    tally = pair.tally(SETS[0])
    tally.add(0.1)
    (aggregation,) = aggregations(pair, broken)
    aggregation._lock = Lock(fail)
    tally.add(0.1)
    with pytest.raises(OSError):
        tally.merge()
    assert tally.is_public
    assert pair.collect(sound)[1][0][4] == 2


class Recording(api.Histogram):
    """A histogram of another SDK."""

    def __init__(self):
        self.recorded = []

    def record(self, amount, attributes=None, context=None):
        self.recorded.append((amount, attributes, context))


class OtherMeter:
    """A meter of another SDK."""

    def __init__(self, made):
        self._made, self._sdk = made, MetricRecorder().meter_provider.get_meter("sdk")

    def create_histogram(self, name, *_, **__):
        return self._made.setdefault(name, Recording())

    def __getattr__(self, name):
        return getattr(self._sdk, name)


class OtherProvider(api.MeterProvider):
    """A meter provider of another SDK."""

    def __init__(self):
        self.made = {}

    def get_meter(self, *_, **__):
        return OtherMeter(self.made)


@pytest.mark.parametrize("sampler", [None, ALWAYS_OFF], ids=["sampled", "unsampled"])
def test_other_sdks_are_given_each_point(sampler):
    """With its attributes, and a context that leads to its span where that records, else to none."""
    provider, spans = OtherProvider(), SpanRecorder(sampler)
    options = ConsumerOptions(meter_provider=provider, tracer_provider=spans.tracer_provider)
    list(wrap_consumer(FakeConsumer(*map(record, range(3))), options))
    recorded = provider.made[OURS].recorded
    assert [attributes["messaging.destination.name"] for _, attributes, _ in recorded] == ["t"] * 3
    led_to = [get_current_span(context).get_span_context().span_id for *_, context in recorded]
    assert led_to == ([span.context.span_id for span in spans.spans] or [0, 0, 0])


def test_the_self_test_passes_with_this_sdk():
    """With each release that a lane of tox has."""
    assert passes_self_test()


def test_the_self_test_fails_where_an_sdk_collects_in_another_order(monkeypatch):
    """One that calls back after it has collected would export the points one collection late."""
    sound = measurement_consumer.SynchronousMeasurementConsumer.collect

    def collect(self, metric_reader, *args, **kwargs):
        found = self._reader_storages[metric_reader].collect()
        sound(self, metric_reader, *args, **kwargs)
        return found

    monkeypatch.setattr(measurement_consumer.SynchronousMeasurementConsumer, "collect", collect)
    assert not passes_self_test()


@pytest.mark.parametrize("name", ["_ViewInstrumentMatch", "MetricReaderStorage"])
def test_the_self_test_fails_where_an_sdk_is_made_of_other_parts(monkeypatch, name):
    """Exact types alone are known."""
    module = {
        "_ViewInstrumentMatch": "opentelemetry.sdk.metrics._internal.metric_reader_storage",
        "MetricReaderStorage": "opentelemetry.sdk.metrics._internal.measurement_consumer",
    }[name]
    sound = getattr(__import__(module, fromlist=[name]), name)
    monkeypatch.setattr(f"{module}.{name}", type(name, (sound,), {}))
    assert not passes_self_test()


@pytest.mark.parametrize("sampler", [None, ALWAYS_OFF], ids=["sampled", "unsampled"])
def test_clients_measure_the_same_either_way(sampler, monkeypatch, clock):
    """All histograms of a producer and a consumer, over several collections."""
    found = []
    for replace in (None, monkeypatch.setattr):
        if replace is not None:
            use_public_api(replace)
        metrics, spans = MetricRecorder(), SpanRecorder(sampler).tracer_provider
        providers = {"meter_provider": metrics.meter_provider, "tracer_provider": spans}
        producer = wrap_producer(bare := FakeProducer(), ProducerOptions(pipeline_time=True, **providers))
        producer.send("u", b"first").acknowledge()
        records = [record(at, headers=bare.headers[0]) for at in range(30)]
        consumer = wrap_consumer(FakeConsumer(*records), ConsumerOptions(pipeline_time=True, **providers))
        seen = []
        for at, each in enumerate(consumer):
            sent = producer.send("u", each.value)
            clock.advance(0.001 * at)
            sent.acknowledge()
            if at % 7 == 0:
                seen.append(histograms_of(metrics))
        found.append([*seen, histograms_of(metrics)])
    assert found[0] == found[1]
    assert set(found[0][-1]) == set(HISTOGRAMS)


def histograms_of(metrics):
    """Attributes, counts, sum, min and max of each point of our histograms, and the buckets with exemplars."""
    return {
        name: [
            (
                dict(point.attributes),
                point.bucket_counts,
                pytest.approx(point.sum),
                point.min,
                point.max,
                sorted({bisect_left(point.explicit_bounds, each.value) for each in point.exemplars}),
            )
            for point in metric.data.data_points
        ]
        for name, metric in metrics.metrics.items()
        if name in HISTOGRAMS
    }
