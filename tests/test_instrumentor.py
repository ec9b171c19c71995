"""KafkaInstrumentor: patched classes, their way back, and the neighbours."""

import http.server
import json
import logging
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import kafka
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from opentelemetry import baggage, context, trace

import otelkafka
from otelkafka import ConsumerOptions
from otelkafka.instrumentor import ELSEWHERE, KafkaInstrumentor
from otelkafka.testing import MetricRecorder, fake_record
from tests.support.fakes import Listener, ambient_of, current
from tests.support.internals import options_from_environment
from tests.support.waiting import PATIENCE, wait_until, wait_until_known

ROOT = Path(__file__).parents[1]


@pytest.fixture
def instrument(recorder):
    """Instrument kafka-python's own classes, and leave them as they were."""

    def instrument(**options):
        KafkaInstrumentor().instrument(tracer_provider=recorder.tracer_provider, **options)

    before = own_methods()
    yield instrument
    if KafkaInstrumentor().is_instrumented_by_opentelemetry:
        KafkaInstrumentor().uninstrument()
    assert own_methods() == before


def own_methods():
    return {
        cls: {name: value for name, value in vars(cls).items() if callable(value)}
        for cls in (KafkaProducer, KafkaConsumer)
    }


@pytest.fixture
def clients(broker, topic):
    made = []

    def make(cls, **config):
        made.append(cls(**{**broker.client_options, **config}))
        return made[-1]

    def producer(cls=KafkaProducer, **config):
        return make(cls, **config)

    def consumer(cls=KafkaConsumer, **config):
        bare = make(cls, auto_offset_reset="earliest", consumer_timeout_ms=int(PATIENCE * 1000), **config)
        bare.assign([TopicPartition(topic, 0)])
        return bare

    yield producer, consumer
    for client in made:
        client.close()


def test_unchanged_code_is_traced(instrument, clients, recorder, topic):
    """send, iteration, next(), poll(): the same spans as wrapped, with a parent, and nothing twice."""
    metrics = MetricRecorder()
    instrument(meter_provider=metrics.meter_provider)
    producer, consumer = (make() for make in clients)
    for value in (b"1", b"2", b"3", b"4"):
        producer.send(topic, value).get(PATIENCE)
    seen = []
    for record in consumer:
        seen.append((record.value, current()))
        break
    assert not current().is_valid
    seen.append((next(consumer).value, current()))
    consumer.close()
    polling = clients[1]()  # the client's own lists and iteration do not mix
    polling.seek(TopicPartition(topic, 0), 2)
    for records in polling.poll(timeout_ms=5000).values():
        seen += [(record.value, current()) for record in records]
    polling.close()
    assert not current().is_valid
    sent, processed = recorder.named(f"send {topic}"), recorder.named(f"process {topic}")
    assert [value for value, _ in seen] == [b"1", b"2", b"3", b"4"]
    assert [context for _, context in seen] == [span.context for span in processed]
    assert [span.parent.span_id for span in processed] == [span.context.span_id for span in sent]
    assert len(recorder.spans) == 8
    assert [count for _, count in metrics.points("messaging.client.consumed.messages")] == [4]
    assert [count for _, count in metrics.points("messaging.client.sent.messages")] == [4]


def test_pool_of_threads_has_the_consumers_group(instrument, clients, recorder, topic):
    """`process(record)` knows no consumer, and finds it: spans and metrics have the group, the client, lag and wait."""
    metrics = MetricRecorder()
    instrument(meter_provider=metrics.meter_provider, process="manual")
    producer, make_consumer = clients[0](), clients[1]
    for value in (b"1", b"2"):
        producer.send(topic, value, partition=0).get(PATIENCE)
    consumer = make_consumer(group_id=topic, client_id="pooled", enable_auto_commit=False)

    def work(record):
        with otelkafka.process(record):
            pass

    with ThreadPoolExecutor(2) as executor:
        list(executor.map(work, [next(consumer), next(consumer)]))
    spans = recorder.named(f"process {topic}")
    names = "messaging.consumer.group.name", "messaging.client.id"
    assert {tuple(span.attributes[name] for name in names) for span in spans} == {(topic, "pooled")}
    assert sorted(span.attributes["otelkafka.consumer.lag"] for span in spans) == [0, 1]
    assert all("otelkafka.queue.busy_duration" in span.attributes for span in spans)
    ((recorded, count),) = metrics.points("messaging.process.duration")
    assert (recorded["messaging.consumer.group.name"], count) == (topic, 2)
    KafkaInstrumentor().uninstrument()
    recorder.clear()
    with otelkafka.process(fake_record(topic, offset=1), ConsumerOptions(tracer_provider=recorder.tracer_provider)):
        pass
    assert "messaging.consumer.group.name" not in recorder.spans[0].attributes


