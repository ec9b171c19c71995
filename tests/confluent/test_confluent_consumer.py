"""A consumer of confluent-kafka: a message's processing is a span until the next call, which is current meanwhile."""

import gc
import threading
import weakref

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from opentelemetry import trace
from opentelemetry.trace import StatusCode

import otelkafka
from otelkafka import ConsumerOptions
from otelkafka.testing import FakeConfluentConsumer, FakeConfluentProducer, FakeMessage, fake_record
from tests.support.face import INSTRUMENTED, process_batch_of, process_of, wrap_consumer
from tests.support.fakes import TRACEPARENT, ambient_of, current, fill, is_nothing_current

ALL_DOWN = KafkaError(KafkaError._ALL_BROKERS_DOWN)


def names(recorder):
    return [span.name for span in recorder.spans]


def polled(consumer):
    """Poll until there is a message."""
    message = consumer.poll(0)
    assert message is not None
    assert message.error() is None
    return message


def test_poll_opens_a_process_span_until_the_next_call(consumer, recorder, metrics, cluster):
    """The message is the client's own; its span is the child of the send, with group, client, offset, lag and wait."""
    FakeConfluentProducer(cluster=cluster).produce("t", b"v", b"k", headers=[TRACEPARENT])
    for offset in (1, 2):
        cluster.write(fake_record("t", b"v", offset=offset))
    traced = consumer(config={"client.id": "c"})
    message = polled(traced)
    assert isinstance(message, FakeMessage)
    assert current().is_valid
    assert names(recorder) == ["assign t"]
    traced.poll(0)
    span = recorder.named("process t")[0]
    assert f"{span.context.trace_id:032x}" == TRACEPARENT[1].decode().split("-")[1]
    assert span.attributes["messaging.kafka.message.key"] == "k"
    assert span.attributes["messaging.kafka.offset"] == 0
    assert span.attributes["messaging.client.id"] == "c"
    assert span.attributes["messaging.consumer.group.name"] == "g"
    assert span.attributes["messaging.destination.partition.id"] == "0"
    assert span.attributes["otelkafka.consumer.lag"] == 2
    assert span.attributes["otelkafka.queue.timestamp_type"] == "create"
    assert span.attributes["otelkafka.queue.duration"] >= 0
    assert span.attributes["server.address"] == "localhost"
    traced.poll(0)
    traced.poll(0)
    assert is_nothing_current()
    assert names(recorder).count("process t") == 3
    ((_, consumed),) = metrics.points("messaging.client.consumed.messages")
    assert consumed == 3
    ((_, lag),) = metrics.points("otelkafka.consumer.lag")
    assert lag == 0


def test_poll_that_returns_nothing_makes_no_span(consumer, recorder, metrics):
    """And counts nothing."""
    traced = consumer(poll_spans=True)
    assert traced.poll(0) is None
    assert traced.consume(5, 0) == []
    assert recorder.spans == []
    assert metrics.points("messaging.client.consumed.messages") == []


def test_end_of_a_partition_makes_no_span(consumer, recorder, cluster):
    """It ends the span of the message before it."""
    fill(cluster, 1)
    traced = consumer(config={"enable.partition.eof": True})
    polled(traced)
    message = traced.poll(0)
    assert message.error().code() == KafkaError._PARTITION_EOF
    assert is_nothing_current()
    assert names(recorder) == ["assign t", "process t"]


def test_error_as_a_message_is_a_poll_span_with_the_error(consumer, recorder, metrics, cluster):
    """By librdkafka's name; the application gets it as it was."""
    fill(cluster, 1)
    traced = consumer()
    traced.error_next(ALL_DOWN)
    assert traced.poll(0).error() == ALL_DOWN
    (span,) = recorder.named("poll t")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "_ALL_BROKERS_DOWN"
    traced.error_next(ALL_DOWN)
    assert [message.error() for message in traced.consume(2)] == [ALL_DOWN]
    assert len(recorder.named("poll t")) == 2
    polled(traced)


