"""ConfluentKafkaInstrumentor: names and subclasses of C types, their way back, hooks, and peace with contrib's."""

import abc
import subprocess
import sys
import types
from importlib.metadata import entry_points

import confluent_kafka
import confluent_kafka.serialization
import pytest
from confluent_kafka import KafkaException, TopicPartition, cimpl
from confluent_kafka import Producer as ImportedBefore
from opentelemetry import baggage, trace

import otelkafka
from otelkafka.instrumentor import AIOKafkaInstrumentor, ConfluentKafkaInstrumentor, KafkaInstrumentor
from otelkafka.testing import FakeConfluentConsumer, FakeConfluentProducer, fake_record
from tests.support.fakes import TRACEPARENT, current, fill, is_nothing_current

pytestmark = pytest.mark.once

MOCK = {"bootstrap.servers": "mock:9092", "test.mock.num.brokers": 1, "log_level": 0}
"""The configuration of a client that has a broker of its own inside."""
THIS = sys.modules[__name__]


class DefinedBefore(confluent_kafka.Producer):
    """A subclass of an application's."""


class Calling(confluent_kafka.Producer):
    """One with a constructor and a `produce()` of its own."""

    def __init__(self, servers):
        super().__init__({**MOCK, "bootstrap.servers": servers})

    def produce(self, topic, value):
        return super().produce(topic, value, b"own")


class Slotted(confluent_kafka.Producer):
    """One without room for a weak reference."""

    __slots__ = ()


def ours():
    return ConfluentKafkaInstrumentor()


def theirs():
    return pytest.importorskip("opentelemetry.instrumentation.confluent_kafka").ConfluentKafkaInstrumentor()


@pytest.fixture
def instrument(recorder):
    used = []

    def instrument(instrumentor=ours, **options):
        used.append(instrumentor())
        used[-1].instrument(**{"tracer_provider": recorder.tracer_provider, "skip_dep_check": True, **options})

    yield instrument
    for each in used:
        if each.is_instrumented_by_opentelemetry:
            each.uninstrument()


def deliver(producer, *args, **kwargs):
    producer.produce(*args, **kwargs)
    assert producer.flush(30) == 0


def test_unchanged_code_is_traced(instrument, recorder, cluster):
    """The same spans as wrapped, each once; the fakes are subclasses, as confluent-kafka's own are."""
    instrument()
    producer = FakeConfluentProducer(cluster=cluster)
    in_transactions = FakeConfluentProducer({"transactional.id": "tx"}, cluster=cluster)
    with producer, FakeConfluentConsumer({"group.id": "g"}, cluster=cluster) as consumer:
        consumer.subscribe(["t"])
        for value in (b"1", b"2", b"3"):
            producer.produce("t", value)
        producer.flush()
        in_transactions.begin_transaction()
        in_transactions.produce("t", b"4")
        in_transactions.commit_transaction()
        for _ in range(2):
            consumer.poll(0)
            assert current().is_valid
            consumer.commit()
        for _ in consumer.consume(5):
            assert trace.get_current_span().name == "process t"
    names = [span.name for span in recorder.spans]
    assert {name: names.count(name) for name in names} == {
        "send t": 4,
        "process t": 4,
        "commit t": 2,
        "commit transaction": 1,
        "assign t": 1,
        "revoke t": 1,
    }
    sent = {span.context.span_id for span in recorder.named("send t")}
    assert {span.parent.span_id for span in recorder.named("process t")} == sent


def test_names_that_were_imported_before_are_replaced(instrument, recorder):
    """In `confluent_kafka` and in every module; a real client sends to the broker inside of it."""
    original = cimpl.Producer
    instrument()
    assert confluent_kafka.Producer is THIS.ImportedBefore is not original
    producer = ImportedBefore({**MOCK, "client.id": "c"})
    deliver(producer, "t", b"v")
    (span,) = recorder.spans
    assert span.attributes["messaging.client.id"] == "c"
    assert (span.attributes["server.address"], span.attributes["server.port"]) == ("mock", 9092)
    assert span.attributes["messaging.kafka.offset"] == 0
    assert (type(producer).__name__, type(producer).__module__) == (original.__name__, original.__module__)