def test_clients_and_subclasses_that_were_there_before_are_traced(instrument, clients, recorder, topic):
    """A client that is alive, a class that was imported or derived before: all traced, each send once."""

    class Own(KafkaProducer):
        def send(self, *args, **kwargs):
            return super().send(*args, **kwargs)

    make, _ = clients
    alive, own = make(), make(Own)
    instrument()
    for producer in (alive, own):
        producer.send(topic, b"v").get(PATIENCE)
    assert len(recorder.wait_for(f"send {topic}", 2)) == 2
    for producer in (alive, own):
        producer.close()  # after which no callback is called any more
    assert len(recorder.named(f"send {topic}")) == 2


def test_subclass_that_overrides_next_has_a_span_a_record(instrument, clients, recorder, topic):
    """The loop calls the subclass's `__next__`, and that the patched one: each record has one span."""

    class Decoding(KafkaConsumer):
        def __next__(self):
            return super().__next__()._replace(value="decoded")

    instrument()
    producer, consumer = clients[0](), clients[1](Decoding)
    for _ in range(3):
        producer.send(topic, b"v").get(PATIENCE)
    iterator = iter(consumer)
    assert [next(iterator).value for _ in range(3)] == ["decoded"] * 3
    consumer.close()
    assert len(recorder.named(f"process {topic}")) == 3


def test_uninstrument_leaves_the_classes_and_live_iterators_well(instrument, clients, recorder, topic):
    """The classes are as they were; an iterator that lives on hands over its records, without spans."""
    make_producer, make_consumer = clients
    producer, consumer = make_producer(), make_consumer()
    for value in (b"1", b"2", b"3"):
        producer.send(topic, value).get(PATIENCE)
    instrument()
    iterator = iter(consumer)
    assert next(iterator).value == b"1"
    assert current().is_valid
    KafkaInstrumentor().uninstrument()
    assert not current().is_valid
    assert [next(iterator).value, next(iterator).value] == [b"2", b"3"]
    assert not current().is_valid
    assert len(recorder.named(f"process {topic}")) == 1
    producer.send(topic, b"4").get(PATIENCE)
    assert recorder.named(f"send {topic}") == []


@pytest.mark.real_kafka
def test_uninstrument_leaves_the_rebalances(instrument, broker, recorder, topic):
    """A consumer that was traced before leaves its group: no span, and the user's listener is called as if never traced."""

    def join(group):
        consumer, listener = KafkaConsumer(**broker.client_options, group_id=group), Listener()
        wait_until_known(topic, consumer)
        consumer.subscribe([topic], listener=listener)
        return consumer, listener

    def wait_for_assignment(consumer, listener):
        wait_until(lambda: consumer.poll(100) or listener.calls[-1:] == [("assigned", 1)], "an assignment")

    bare, traced = join(f"{topic}-bare"), join(topic)
    wait_for_assignment(*bare)
    instrument()
    wait_for_assignment(*traced)
    assert recorder.named(f"assign {topic}")
    KafkaInstrumentor().uninstrument()
    recorder.clear()
    for consumer, _ in (bare, traced):
        consumer.close()
    assert recorder.spans == []
    assert traced[1].calls == bare[1].calls


def test_instrumenting_twice_is_once(instrument, clients, recorder, topic, caplog):
    """A second instrument() is a warning; there is one span a send."""
    instrument()
    instrument()
    assert "already instrumented" in caplog.text
    clients[0]().send(topic, b"v").get(PATIENCE)
    assert len(recorder.wait_for(f"send {topic}")) == 1