def test_error_that_is_raised_is_recorded_and_passes(consumer, recorder, cluster):
    """As by a DeserializingConsumer, whose end of a partition is none either."""

    class Raising(FakeConfluentConsumer):
        def poll(self, timeout=-1):
            message = super().poll(timeout)
            if message is not None and message.error() is not None:
                raise KafkaException(message.error())
            return message

    bare = Raising({"group.id": "g", "enable.partition.eof": True}, cluster=cluster)
    fill(cluster, 1)
    traced = consumer(bare=bare)
    polled(traced)
    with pytest.raises(KafkaException):
        traced.poll(0)
    assert names(recorder) == ["assign t", "process t"]
    traced.error_next(ALL_DOWN)
    with pytest.raises(KafkaException) as caught:
        traced.poll(0)
    assert caught.value.args == (ALL_DOWN,)
    assert recorder.named("poll t")[0].attributes["error.type"] == "_ALL_BROKERS_DOWN"


def test_consume_that_raises_shows_what_is_assigned_no_more(metrics, cluster, clock):
    """Assignments that no callback reports are compared after each list, also where it fails at once."""

    class Losing(FakeConfluentConsumer):
        def consume(self, *args):
            if not self.assignment():
                raise KafkaException(ALL_DOWN)
            return super().consume(*args)

    fill(cluster, 1)
    bare = Losing({"group.id": "g"}, cluster=cluster)
    bare.assign([TopicPartition("t", 0)])
    traced = wrap_consumer(bare, ConsumerOptions(meter_provider=metrics.meter_provider))
    clock.advance(1)
    assert len(traced.consume(10, 0)) == 1
    assert len(metrics.points("otelkafka.consumer.lag")) == 1
    FakeConfluentConsumer.unassign(bare)
    clock.advance(0.0005)
    with pytest.raises(KafkaException):
        traced.consume(10, 0)
    assert metrics.points("otelkafka.consumer.lag") == []


def test_list_of_consume_dispatches(consumer, recorder, cluster):
    """Each message in its span while the list is iterated first; errors among them have none."""
    fill(cluster, 2)
    cluster.write(fake_record("t", b"v", partition=1))
    traced = consumer(config={"enable.partition.eof": True})
    messages = traced.consume(10, 0)
    assert isinstance(messages, list)
    seen = [(message.offset(), trace.get_current_span().name if current().is_valid else None) for message in messages]
    assert seen == [(0, "process t"), (1, "process t"), (2, None), (0, "process t"), (1, None)]
    assert is_nothing_current()
    assert names(recorder).count("process t") == 3
    assert all(isinstance(message, FakeMessage) for message in messages)
    assert names(recorder).count("process t") == 3
    assert {span.attributes["messaging.destination.partition.id"] for span in recorder.named("process t")} == {"0", "1"}


def test_list_is_left_with_a_break(consumer, recorder, cluster):
    """The next call ends the span."""
    fill(cluster, 3)
    traced = consumer()
    for _ in traced.consume(2, 0):
        break
    traced.poll(0)
    assert names(recorder).count("process t") == 1


def test_poll_span_of_a_list_is_linked_to_what_it_has(consumer, recorder, cluster):
    """With the number of messages."""
    cluster.write(fake_record("t", b"v", headers=[TRACEPARENT]))
    cluster.write(fake_record("t", b"v", offset=1))
    consumer(poll_spans=True).consume(5, 0)
    (span,) = recorder.named("poll t")
    assert span.attributes["messaging.batch.message_count"] == 2
    assert [link.context.is_valid for link in span.links] == [True]


@pytest.mark.parametrize("process", ["iterate", "manual"])
def test_lists_and_polls_dispatch_where_the_options_want_that(consumer, recorder, cluster, process):
    """As for kafka-python: "iterate" leaves lists alone, "manual" both."""
    fill(cluster, 4)
    traced = consumer(process=process)
    for _ in traced.consume(2, 0):
        assert is_nothing_current()
    polled(traced)
    assert is_nothing_current() is (process == "manual")


def test_process_takes_messages(consumer, recorder, cluster):
    """It records what the body raises, joins the span that is open, and works in another thread."""
    fill(cluster, 3)
    traced = consumer()
    message = polled(traced)
    with process_of(traced, message) as span:
        assert span is trace.get_current_span()
    assert names(recorder).count("process t") == 1
    message = polled(traced)
    with pytest.raises(ZeroDivisionError), otelkafka.process(message):
        1 / 0  # noqa: B018
    assert recorder.named("process t")[1].attributes["error.type"] == "ZeroDivisionError"
    message = polled(traced)
    traced.poll(0)

    def work():
        with otelkafka.process(message):
            assert current().is_valid

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert recorder.named("process t")[-1].attributes["messaging.consumer.group.name"] == "g"