def test_isinstance_holds_with_both_names(instrument):
    """Of clients that were made before and after; of subclasses, and with them."""
    original, before = confluent_kafka.Producer, confluent_kafka.Producer(MOCK)
    instrument()
    after, own = confluent_kafka.Producer(MOCK), DefinedBefore(MOCK)
    for producer in (before, after, own):
        assert isinstance(producer, original)
        assert isinstance(producer, confluent_kafka.Producer)
    assert isinstance(own, DefinedBefore)
    assert not isinstance(after, DefinedBefore)
    assert not isinstance(after, confluent_kafka.Consumer)
    assert issubclass(DefinedBefore, confluent_kafka.Producer)
    assert issubclass(confluent_kafka.SerializingProducer, confluent_kafka.Producer)
    assert not issubclass(int, confluent_kafka.Producer)

    class Abstract(confluent_kafka.Producer, abc.ABC):
        pass

    assert isinstance(Abstract(MOCK), Abstract)
    assert not isinstance(after, Abstract)


@pytest.mark.parametrize("kind", [DefinedBefore, Calling, confluent_kafka.SerializingProducer])
def test_subclasses_are_traced(instrument, recorder, kind):
    """Those that were defined before, one span a call.

    The configuration is known where the constructor gets it. A `produce()` that takes neither headers nor callback is
    called as it is.
    """
    instrument()
    producer = kind("mock:1") if kind is Calling else kind(MOCK)
    deliver(producer, "t", value=b"v")
    (span,) = recorder.spans
    assert ("messaging.kafka.offset" in span.attributes) is (kind is not Calling)
    assert ("server.address" in span.attributes) is (kind is not Calling)


def test_subclasses_that_are_defined_later_are_traced(instrument, recorder):
    """By what they inherit."""
    instrument()

    class Own(confluent_kafka.Producer):
        def __init__(self, conf):
            super().__init__(conf)

        def produce(self, *args, **kwargs):
            super().produce(*args, **kwargs)

    deliver(Own(MOCK), "t", b"v")
    assert [span.name for span in recorder.spans] == ["send t"]
    assert recorder.spans[0].attributes["server.address"] == "mock"


def test_configuration_by_keywords(instrument, recorder):
    """As confluent-kafka takes it, too."""
    instrument()
    deliver(confluent_kafka.Producer(**MOCK), "t", b"v")
    assert recorder.spans[0].attributes["server.address"] == "mock"


def test_callback_of_the_configuration_is_called(instrument, recorder):
    """Once a record."""
    instrument()
    calls = []
    producer = confluent_kafka.Producer({**MOCK, "on_delivery": lambda error, message: calls.append(message.offset())})
    deliver(producer, "t", b"v")
    assert calls == [0]
    assert recorder.spans[0].attributes["messaging.kafka.offset"] == 0


def test_uninstrument_restores_names_and_classes(instrument, recorder, cluster):
    """Clients that are there go on without spans; a class made meanwhile stays one of the C type's."""
    originals = {name: getattr(confluent_kafka, name) for name in ("Producer", "Consumer", "SerializingProducer")}
    kinds = (DefinedBefore, confluent_kafka.SerializingProducer, confluent_kafka.DeserializingConsumer)
    before = [dict(vars(kind)) for kind in kinds]
    instrument()
    late = types.ModuleType("late")
    late.Consumer = confluent_kafka.Consumer
    sys.modules["late"] = late
    try:
        fill(cluster, 2)
        producer = confluent_kafka.Producer(MOCK)
        consumer = FakeConfluentConsumer({"group.id": "g"}, cluster=cluster)
        consumer.subscribe(["t"])
        consumer.poll(0)
        ConfluentKafkaInstrumentor().uninstrument()
        assert is_nothing_current()
        assert late.Consumer is originals["Consumer"]
    finally:
        del sys.modules["late"]
    deliver(producer, "t", b"v")
    consumer.poll(0)
    consumer.lose()
    assert is_nothing_current()
    assert [span.name for span in recorder.spans] == ["assign t", "process t"]
    assert {name: getattr(confluent_kafka, name) for name in originals} == originals
    assert THIS.ImportedBefore is cimpl.Producer is originals["Producer"]
    after = [dict(vars(kind)) for kind in kinds]
    assert [set(each) - {"__doc__"} for each in after] == [set(each) - {"__doc__"} for each in before]
    assert isinstance(producer, originals["Producer"])


def test_instrumenting_again_traces_once(instrument, recorder):
    """Also by a client that was made the first time."""
    instrument()
    first = confluent_kafka.Producer(MOCK)
    ConfluentKafkaInstrumentor().uninstrument()
    instrument()
    deliver(first, "t", b"v")
    deliver(confluent_kafka.Producer(MOCK), "t", b"v")
    assert len(recorder.named("send t")) == 2