def test_wrapped_client_of_an_instrumented_class_has_one_span(instrument, clients, recorder, topic):
    """The wrapper traces, the patched class passes through: one span, one traceparent, on both sides."""
    instrument()
    options = otelkafka.Options(tracer_provider=recorder.tracer_provider)
    producer = otelkafka.wrap_producer(clients[0](), options)
    consumer = otelkafka.wrap_consumer(clients[1](), options)
    for _ in range(3):
        producer.send(topic, b"v").get(PATIENCE)
    for record in consumer:
        assert [key for key, _ in record.headers] == ["traceparent"]
        break
    next(consumer)
    consumer.close()
    polling = otelkafka.wrap_consumer(clients[1](), options)
    polling.seek(TopicPartition(topic, 0), 2)
    for records in polling.poll(timeout_ms=5000).values():
        list(records)
    polling.close()
    assert len(recorder.wait_for(f"send {topic}", 3)) == 3
    assert len(recorder.named(f"process {topic}")) == 3


def test_hooks_have_the_signatures_of_the_instrumentation_before_this(instrument, clients, recorder, topic):
    """produce_hook(span, args, kwargs) and consume_hook(span, record, args, kwargs), by changing the import only."""
    called = []

    def produce_hook(span, args, kwargs):
        called.append(
            (span is trace.get_current_span(), args, {**kwargs, "headers": [name for name, _ in kwargs["headers"]]})
        )
        kwargs["headers"].append(("tenant", b"a"))
        kwargs["value"] += b"!"

    def consume_hook(span, record, args, kwargs):
        called.append((span is trace.get_current_span(), baggage.get_baggage("user"), record.value, args, kwargs))

    instrument(produce_hook=produce_hook, consume_hook=consume_hook)
    producer, consumer = (make() for make in clients)
    token = context.attach(baggage.set_baggage("user", "1"))
    given = [("own", b"1")]
    producer.send(topic, value=b"v", headers=given).get(PATIENCE)
    context.detach(token)
    record = next(iter(consumer))
    names = ["own", "traceparent", "baggage"]
    assert called == [
        (True, (topic,), {"value": b"v", "headers": names}),
        (True, "1", b"v!", (), {}),
    ]
    assert [name for name, _ in record.headers] == [*names, "tenant"]
    assert given == [("own", b"1")]


def test_both_hooks_of_a_record_are_called(instrument, clients, topic):
    """`on_process` does not hide `consume_hook`, also where it raises."""
    called = []

    def on_process(span, record):
        called.append("on_process")
        raise ValueError

    instrument(on_process=on_process, consume_hook=lambda *_: called.append("consume_hook"))
    producer, consumer = (make() for make in clients)
    producer.send(topic, b"v").get(PATIENCE)
    next(iter(consumer))
    assert called == ["on_process", "consume_hook"]


def test_what_programs_give_to_every_instrumentor_is_accepted(instrument):
    """It concerns others, and is left out."""
    instrument(
        meter_provider=None,
        logger_provider=5,
        event_logger_provider=5,
        skip_dep_check=True,
        raise_exception_on_conflict=True,
    )
    assert KafkaInstrumentor().is_instrumented_by_opentelemetry


def test_hook_that_raises_is_contained(instrument, clients, topic, caplog):
    """Records go out and come in, whatever a hook does."""
    instrument(produce_hook=lambda *_: 1 / 0, consume_hook=lambda *_: 1 / 0)
    producer, consumer = (make() for make in clients)
    producer.send(topic, b"v").get(PATIENCE)
    assert next(iter(consumer)).value == b"v"
    assert {record.args[0] for record in caplog.records if record.name == "otelkafka"} == {"produce_hook", "on_process"}