def test_process_of_a_message_that_is_an_error_makes_no_span(consumer, recorder):
    """The block runs nevertheless."""
    error = FakeMessage(error=ALL_DOWN)
    with process_of(consumer(), error) as span, otelkafka.process(error):
        assert not span.is_recording()
    assert recorder.spans == []


def test_process_batch_takes_messages(consumer, recorder, cluster):
    """One span for all that are no errors, linked to their contexts; the list's own spans are none then."""
    cluster.write(fake_record("t", b"v", headers=[TRACEPARENT]))
    cluster.write(fake_record("t", b"v", offset=1))
    traced = consumer(config={"enable.partition.eof": True})
    messages = traced.consume(5, 0)
    assert len(messages) == 3
    with process_batch_of(traced, messages) as span:
        for _ in messages:
            assert trace.get_current_span() is span
    (span,) = recorder.named("process t")
    assert span.attributes["messaging.batch.message_count"] == 2
    assert f"{span.links[0].context.trace_id:032x}" == TRACEPARENT[1].decode().split("-")[1]
    with otelkafka.process_batch(messages):
        pass
    assert len(recorder.named("process t")) == 2
    with otelkafka.process_batch([]), process_batch_of(traced, messages[2:]):
        assert is_nothing_current()


def test_handlers_take_messages(consumer, recorder, cluster):
    """One, or a list of them; what is no message passes."""
    fill(cluster, 3)
    traced = consumer(process="manual")
    seen = []

    @otelkafka.wrap_handler
    def handle(what):
        seen.append(current().is_valid)
        return what

    message = polled(traced)
    assert handle(message) is message
    handle(traced.consume(2, 0))
    handle(FakeMessage(error=ALL_DOWN))
    handle(None)
    assert seen == [True, True, False, False]
    assert names(recorder).count("process t") == 2


def test_extract_takes_a_message(cluster):
    """As it takes a record."""
    message = FakeMessage(fake_record("t", headers=[TRACEPARENT]))
    span = trace.get_current_span(otelkafka.extract(message))
    assert f"{span.get_span_context().trace_id:032x}" == TRACEPARENT[1].decode().split("-")[1]
    assert otelkafka.extract(FakeMessage(error=ALL_DOWN)) == {}


def test_hook_gets_the_message(consumer, recorder, cluster):
    """`on_process`: the client's own."""
    fill(cluster, 1)
    seen = []
    polled(consumer(on_process=lambda span, message: seen.append((span.is_recording(), message.topic()))))
    assert seen == [(True, "t")]


def test_message_without_context_or_headers_is_counted(consumer, recorder, metrics, cluster):
    """`headers()` returns None then."""
    cluster.write(fake_record("t", b"v"))
    polled(consumer())
    ((attributes, without),) = metrics.points("otelkafka.records.without_context")
    assert (attributes["messaging.destination.name"], without) == ("t", 1)


def test_rebalances_are_recorded_around_the_users_callbacks(consumer, recorder, metrics, cluster):
    """Which get the consumer that the application uses, with the partitions, and may raise."""
    fill(cluster, 1)
    traced, calls = consumer(), []

    def note(name):
        def call(given, partitions):
            calls.append((name, given is traced, [each.topic for each in partitions], trace.get_current_span().name))

        return call

    traced.subscribe(["t"], on_assign=note("assign"), on_revoke=note("revoke"), on_lost=note("lost"))
    traced.poll(0)
    traced.lose()
    traced.poll(0)
    traced.unsubscribe()
    assert calls == [
        ("assign", True, ["t"], "assign t"),
        ("lost", True, ["t"], "lose t"),
        ("assign", True, ["t"], "assign t"),
        ("revoke", True, ["t"], "revoke t"),
    ]
    counts = {
        attributes["messaging.operation.name"]: count
        for attributes, count in metrics.points("otelkafka.consumer.rebalances")
    }
    assert counts == {"assign": 2, "lose": 1, "revoke": 1}
    assert metrics.points("otelkafka.consumer.lag") == []


