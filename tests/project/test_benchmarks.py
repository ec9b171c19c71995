"""The benchmarks run, and every face does what it is timed for; how long they take is not asserted here."""

import asyncio

import kafka
import pytest
from opentelemetry import trace

import otelkafka
from benchmarks import awaited, end_to_end, memory, own_cost, page, pipeline, plot, run, tables
from benchmarks.__main__ import RESULTS
from benchmarks.faces import ACTIONS, CONSTANT, FACES, faces_of
from benchmarks.modes import MODES
from benchmarks.own_cost import Case
from benchmarks.results import Results
from benchmarks.stubs import BATCH
from tests.support.fakes import FakeProducer
from tests.support.internals import forget_options_of_functions

pytestmark = pytest.mark.once

CASES = [(action, face) for action in ACTIONS for face in faces_of(action)]
RECORDS = 20


@pytest.fixture
def global_recorder(recorder, monkeypatch):
    """Make the recorder's provider the global one, as the benchmarks' is."""
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: recorder.tracer_provider)
    forget_options_of_functions()
    yield recorder
    forget_options_of_functions()


@pytest.mark.parametrize(("action", "face"), CASES)
def test_face_makes_its_spans(action, face, global_recorder):
    """A span a record, none where the client is bare; a poll span more, or one for a whole batch."""
    Case(action, "always").work(face, {})()
    names = [span.name for span in global_recorder.spans]
    records = {"send": {"send t", "t send"}}.get(action, {"process t", "t receive"})
    expected = 0 if face == "bare" else BATCH
    if face in ("wrapped", "instrumented"):
        expected = 1 if action == "batch" else BATCH
        assert names.count("poll t") == (action == "poll-spans")
    assert sum(name in records for name in names) == expected


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("action", awaited.OF_AIOKAFKA)
def test_awaited_face_makes_its_spans(action, face, global_recorder):
    """The same over clients of aiokafka; contrib has more for a list than a span a record."""
    asyncio.run(awaited.work_of(face, action, "always")(BATCH))
    names = [span.name for span in global_recorder.spans]
    wanted = {"send t", "t send"} if action == "send" else {"process t", "t receive"}
    found = sum(name in wanted for name in names)
    assert found >= BATCH if (face, action) == ("contrib", "getmany") else found == (0 if face == "bare" else BATCH)


@pytest.mark.parametrize("face", faces_of("send"))
def test_face_sends_a_context(face, global_recorder):
    """Every face sends headers, the bare one the same each time."""
    producer = Case("send", "always").client(face, {})
    own_cost.sending(face, producer, "t")()
    ((name, value),) = producer.headers
    assert name == "traceparent"
    assert (producer.headers == CONSTANT) is (face == "bare")
    if face != "bare":
        assert f"{global_recorder.spans[-1].context.trace_id:032x}".encode() in value


@pytest.mark.parametrize("face", ["wrapped", "instrumented"])
def test_sampled_spans_are_whole(face, global_recorder):
    """What is timed as sampled records ack and offset, and wait and lag."""
    Case("send", "always").work(face, {})()
    assert global_recorder.spans[-1].attributes["messaging.kafka.offset"] == 7
    Case("iterate", "always").work(face, {})()
    shown = global_recorder.spans[-1].attributes
    assert {"otelkafka.queue.busy_duration", "otelkafka.consumer.lag"} <= set(shown)


@pytest.mark.parametrize(("action", "histograms"), [("send", 1), ("iterate", 2), ("poll", 2)])
def test_histograms_alone_are_those_of_the_face(action, histograms, metrics):
    """The histograms that are timed by themselves record as often as the face does."""
    Case(action, "no-sdk").work("wrapped", {"meter_provider": metrics.meter_provider})()
    assert len(own_cost.histogram_calls(metrics._reader)) // BATCH == histograms


def test_own_cost_runs():
    """A process times every face, with and without metrics, and says of which release of kafka-python."""
    taken = run.program("own_cost", "iterate", "ratio", "--rounds=1")
    assert taken.pop("kafka-python") == kafka.__version__
    assert {"bare", "minimum", "wrapped", "instrumented", "contrib", "wrapped with metrics", "counter"} <= set(taken)
    assert all(nanoseconds > 0 for nanoseconds in taken.values())


def test_import_and_bytes_are_measured():
    """Both programs print figures."""
    assert run.program("import_time") > 0
    assert min(run.program("span_bytes").values()) > 0


@pytest.mark.real_kafka
@pytest.mark.parametrize(
    ("action", "face"), [("send", "wrapped"), ("send", "minimum"), ("iterate", "wrapped"), ("poll", "minimum")]
)
def test_rounds_on_kafka(action, face, filled):
    """A process sends or consumes a round whenever it is asked, and ends with the context."""
    with run.rounds_of("end_to_end", action, "ratio", face, f"--servers={filled}", f"--count={RECORDS}") as next_round:
        assert next_round() > 0
        assert next_round() > 0


@pytest.mark.real_kafka
def test_memory_is_measured(filled, broker):
    """A process reports what it grew by, and that nothing is in flight."""
    broker.create_topic("memory-wrapped")
    found = run.program("memory", "wrapped", f"--servers={filled}", f"--count={RECORDS}", f"--chunk={RECORDS}")
    assert found["in_flight"] == 0
    assert found["threads"] > 0