def test_options_are_those_of_the_wrappers(instrument, clients, recorder, topic, monkeypatch):
    """By keyword; else by environment variables, of which a wrong one is a warning."""
    monkeypatch.setenv("OTELKAFKA_RELATION", "link")
    monkeypatch.setenv("OTELKAFKA_SPAN_NAME", "{destination} {operation}")
    instrument(span_name="{operation}: {destination}")
    producer, consumer = (make() for make in clients)
    producer.send(topic, b"v").get(PATIENCE)
    next(iter(consumer))
    (sent,) = recorder.wait_for(f"send: {topic}")
    consumer.close()
    (processed,) = recorder.named(f"process: {topic}")
    assert processed.parent is None
    assert processed.links[0].context.span_id == sent.context.span_id


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTELKAFKA_RELATION", "child"),
        ("OTELKAFKA_MAX_LINKS", "many"),
        ("OTELKAFKA_MAX_LINKS", "-1"),
        ("OTELKAFKA_POLL_SPANS", "perhaps"),
        ("OTELKAFKA_SPAN_NAME", "{nope}"),
        ("OTELKAFKA_SAMPLE_WAITS_OVER", "long"),
    ],
)
def test_wrong_variable_is_a_warning_that_names_it(instrument, monkeypatch, caplog, variable, value):
    """Once; it must never stop an application from starting."""
    monkeypatch.setenv(variable, value)
    instrument()
    assert caplog.text.count(f"{variable}={value!r} is ignored") == 1


@pytest.mark.parametrize(
    ("variable", "warning"),
    [
        ("OTELKAFKA_MAX_LINK", "OTELKAFKA_MAX_LINK is no option, and is ignored: OTELKAFKA_MAX_LINKS is one"),
        ("OTELKAFKA_PROCES", "OTELKAFKA_PROCES is no option, and is ignored: OTELKAFKA_PROCESS is one"),
        ("OTELKAFKA_QQQ", "OTELKAFKA_QQQ is no option, and is ignored"),
        ("OTELKAFKA_ON_SEND", "OTELKAFKA_ON_SEND is ignored: it takes a Python object; use instrument(on_send=...)"),
    ],
)
def test_variable_that_sets_nothing_is_a_warning(instrument, monkeypatch, caplog, variable, warning):
    """It names the option that was probably meant."""
    monkeypatch.setenv(variable, "1")
    instrument()
    assert [record.getMessage() for record in caplog.records if record.name == "otelkafka"] == [warning]


def test_variables_of_this_projects_tools_are_not_reported():
    """Each that is read anywhere in it is an option's, or known to be another's."""
    options = {
        f"OTELKAFKA_{each.name.upper()}"
        for side in (otelkafka.ProducerOptions, otelkafka.ConsumerOptions)
        for each in fields(side)
    }
    here = Path(__file__)
    files = [
        path
        for name in ("tests", "testbroker", "benchmarks", "examples", "docs", ".ci")
        for path in (ROOT / name).rglob("*.*")
    ]
    files += [ROOT / "tox.ini", *(ROOT / ".ci").iterdir()]
    texts = (
        path.read_text()
        for path in files
        if path.is_file() and path != here and path.suffix in {"", ".py", ".ini", ".md"}
    )
    used = {name for text in texts for name in re.findall(r"OTELKAFKA_[A-Z]\w*", text)}
    assert used - options == ELSEWHERE


@pytest.mark.parametrize("handlers", ["exporting", "exporting and showing"])
def test_warning_is_shown_where_logging_is_not_set_up(handlers):
    """Also where OpenTelemetry's instrumentation of logging has a handler, which exports it; and once."""
    module = pytest.importorskip("opentelemetry.instrumentation.logging.handler").__name__
    program = f"""
import logging, sys
from {module} import LoggingHandler
logging.getLogger().addHandler(LoggingHandler())
if {"showing" in handlers}:
    logging.getLogger().addHandler(logging.StreamHandler())
sys.stderr = sys.stdout
for handler in logging.getLogger().handlers[1:]:
    handler.setStream(sys.stdout)
from otelkafka.instrumentor import KafkaInstrumentor
KafkaInstrumentor().instrument()
"""
    shown = " ".join(run_alone(program, OTELKAFKA_MAX_LINKS="wrong"))
    assert shown == "OTELKAFKA_MAX_LINKS='wrong' is ignored: give a whole number"