def test_consumer_that_is_wrapped_again_keeps_its_callbacks(cluster, recorder):
    """Rebalances are recorded once, with the new options, and the callbacks get the new wrapper."""
    fill(cluster, 1)
    calls = []
    first = otelkafka.wrap_consumer(FakeConfluentConsumer({"group.id": "g"}, cluster=cluster))
    first.subscribe(["t"], on_assign=lambda given, _: calls.append(given))
    again = otelkafka.wrap_consumer(first, ConsumerOptions(tracer_provider=recorder.tracer_provider))
    del first
    gc.collect()
    polled(again)
    again.close()
    assert len(calls) == 1
    assert calls[0] is again
    assert names(recorder) == ["assign t", "revoke t", "process t"]


def test_lost_partitions_go_to_on_revoke_where_there_is_no_on_lost(consumer, recorder, cluster):
    """As confluent-kafka itself does."""
    fill(cluster, 1)
    traced, calls = consumer(), []
    traced.subscribe(["t"], on_revoke=lambda _, partitions: calls.append(len(partitions)))
    traced.poll(0)
    traced.lose()
    assert calls == [1]
    assert len(recorder.named("lose t")) == 1


def test_callback_that_raises_is_recorded_and_raises(consumer, recorder, cluster):
    """Out of `poll()`, as without us."""
    fill(cluster, 1)
    traced = consumer()
    traced.subscribe(["t"], on_assign=lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        traced.poll(0)
    assert recorder.named("assign t")[0].attributes["error.type"] == "ZeroDivisionError"


def test_on_assign_may_assign_with_offsets(consumer, recorder, cluster):
    """By the consumer that it gets."""
    fill(cluster, 3)
    traced = consumer()

    def from_two(given, partitions):
        for each in partitions:
            each.offset = 2
        given.assign(partitions)

    traced.subscribe(["t"], on_assign=from_two)
    assert polled(traced).offset() == 2


def test_assignments_are_noted_and_forgotten(consumer, metrics, cluster):
    """Whole and incremental ones: the lag of a partition goes with it."""
    for partition in range(2):
        cluster.write(fake_record("t", b"v", partition=partition))
    traced = consumer(bare=FakeConfluentConsumer({"group.id": "g"}, cluster=cluster))
    traced.unsubscribe()

    def lags():
        return {attributes["messaging.destination.partition.id"] for attributes, _ in metrics.points(LAG)}

    traced.assign([TopicPartition("t", 0)])
    traced.incremental_assign([TopicPartition("t", 1)])
    traced.consume(5, 0)
    assert lags() == {"0", "1"}
    traced.incremental_unassign([TopicPartition("t", 0)])
    assert lags() == {"1"}
    traced.unassign()
    assert lags() == set()


LAG = "otelkafka.consumer.lag"


@pytest.mark.skipif(INSTRUMENTED, reason="a patched client is traced whatever has subscribed it")
def test_subscription_from_before_is_adopted_as_far_as_it_can_be_seen(recorder, metrics, cluster):
    """Rebalances are not, assignments are compared after fetches."""
    fill(cluster, 1)
    bare = FakeConfluentConsumer({"group.id": "g"}, cluster=cluster)
    bare.subscribe(["t"])
    providers = {"tracer_provider": recorder.tracer_provider, "meter_provider": metrics.meter_provider}
    traced = wrap_consumer(bare, ConsumerOptions(**providers))
    traced.consume(1, 0)
    assert len(metrics.points(LAG)) == 1
    bare.lose()
    cluster.create_topic("u")
    bare.subscribe(["u"])
    traced.consume(1, 0)
    assert metrics.points(LAG) == []
    assert names(recorder) == []


@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize("what", ["message", "offsets", "stored"])
def test_commit_is_a_span_inside_of_what_is_processed(consumer, recorder, metrics, cluster, what, asynchronous):
    """With topic, partition and the offset that is committed; the result is the client's own."""
    fill(cluster, 2)
    traced = consumer()
    message = polled(traced)
    given = {"message": {"message": message}, "offsets": {"offsets": [TopicPartition("t", 0, 1)]}, "stored": {}}[what]
    result = traced.commit(**given, asynchronous=asynchronous)
    assert (result is None) is asynchronous
    (span,) = recorder.named("commit t")
    assert span.attributes["messaging.kafka.offset"] == 1
    assert span.attributes["messaging.destination.partition.id"] == "0"
    traced.close()
    assert span.parent.span_id == recorder.named("process t")[0].context.span_id


def test_commit_outside_of_a_span_is_measured_only(consumer, recorder, metrics, cluster):
    """As of any other client."""
    fill(cluster, 1)
    traced = consumer(process="manual")
    polled(traced)
    traced.commit(asynchronous=False)
    assert recorder.named("commit t") == []
    operations = [attributes["messaging.operation.name"] for attributes, _ in metrics.points(DURATION)]
    assert "commit" in operations


DURATION = "messaging.client.operation.duration"


def test_commit_that_fails_is_recorded_and_passes(consumer, recorder, cluster):
    """By librdkafka's name."""
    with ambient_of(recorder), pytest.raises(KafkaException):
        consumer().commit(asynchronous=False)
    assert recorder.named("commit")[0].attributes["error.type"] == "_NO_OFFSET"


def test_close_ends_the_open_span_and_leaves_the_group(consumer, recorder, metrics, cluster):
    """Also by the end of a `with`."""
    fill(cluster, 1)
    with consumer() as traced:
        polled(traced)
    assert is_nothing_current()
    assert names(recorder) == ["assign t", "revoke t", "process t"]
    assert metrics.points(LAG) == []
    with pytest.raises(RuntimeError):
        traced.poll(0)


@pytest.mark.skipif(INSTRUMENTED, reason="a patched client is the client itself")
def test_consumer_that_is_dropped_ends_its_span_and_is_freed(consumer, recorder, cluster):
    """Its own callbacks do not keep it."""
    fill(cluster, 1)
    traced = consumer()
    bare = weakref.ref(traced.__wrapped__)
    polled(traced)
    gc.collect()
    del traced
    gc.collect()
    assert bare() is None
    assert names(recorder).count("process t") == 1


@pytest.mark.skipif(INSTRUMENTED, reason="a patched client is the client itself")
def test_wrapped_consumer_is_used_as_the_consumer(consumer, cluster):
    """It passes `isinstance`, has all methods, and keeps its history when it is wrapped again."""
    traced = consumer()
    assert isinstance(traced, confluent_kafka.Consumer)
    assert isinstance(traced, otelkafka.TracedConfluentConsumer)
    for name in dir(confluent_kafka.Consumer):
        assert hasattr(traced, name), name
    again = otelkafka.wrap_consumer(traced)
    assert again.__wrapped__ is traced.__wrapped__
    assert traced.memberid() == "fake-consumer-fake"


@pytest.mark.skipif(INSTRUMENTED, reason="a patched client was seen when it was made")
def test_real_consumer_is_wrapped_closed_and_freed(recorder):
    """Without a broker; facts come from the options alone."""
    config = {"bootstrap.servers": "localhost:1", "group.id": "g", "log_level": 0}
    options = ConsumerOptions(tracer_provider=recorder.tracer_provider, config=config)
    traced = wrap_consumer(confluent_kafka.Consumer(config), options)
    traced.subscribe(["t"], on_assign=lambda *_: None)
    assert traced.poll(0) is None
    assert traced.consume(1, 0) == []
    with ambient_of(recorder), pytest.raises(KafkaException):
        traced.commit(asynchronous=False)
    assert recorder.named("commit")[0].attributes["messaging.consumer.group.name"] == "g"
    traced.close()
    with pytest.raises(RuntimeError):
        traced.poll(0)
    assert wrap_consumer(confluent_kafka.Consumer(config)).poll(0) is None


def test_admin_client_is_no_consumer():
    """Neither is a class."""
    from confluent_kafka.admin import AdminClient

    for wrap in (otelkafka.wrap_consumer, otelkafka.wrap_producer):
        with pytest.raises(TypeError, match="give a (Consumer|Producer)"):
            wrap(AdminClient({"bootstrap.servers": "localhost:1"}))
    with pytest.raises(TypeError):
        otelkafka.wrap_consumer(confluent_kafka.Consumer)


class Draining(confluent_kafka.Consumer):
    """A subclass of the C type, with a method that calls a traced one."""

    def drain(self):
        return self.consume(100, 0)


class Shouting(confluent_kafka.SerializingProducer):
    """A subclass of one of confluent-kafka's own, likewise."""

    def shout(self, text):
        super().produce("t", value=text.upper())


def test_method_of_a_subclass_that_no_wrapper_sees_is_named_with_what_traces_it(caplog):
    """Methods of confluent-kafka's own subclasses are not: their calls are the client's."""
    config = {"bootstrap.servers": "localhost:1", "log_level": 0}
    otelkafka.wrap_consumer(Draining({**config, "group.id": "g"})).close()
    otelkafka.wrap_producer(Shouting(config))
    otelkafka.wrap_producer(confluent_kafka.SerializingProducer(config))
    own, shouting = [record.getMessage() for record in caplog.records if "past the wrapper" in record.getMessage()]
    assert own.startswith("Draining.drain() calls consume() of the client itself")
    assert "ConfluentKafkaInstrumentor().instrument()" in own
    assert shouting.startswith("Shouting.shout() calls produce() of the client itself")


class Decoding(FakeConfluentConsumer):
    """A subclass that returns what it has made of messages."""

    def poll(self, timeout=-1):
        message = super().poll(timeout)
        return None if message is None else (message.value(), message.offset())

    def consume(self, num_messages=1, timeout=-1):
        return [{"value": each.value()} for each in super().consume(num_messages, timeout)]


def test_what_a_subclass_makes_of_messages_reaches_the_application(consumer, recorder, metrics, cluster):
    """It has no process span, and is counted nowhere; the time of the consumer goes on."""
    fill(cluster, 3)
    traced = consumer(bare=Decoding({"group.id": "g"}, cluster=cluster))
    assert traced.poll(0) == (b"v", 0)
    assert traced.consume(5, 0) == [{"value": b"v"}] * 2
    assert traced.poll(0) is None
    assert names(recorder) == ["assign t"]
    assert metrics.points("otelkafka.telemetry.errors") == []
    assert metrics.points("messaging.client.consumed.messages") == []


class Generating(FakeConfluentConsumer):
    """A subclass whose `consume()` is a generator."""

    def consume(self, num_messages=1, timeout=-1):
        yield from super().consume(num_messages, timeout)


def test_generator_of_a_subclass_reaches_the_application(consumer, cluster):
    """As it is."""
    fill(cluster, 2)
    traced = consumer(bare=Generating({"group.id": "g"}, cluster=cluster))
    assert [each.value() for each in traced.consume(5, 0)] == [b"v", b"v"]


class OfOneTopic(FakeConfluentConsumer):
    """A subclass whose `subscribe()` takes no callbacks."""

    def subscribe(self, topic):
        super().subscribe([topic])


class OfAssignments(FakeConfluentConsumer):
    """A subclass whose `subscribe()` takes one of the callbacks, in a place of its own."""

    def subscribe(self, on_assign, topics):
        super().subscribe(topics, on_assign=on_assign)


def test_subscribe_of_a_subclass_gets_the_callbacks_that_it_takes(cluster, recorder):
    """Without callbacks the assignment is compared after each fetch."""
    fill(cluster, 1)
    options, calls = ConsumerOptions(tracer_provider=recorder.tracer_provider), []
    first = wrap_consumer(OfOneTopic({"group.id": "g"}, cluster=cluster), options)
    first.subscribe("t")
    assert polled(first).value() == b"v"
    first.close()
    second = wrap_consumer(OfAssignments({"group.id": "h"}, cluster=cluster), options)
    second.subscribe(lambda *_: calls.append(trace.get_current_span().name), ["t"])
    assert polled(second).value() == b"v"
    second.close()
    assert calls == ["assign t"]
    assert names(recorder) == ["process t", "assign t", "process t"]


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        (("t",), {}),
        ((["t"],), {"on_assign": None}),
        ((["t"],), {"on_lost": 5}),
        ((["t"],), {"topics": ["t"]}),
        ((["t"],), {"listener": print}),
        ((["t"], print, print, print, print), {}),
    ],
)
def test_subscriptions_that_confluent_kafka_refuses_are_refused_with_its_error(args, kwargs):
    """The same class and message as of the bare client."""
    errors = []
    for wrap in (lambda bare: bare, otelkafka.wrap_consumer):
        each = wrap(confluent_kafka.Consumer({"group.id": "g", "bootstrap.servers": "localhost:1", "log_level": 0}))
        with pytest.raises(TypeError) as caught:
            each.subscribe(*args, **kwargs)
        errors.append(str(caught.value))
        each.close()
    assert errors[0] == errors[1]