def test_memory_counts_what_is_in_flight(recorder, metrics):
    """Sends that nobody acknowledges are found in flight."""
    options = {"tracer_provider": recorder.tracer_provider, "meter_provider": metrics.meter_provider}
    producer = otelkafka.wrap_producer(FakeProducer(), otelkafka.ProducerOptions(**options))
    producer.send("t")
    producer.send("t")
    assert memory.in_flight(metrics._reader) == 2


@pytest.fixture(scope="module")
def filled(broker):
    """Make the topics, with few records."""
    end_to_end.fill(broker, RECORDS)
    return broker.bootstrap_servers


def figures(own):
    """Figures of a run in which otelkafka cost so many microseconds everywhere, and the minimum ten."""
    faces = {"bare": 0, "minimum": 10, "wrapped": own, "instrumented": own, "contrib": 12, "counter": 0.1}
    for face in ("wrapped", "instrumented"):
        faces |= {face + own_cost.WITH_METRICS: own + 8, f"{face} histograms": 10}
    case = {face: [taken * 1000.0] for face, taken in faces.items()}
    own_cases = {f"{action} {mode}": case for action in ACTIONS for mode in MODES}
    kafka_case = {"bare": [100.0, 100.0], "minimum": [80.0, 80.0], "wrapped": [95.0, 97.0]}
    left = {
        face: {"grown": grown << 20, "in_flight": 0, "threads": 1}
        for face, grown in (("bare", 1), ("wrapped", 3), ("instrumented", 9))
    }
    return Results(
        {
            "own": {"3.0": own_cases},
            "span-bytes": {"send": 400, "iterate": 600},
            "end-to-end": {f"{action} {mode}": kafka_case for action in end_to_end.ACTIONS for mode in MODES},
            "memory": left,
            "import": [50.0],
        }
    )


def test_targets_are_met_or_not():
    """Whether a target is met follows from the figures, and from those of each face."""
    rows = [line.split(" | ") for line in tables.targets_met(figures(3), figures(6)).splitlines()]
    found = {row[0].strip("| "): [cell.strip(" |") for cell in row[1:]] for row in rows}
    assert found["a send, ratio: cost to the minimum's"] == ["at most 0.35", "0.60", "0.30", "0.30", "yes"]
    assert found["a record iterated, ratio: cost to the minimum's"][-1] == "**no**"
    assert found["send on Kafka, ratio: kept of the bare client's throughput"][2:] == ["0.96", "", "yes"]
    assert found["memory more than the bare client's, MiB"] == [
        "at most 5",
        "2.00",
        "2.00",
        "8.00",
        "**no**, instrumented",
    ]
    assert found["send: what metrics add, to the SDK's histograms and counter alone"][2] == "0.79"


def test_cores_and_bytes_follow_from_the_figures():
    """Three microseconds each for sending and consuming are six cores at a million a second, and a span each its bytes."""
    assert "| 1,000,000 | 1 in 1,000 | 6.00 | 22.00 | 2,000 | 1 MB |" in tables.sampling(figures(3))


def test_picture_marks_what_is_met():
    """The picture has a tick where the target is met, and is empty without figures."""
    assert plot.draw(figures(3)).count("\u2713 met") == 1
    assert plot.draw(figures(3)).count("3.0 \u2713") < plot.draw(figures(1)).count("1.0 \u2713")
    assert plot.draw(Results({})) == ""


def test_page_has_the_figures_of_its_json():
    """What the page shows is what the figures beside it say: `python -m benchmarks --page` writes it again."""
    found = Results.load(RESULTS)
    for name, part in page.parts(found).items():
        whole = page.page_of(name).read_text()
        assert page.between(whole, name, part) == whole
    assert page.PLOT.read_text() == plot.draw(found)


def test_page_without_markers_is_refused():
    """A part that has no place on the page is an error that names it."""
    with pytest.raises(ValueError, match="0 parts between .*nowhere"):
        page.between("a page", "nowhere", "a part")


@pytest.mark.real_kafka
def test_records_that_matter_have_a_trace_each(broker, monkeypatch):
    """A pipeline of three topics and a web service: time to glass for all, a trace for the slow and the failed alone."""
    monkeypatch.setattr(pipeline, "CHUNK", 50)
    found = pipeline.measure(broker, 200, lambda _: None)
    shown = found[pipeline.MATTER]
    assert (shown["measured"], shown["slow"], shown["failed"]) == (200, 2, 2)
    assert shown["others"] <= 1  # one in 100,000 is sampled anyway
    for mode in (pipeline.NOTHING, pipeline.SAMPLED, pipeline.METERED):
        assert (found[mode]["measured"], found[mode]["slow"], found[mode]["failed"]) == (0, 0, 0)
    assert found[pipeline.NOTHING]["spans"] == 0
    assert (found[pipeline.ALL]["others"], found[pipeline.ALL]["spans"]) == (200, 200 * 8)


def test_page_shows_the_run_of_the_pipeline():
    """Its table is what the figures beside it come to, and they show what it is to show."""
    found = Results.load(pipeline.RESULTS).found
    assert pipeline.part(found) in pipeline.PAGE.read_text()
    shown = found["modes"][pipeline.MATTER]
    assert found["records"] == shown["measured"] == 100_000
    assert (shown["slow"], shown["failed"]) == (50, 50)