def test_right_variables_are_taken(monkeypatch):
    """Each type of option: a truth, a number, a name, a list."""
    for name, value in (
        ("POLL_SPANS", "Yes"),
        ("CAPTURE_KEY", "0"),
        ("MAX_LINKS", "7"),
        ("CAPTURE_HEADERS", "a, b-*,"),
        ("SAMPLE_WAITS_OVER", "2.5"),
        ("RELATION", "both"),
    ):
        monkeypatch.setenv(f"OTELKAFKA_{name}", value)
    assert options_from_environment(otelkafka.ConsumerOptions) == {
        "poll_spans": True,
        "capture_key": False,
        "max_links": 7,
        "capture_headers": ("a", "b-*"),
        "sample_waits_over": 2.5,
        "relation": "both",
    }


@pytest.mark.parametrize(
    "wrong",
    [{"relation": "child"}, {"nonsense": 1}, {"logger_provder": None}, {"produce_hook": 5}, {"consume_hook": 5}],
)
def test_wrong_option_is_refused_and_leaves_the_classes(instrument, wrong):
    """A clear error at once, and nothing patched."""
    before = own_methods()
    with pytest.raises((TypeError, ValueError), match=next(iter(wrong))):
        instrument(**wrong)
    assert own_methods() == before


def test_it_is_found_by_opentelemetry_instrument():
    """The entry point, and what it depends on."""
    (found,) = entry_points(group="opentelemetry_instrumentor", name="otelkafka")
    assert found.load() is KafkaInstrumentor
    assert KafkaInstrumentor().instrumentation_dependencies() == ("kafka-python >= 2.0.3, < 4",)


@pytest.fixture
def neighbour(recorder):
    """The other instrumentation of kafka-python."""
    module = pytest.importorskip("opentelemetry.instrumentation.kafka")
    theirs = module.KafkaInstrumentor()
    before = own_methods()
    yield lambda: theirs.instrument(tracer_provider=recorder.tracer_provider, skip_dep_check=True)
    if theirs.is_instrumented_by_opentelemetry:
        theirs.uninstrument()
    assert own_methods() == before


def theirs_and_ours(recorder):
    scopes = [span.instrumentation_scope.name for span in recorder.spans]
    return scopes.count("opentelemetry.instrumentation.kafka"), scopes.count("otelkafka")


def test_neighbour_that_was_first_is_called_through(neighbour, instrument, clients, recorder, topic, caplog):
    """Both active: otelkafka traces, every record once, and one warning says how to choose."""
    neighbour()
    instrument()
    producer, consumer = (make() for make in clients)
    for _ in range(2):
        producer.send(topic, b"v").get(PATIENCE)
    for record in consumer:
        assert [key for key, _ in record.headers] == ["traceparent"]
        break
    consumer.close()
    assert theirs_and_ours(recorder) == (0, 3)
    assert caplog.text.count("KafkaProducer: otelkafka traces") == 1
    assert "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS" in caplog.text
    KafkaInstrumentor().uninstrument()


def test_neighbour_that_comes_later_is_put_aside(instrument, neighbour, clients, recorder, topic):
    """The first call that runs inside it is its own, from then on otelkafka traces."""
    instrument()
    neighbour()
    producer = clients[0]()
    for _ in range(3):
        producer.send(topic, b"v").get(PATIENCE)
    recorder.wait_for(f"send {topic}", 2)
    assert theirs_and_ours(recorder) == (1, 2)
    KafkaInstrumentor().uninstrument()


def test_wrapped_client_of_a_class_that_they_patched_has_one_span(neighbour, clients, recorder, topic):
    """Only their own wrappers are gone through: one span, one traceparent."""
    neighbour()
    options = otelkafka.Options(tracer_provider=recorder.tracer_provider)
    otelkafka.wrap_producer(clients[0](), options).send(topic, b"v").get(PATIENCE)
    consumer = otelkafka.wrap_consumer(clients[1](), options)
    for record in consumer:
        assert [key for key, _ in record.headers] == ["traceparent"]
        break
    assert theirs_and_ours(recorder) == (0, 2)