@pytest.mark.parametrize(
    "places",
    [
        [(0, 0), (1, 0), (0, 2)],
        [(0, 0), (1, 0), (1, 1), (0, 3), (0, 4)],
        [
            *((0, offset) for offset in range(200)),
            (1, 0),
            *((0, offset) for offset in (*range(200, 300), *range(301, 400))),
        ],
    ],
)
def test_message_in_a_gap_of_another_partition_is_its_own(consumer, recorder, metrics, cluster, places):
    """Offsets have gaps where Kafka has compacted a topic, or a transaction has ended."""
    fill(cluster, 1)
    messages = [FakeMessage(fake_record("t", b"v", partition=partition, offset=at)) for partition, at in places]

    class Listing(FakeConfluentConsumer):
        def consume(self, num_messages=1, timeout=-1):
            return messages

    traced = consumer(bare=Listing({"group.id": "g"}, cluster=cluster))
    received = [(each.partition(), each.offset()) for each in traced.consume(500)]
    assert received == places
    points = metrics.points("messaging.client.consumed.messages")
    counts = {attributes["messaging.destination.partition.id"]: count for attributes, count in points}
    assert counts == {str(at): sum(partition == at for partition, _ in places) for at in (0, 1)}
    durations = [span.attributes["otelkafka.queue.duration"] for span in recorder.named("process t")]
    assert len(durations) == len(places)