def test_hooks(instrument, recorder, cluster):
    """Called with the span current; `kwargs["headers"]` is what is sent, and can be changed; messages are the client's."""
    seen = []

    def produce_hook(span, args, kwargs):
        assert trace.get_current_span() is span
        seen.append((args, sorted(kwargs)))
        kwargs["headers"].append(("hook", b"1"))

    def consume_hook(span, message, args, kwargs):
        assert trace.get_current_span() is span
        seen.append((message.topic(), baggage.get_baggage("tenant"), args, kwargs))

    instrument(produce_hook=produce_hook, consume_hook=consume_hook)
    producer = FakeConfluentProducer(cluster=cluster)
    producer.produce("t", b"v", headers={"baggage": "tenant=a", "a": None})
    with FakeConfluentConsumer(cluster=cluster) as consumer:
        consumer.subscribe(["t"])
        message = consumer.poll(0)
    assert seen == [(("t", b"v"), ["headers"]), ("t", "a", (), {})]
    headers = dict(message.headers())
    assert headers["hook"] == b"1"
    assert headers["a"] is None
    assert "traceparent" in headers


@pytest.mark.parametrize("instrumentor", [ours, theirs])
def test_one_client_is_instrumented_by_hand(instrumentor, recorder, cluster):
    """By the functions that contrib's instrumentation has, too."""
    made = instrumentor()
    producer = made.instrument_producer(FakeConfluentProducer(cluster=cluster), recorder.tracer_provider)
    consumer = made.instrument_consumer(
        FakeConfluentConsumer(cluster=cluster), tracer_provider=recorder.tracer_provider
    )
    assert isinstance(producer, confluent_kafka.Producer)
    assert isinstance(consumer, confluent_kafka.Consumer)
    producer.produce("t", b"v")
    producer.flush()
    consumer.subscribe(["t"])
    consumer.poll(0)
    consumer.close()
    names = {span.name for span in recorder.spans}
    assert names >= ({"send t", "process t"} if instrumentor is ours else {"send t", "t process"} & names)
    assert type(made.uninstrument_producer(producer)) is FakeConfluentProducer
    assert type(made.uninstrument_consumer(consumer)) is FakeConfluentConsumer


@pytest.mark.parametrize("order", [(ours, theirs), (theirs, ours)])
def test_peace_with_contribs_instrumentation(instrument, recorder, caplog, order):
    """One span a send, whichever comes first; the way back leaves the C types."""
    original = confluent_kafka.Producer
    for each in order:
        instrument(each)
    producer = confluent_kafka.Producer(MOCK)
    deliver(producer, "t", b"v")
    assert len([span for span in recorder.spans if span.kind is trace.SpanKind.PRODUCER]) == 1
    for each in reversed(order):
        each().uninstrument()
    assert confluent_kafka.Producer is original


def test_commits_are_reported_where_there_is_a_callback(instrument, recorder, metrics, cluster):
    """The user's is called first; asynchronous ones end with the report, those beside are automatic."""
    instrument(meter_provider=metrics.meter_provider)
    calls = []
    fill(cluster, 2)
    consumer = FakeConfluentConsumer(
        {"group.id": "g", "on_commit": lambda error, partitions: calls.append((error, len(recorder.spans)))},
        cluster=cluster,
    )
    consumer.subscribe(["t"])
    consumer.poll(0)
    consumer.commit()
    consumer.commit(asynchronous=False)
    assert [span.name for span in recorder.spans] == ["assign t", "commit t", "commit t"]
    consumer.close()
    assert calls == [(None, 1), (None, 3)]
    ((attributes, automatic),) = metrics.points("otelkafka.consumer.auto_commits")
    assert (attributes["messaging.destination.name"], automatic) == ("t", 1)


def test_options_and_unknown_arguments(instrument, recorder):
    """Each option by keyword; what contrib's takes and ignores is ignored; what nobody knows is refused."""
    with pytest.raises(TypeError, match="instrument"):
        instrument(nope=1)
    instrument(trace_topic=lambda topic: topic != "t", instrument_producer=None)
    deliver(confluent_kafka.Producer(MOCK), "t", b"v")
    assert recorder.spans == []


def test_entry_point_is_there():
    """Beside those of the other clients."""
    found = {each.name: each.load() for each in entry_points(group="opentelemetry_instrumentor")}
    assert found["otelkafka-confluent"] is ConfluentKafkaInstrumentor
    assert found["otelkafka"] is KafkaInstrumentor
    assert found["otelkafka-aiokafka"] is AIOKafkaInstrumentor
    assert tuple(ConfluentKafkaInstrumentor().instrumentation_dependencies()) == ("confluent-kafka >= 2.6, < 3",)