def test_somebody_elses_wrapper_stays(instrument, clients, recorder, topic, monkeypatch):
    """A patch of another's, under ours or over it, is called, and is there after us."""
    called = []
    send = KafkaProducer.send

    def theirs(self, *args, **kwargs):
        called.append("under")
        return send(self, *args, **kwargs)

    monkeypatch.setattr(KafkaProducer, "send", theirs)
    instrument()
    ours = KafkaProducer.send

    def over(self, *args, **kwargs):
        called.append("over")
        return ours(self, *args, **kwargs)

    KafkaProducer.send = over
    producer = clients[0]()
    producer.send(topic, b"v").get(PATIENCE)
    assert called == ["over", "under"]
    assert len(recorder.wait_for(f"send {topic}")) == 1
    KafkaInstrumentor().uninstrument()
    assert KafkaProducer.send is over
    producer.send(topic, b"v").get(PATIENCE)
    assert called == ["over", "under"] * 2
    assert len(recorder.named(f"send {topic}")) == 1
    monkeypatch.setattr(KafkaProducer, "send", send)


def test_ambient_span_of_another_instrumentation_is_the_parent(instrument, clients, recorder, topic):
    """What a web framework's instrumentation has made current is the send's parent."""
    instrument()
    with ambient_of(recorder, "GET /") as ambient:
        clients[0]().send(topic, b"v").get(PATIENCE)
    (sent,) = recorder.wait_for(f"send {topic}")
    assert sent.parent.span_id == ambient.get_span_context().span_id


def test_log_records_carry_the_process_spans_ids(instrument, clients, recorder, topic, caplog):
    """opentelemetry-instrumentation-logging shows the process span's ids inside the loop."""
    logs = pytest.importorskip("opentelemetry.instrumentation.logging").LoggingInstrumentor()
    instrument()
    producer, consumer = (make() for make in clients)
    producer.send(topic, b"v").get(PATIENCE)
    logs.instrument(
        tracer_provider=recorder.tracer_provider, inject_trace_context=True, enable_log_auto_instrumentation=False
    )
    try:
        for _ in consumer:
            logging.getLogger("app").warning("answering")
            break
    finally:
        logs.uninstrument()
    (record,) = [record for record in caplog.records if record.name == "app"]
    (span,) = recorder.named(f"process {topic}")
    assert record.otelSpanID == f"{span.context.span_id:016x}"


def test_threads_that_instrument_and_send_at_once(instrument, clients, recorder, topic):
    """Clients in many threads while the classes are patched: every record goes out, each with one span at most."""
    producer = clients[0]()
    futures = []

    def send():
        for _ in range(50):
            futures.append(producer.send(topic, b"v"))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    instrument()
    for thread in threads:
        thread.join()
    for future in futures:
        future.get(PATIENCE)
    assert len(futures) == 200
    assert len(recorder.named(f"send {topic}")) <= 200


class Endpoint(http.server.ThreadingHTTPServer):
    """Takes what an OTLP exporter sends."""

    def __init__(self):
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        endpoint, self.spans = self, []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/v1/traces":
                    request = ExportTraceServiceRequest.FromString(body)
                    for resource in request.resource_spans:
                        endpoint.spans += [span for scope in resource.scope_spans for span in scope.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)


def test_service_without_a_changed_line_reaches_an_otlp_endpoint(broker, topic):
    """`opentelemetry-instrument python service.py`: its spans arrive, one trace from send to process."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    service = ROOT / "examples" / "service.py"
    options = {name: value for name, value in broker.client_options.items() if name != "bootstrap_servers"}
    with Endpoint() as endpoint:
        serving = threading.Thread(target=endpoint.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        environment = {
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{endpoint.server_port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "kafka",
            "OTELKAFKA_PROCESS": "iterate",
            "OTELKAFKA_MAX_LINKS": "wrong",
            "NO_PROXY": "127.0.0.1",
        }
        command = [str(Path(sys.executable).with_name("opentelemetry-instrument")), sys.executable, str(service)]
        ran = subprocess.run(
            [*command, broker.bootstrap_servers, topic, f"--options={json.dumps(options)}"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        endpoint.shutdown()
        serving.join()
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "answered why?\n"
    assert "OTELKAFKA_MAX_LINKS='wrong' is ignored" in ran.stderr
    names = {span.name: span for span in endpoint.spans}
    assert set(names) == {f"send {topic}", f"process {topic}"}
    assert names[f"process {topic}"].parent_span_id == names[f"send {topic}"].span_id
    assert len({span.trace_id for span in endpoint.spans}) == 1


def run_alone(program, *command, **environment):
    """Run a program in a process of its own, and return what it printed."""
    ran = subprocess.run(
        [*command, sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


IMPORTED_FIRST = """
import sys
from otelkafka.instrumentor import KafkaInstrumentor
KafkaInstrumentor().instrument()
assert not [name for name in sys.modules if name.partition(".")[0] == "kafka" or "kafka_python" in name]
"""


@pytest.mark.parametrize(
    ("then", "printed"),
    [
        ("", ["True", "False"]),
        ("KafkaInstrumentor().uninstrument()", ["False", "False"]),
        ("KafkaInstrumentor().uninstrument(); KafkaInstrumentor().instrument()", ["True", "False"]),
    ],
    ids=["patched", "cancelled", "once"],
)
def test_kafka_is_imported_by_the_application(then, printed):
    """Not by zero code, which patches the classes at that moment: another library may have to come first."""
    shown = """