def test_end_of_a_partition_in_a_gap_is_no_record(consumer, recorder, metrics, cluster):
    """Of a list that a batch processes as a whole."""
    fill(cluster, 1)
    end = FakeMessage(fake_record("t", offset=1), error=KafkaError(KafkaError._PARTITION_EOF))
    messages = [FakeMessage(fake_record("t", b"v", offset=0)), end, FakeMessage(fake_record("t", b"v", offset=2))]

    class Listing(FakeConfluentConsumer):
        def consume(self, num_messages=1, timeout=-1):
            return messages

    traced = consumer(bare=Listing({"group.id": "g"}, cluster=cluster))
    batch = traced.consume(5)
    assert len(batch) == 3
    with process_batch_of(traced, batch):
        pass
    (span,) = recorder.named("process t")
    assert span.attributes["messaging.batch.message_count"] == 2
    ((_, consumed),) = metrics.points("messaging.client.consumed.messages")
    assert consumed == 2


BY_HAND = {"enable.auto.offset.store": False}


def test_stored_offsets_are_settled_where_an_automatic_commit_takes_them(consumer, recorder, cluster):
    """Inside of a process span, with what is stored; outside nothing is recorded."""
    fill(cluster, 2)
    traced = consumer(config=BY_HAND)
    message = polled(traced)
    process = trace.get_current_span()
    assert traced.store_offsets(message) is None
    assert trace.get_current_span() is process
    traced.poll(0)
    traced.poll(0)
    traced.store_offsets(offsets=[TopicPartition("t", 0, 2)])
    (span,) = recorder.named("store offsets t")
    assert span.parent.span_id == recorder.named("process t")[0].context.span_id
    assert span.attributes["messaging.operation.type"] == "settle"
    assert span.attributes["messaging.destination.partition.id"] == "0"
    assert span.attributes["messaging.kafka.offset"] == 1
    assert span.attributes["messaging.consumer.group.name"] == "g"
    traced.close()
    (committed,) = FakeConfluentConsumer({"group.id": "g"}, cluster=cluster).committed([TopicPartition("t", 0)])
    assert committed.offset == 2


@pytest.mark.parametrize("config", [{}, {**BY_HAND, "enable.auto.commit": "false"}])
def test_stored_offsets_that_no_automatic_commit_takes_are_not_settled(consumer, recorder, cluster, config):
    """The commit is, that takes them; what confluent-kafka refuses is refused."""
    fill(cluster, 1)
    traced = consumer(config=config)
    message = polled(traced)
    if config:
        traced.store_offsets(message=message)
        traced.commit(asynchronous=False)
    else:
        with pytest.raises(KafkaException):
            traced.store_offsets(message)
    assert recorder.named("store offsets t") == []
    assert len(recorder.named("commit t")) == len(config.keys() & {"enable.auto.commit"})


def test_stored_offsets_that_are_refused_have_their_error(consumer, recorder, cluster):
    """It is raised."""
    fill(cluster, 1)
    traced = consumer(config=BY_HAND)
    polled(traced)
    with pytest.raises(AttributeError):
        traced.store_offsets(5)
    assert recorder.named("store offsets")[0].attributes["error.type"] == "AttributeError"