def test_library_that_is_imported_later_is_traced_then():
    """To instrument imports nothing."""
    program = """
import sys
from otelkafka.instrumentor import ConfluentKafkaInstrumentor
from otelkafka.testing import SpanRecorder
recorder = SpanRecorder()
ConfluentKafkaInstrumentor().instrument(tracer_provider=recorder.tracer_provider)
assert "confluent_kafka" not in sys.modules
from confluent_kafka import Producer
producer = Producer({"bootstrap.servers": "mock:9092", "test.mock.num.brokers": 1, "log_level": 0})
producer.produce("t", b"v")
producer.flush(30)
print([span.name for span in recorder.spans])
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "['send t']\n"


def test_real_clients_refuse_what_they_refuse(instrument):
    """With their own errors, without one of ours around."""
    instrument()
    for make in (confluent_kafka.Producer, confluent_kafka.Consumer):
        with pytest.raises(KafkaException):
            make({"nope": 1, "group.id": "g"})
        with pytest.raises(TypeError):
            make(5)
    consumer = confluent_kafka.Consumer({**MOCK, "group.id": "g"})
    with pytest.raises(TypeError):
        consumer.subscribe("t")
    consumer.close()
    with pytest.raises(RuntimeError) as caught:
        consumer.assign([TopicPartition("t", 0)])
    assert caught.value.__context__ is None


def test_wrapping_a_patched_client_traces_once(instrument, recorder, cluster):
    """By the wrapper."""
    instrument()
    producer = otelkafka.wrap_producer(
        FakeConfluentProducer(cluster=cluster), otelkafka.ProducerOptions(tracer_provider=recorder.tracer_provider)
    )
    producer.produce("t", b"v", headers=[TRACEPARENT])
    producer.flush()
    cluster.write(fake_record("t", b"v", offset=1))
    consumer = otelkafka.wrap_consumer(
        FakeConfluentConsumer(cluster=cluster), otelkafka.ConsumerOptions(tracer_provider=recorder.tracer_provider)
    )
    consumer.subscribe(["t"])
    consumer.poll(0)
    list(consumer.consume(1))
    consumer.close()
    names = [span.name for span in recorder.spans]
    assert (names.count("send t"), names.count("process t"), names.count("assign t")) == (1, 2, 1)


@pytest.mark.parametrize("hook", [lambda *_: None, lambda *given: given[-1].clear()])
def test_hook_of_a_subclass_that_takes_no_headers_loses_no_record(instrument, recorder, hook):
    """What it adds to them is not sent."""
    instrument(produce_hook=hook)
    calling = Calling(MOCK["bootstrap.servers"])
    calling.produce("t", b"v")
    assert calling.flush(30) == 0
    assert len(recorder.named("send t")) == 1


def test_subclass_may_have_a_metaclass_that_is_derived_from_that_of_the_producer(instrument, recorder):
    """One of each kind that a program makes, for example."""
    instrument()

    class Singleton(type(confluent_kafka.Producer)):
        made = None

        def __call__(cls, *args):
            cls.made = cls.made or super().__call__(*args)
            return cls.made

    class Only(confluent_kafka.Producer, metaclass=Singleton):
        """The only one."""

    assert Only(MOCK) is Only(MOCK)
    Only(MOCK).produce("t", b"v")
    assert Only(MOCK).flush(30) == 0
    assert len(recorder.named("send t")) == 1


class Keyed(confluent_kafka.SerializingProducer):
    """A subclass of a subclass, with an order of its own."""

    def produce(self, key, topic):
        super().produce(topic, key, "v")


def test_subclass_with_an_order_of_its_own_has_its_key(instrument, recorder):
    """What it calls by `super()` is traced, with the arguments of that."""
    instrument()
    text = confluent_kafka.serialization.StringSerializer()
    keyed = Keyed({**MOCK, "key.serializer": text, "value.serializer": text})
    keyed.produce("k", "t")
    keyed.flush()
    assert recorder.named("send t")[0].attributes["messaging.kafka.message.key"] == "k"


def test_client_without_a_configuration_is_refused_as_without_us(instrument):
    """By the error of the C type."""
    instrument()
    with pytest.raises(TypeError, match="expected configuration dict"):
        confluent_kafka.Producer()


def test_subclass_without_room_for_a_weak_reference_works(instrument):
    """It is not traced."""
    instrument()
    slotted, calls = Slotted(MOCK), []
    slotted.produce("t", b"v", on_delivery=lambda error, _: calls.append(error))
    assert slotted.flush(30) == 0
    assert calls == [None]