from kafka import KafkaProducer
print(hasattr(KafkaProducer.send, "__wrapped__"), hasattr(getattr(KafkaProducer.send, "__wrapped__", 0), "__wrapped__"))
"""
    assert run_alone(IMPORTED_FIRST + then + shown) == printed


def test_import_of_kafka_goes_on_where_it_cannot_be_patched():
    """The application gets its library, and a warning."""
    program = """
sys.modules["otelkafka._clients.kafka_python.patches"] = None
import kafka
print(kafka.KafkaProducer.__name__)
"""
    assert run_alone(IMPORTED_FIRST + program) == ["KafkaProducer"]


def test_names_of_kafkas_errors_are_known_without_a_client():
    """Also where the application imports `kafka` after otelkafka, and wraps nothing."""
    program = """
from otelkafka import ConsumerOptions, process
from otelkafka.testing import SpanRecorder, fake_record
from kafka.errors import UnknownTopicOrPartitionError
recorder = SpanRecorder()
try:
    with process(fake_record("t"), ConsumerOptions(tracer_provider=recorder.tracer_provider)):
        raise UnknownTopicOrPartitionError
except UnknownTopicOrPartitionError:
    print(recorder.spans[0].attributes["error.type"])
"""
    assert run_alone(program) == ["UNKNOWN_TOPIC_OR_PARTITION"]


@pytest.mark.skipif(find_spec("gevent") is None, reason="gevent is not installed")
def test_program_that_patches_itself_with_gevent(broker, topic):
    """Under `opentelemetry-instrument`, `kafka` is imported after `monkey.patch_all()`: it sends, and is traced."""
    program = f"""
from gevent import monkey; monkey.patch_all()
from kafka import KafkaProducer
from opentelemetry import trace
from otelkafka.testing import SpanRecorder
recorder = SpanRecorder()
trace.set_tracer_provider(recorder.tracer_provider)
producer = KafkaProducer(**{broker.client_options!r})
producer.send({topic!r}, b"v").get({PATIENCE})
producer.close()
print(*(span.name for span in recorder.spans))
"""
    command = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    exporters = dict.fromkeys(("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"), "none")
    environment = {**exporters, "OTEL_PYTHON_CONFIGURATOR": "none", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "kafka"}
    assert run_alone(program, command, **environment) == ["send", topic]


def test_client_that_cannot_be_looked_up_is_not_traced_but_works(instrument):
    """A subclass without a hash, say: its calls go on."""
    sent = []

    class Odd(kafka.KafkaProducer):
        __hash__ = None

        def __init__(self):
            pass

        def close(self, *_, **__):
            sent.append("closed")

    instrument()
    odd = Odd()
    with pytest.raises(AttributeError):
        odd.send("t", b"v")
    odd.close()
    assert sent == ["closed"]
    assert trace.get_current_span() is trace.INVALID_SPAN


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_child_of_a_fork_goes_its_own_way(instrument):
    """What a child does to its classes does not change its parent, and it can instrument as its parent did."""
    before = own_methods()
    instrument()
    child = os.fork()
    if child == 0:
        KafkaInstrumentor().uninstrument()
        as_it_was = own_methods() == before
        KafkaInstrumentor().instrument()
        os._exit(0 if as_it_was and own_methods() != before else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert own_methods() != before
