"""What an application asks of its clients, each as a function of a client that returns what the application saw.

The same function runs with a bare client: then `OPERATIONS` says what has to come out with a traced one.
"""

import inspect
from contextlib import nullcontext
from types import SimpleNamespace

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.errors import KafkaConnectionError, KafkaTimeoutError
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from otelkafka import wrap_handler
from tests.support.face import BRIDGED, is_traced, process_batch_of, process_of
from tests.support.fakes import TRACEPARENT, FakeConsumer, FakeProducer, record

SECRET = "s3cret"
VALUE, HEADER, BAGGAGE = b"s3cret", ("x", b"s3cret"), ("baggage", b"who=s3cret")
CONFIG = {
    "bootstrap_servers": ["SASL_SSL://user:s3cret@host:9092"],
    "sasl_plain_password": SECRET,
    "ssl_password": SECRET,
    "client_id": "c",
}
RECORDS = [record(at, headers=[TRACEPARENT, HEADER, BAGGAGE], key=b"k", value=VALUE) for at in range(3)]
PARTITIONS = [TopicPartition("t", 0)]
OFFSETS = {PARTITIONS[0]: 3}
CONTEXT = ("traceparent", "tracestate", "baggage")
_AMBIENT = TracerProvider(shutdown_on_exit=False).get_tracer("application")

# One for all operations: in kafka-python before 2.2 two errors that say the same are not equal.
AWAY = KafkaConnectionError("away")


class Refused(Exception):
    """What the application, or its client, raises."""


class Producer(FakeProducer):
    """A producer all of whose calls can fail."""

    refusing = False
    acknowledging = False

    def _answer(self, name, *args):
        self.calls.append((name, args, None))
        if self.refusing:
            raise Refused(name)
        return f"{name} answered"

    def send(self, topic, value=None, key=None, headers=None, partition=None, timestamp_ms=None):
        if self.refusing:
            raise KafkaTimeoutError(topic)
        future = super().send(topic, value, key, headers, partition, timestamp_ms)
        if self.acknowledging:
            future.acknowledge()
        return future

    def close(self, timeout=None):
        return self._answer("close", timeout)

    def init_transactions(self):
        return self._answer("init")

    def begin_transaction(self):
        return self._answer("begin")

    def send_offsets_to_transaction(self, offsets, group):
        return self._answer("offsets", offsets, group)

    def commit_transaction(self):
        return self._answer("commit")

    def abort_transaction(self):
        return self._answer("abort")


class Consumer(FakeConsumer):
    """A consumer all of whose calls can fail."""

    refusing = False

    def __init__(self):
        self.seen = []
        super().__init__(*RECORDS, **CONFIG)
        self.seen.clear()
        self._coordinator = SimpleNamespace(config={"default_offset_commit_callback": self.note_commit})

    def note_commit(self, offsets, response):
        self.seen.append(("automatic", offsets, response))
        if self.refusing:
            raise Refused("automatic")

    def _answer(self, name, *args):
        self.seen.append((name, args))
        if self.refusing:
            raise Refused(name)
        return f"{name} answered"

    def commit(self, offsets=None):
        return self._answer("commit", offsets)

    def commit_async(self, offsets=None, callback=None):
        self.callback = callback
        return self._answer("commit_async", offsets)

    def assign(self, partitions):
        super().assign(partitions)
        return self._answer("assign", partitions)

    def close(self):
        return self._answer("close")


class Listener(ConsumerRebalanceListener):
    """The application's."""

    def __init__(self, seen, refusing):
        self.seen, self.refusing = seen, refusing

    def _note(self, name, partitions):
        self.seen.append((name, partitions))
        if self.refusing:
            raise Refused(name)

    def on_partitions_assigned(self, assigned):
        self._note("assigned", assigned)

    def on_partitions_revoked(self, revoked):
        self._note("revoked", revoked)

    def on_partitions_lost(self, lost):
        self._note("lost", lost)


def outcome(call, *args, **kwargs):
    """What a call comes to: what it returned, or which error it raised, as the application would handle it."""
    try:
        return "returned", call(*args, **kwargs)
    except Exception as error:
        return "raised", type(error), error.args, error.__cause__


def without_context(headers):
    return [header for header in headers or () if header[0] not in CONTEXT]


def _sent(producer, bare, *args, **kwargs):
    seen = [outcome(producer.send, *args, **kwargs) for _ in range(2)]
    bare.acknowledge_all()
    calls = [(topic, value, without_context(headers)) for topic, value, headers in bare.calls]
    return [returned if kind == "raised" else returned in bare.futures for kind, returned, *_ in seen], calls


def send(producer, bare):
    return _sent(producer, bare, "t", VALUE, b"k")


def send_with_headers(producer, bare):
    given = [TRACEPARENT, HEADER, ("x", b"z")]
    return _sent(producer, bare, "t", key=b"k", headers=given, partition=1), given


def send_inside_a_span(producer, bare):
    with _AMBIENT.start_as_current_span("ambient"):
        return _sent(producer, bare, "t", VALUE)


def send_that_raises(producer, bare):
    bare.refusing = True
    return outcome(producer.send, "t", VALUE), outcome(producer.send, topic="u")


def send_that_fails_later(producer, bare):
    producer.send("t", VALUE)
    producer.send("t", VALUE, headers=[HEADER])
    for future in bare.futures:
        future.fail(KafkaTimeoutError("t"))
    return len(bare.futures)


def send_that_is_done(producer, bare):
    bare.acknowledging = True
    return _sent(producer, bare, "t", VALUE, b"k")


def send_of_nonsense(producer, bare):
    return outcome(producer.send), outcome(producer.send, "t", nonsense=1), outcome(producer.send, 5) is None


def send_too_large_by_our_header(producer, bare):
    bare.too_large = "raise"
    return _sent(producer, bare, "t", VALUE)


def send_too_large_by_our_header_said_by_the_future(producer, bare):
    bare.too_large = "future"
    return _sent(producer, bare, "t", VALUE)[1]


def close_in_flight(producer, bare):
    producer.send("t", VALUE)
    return outcome(producer.close, 5), [call[0] for call in bare.calls]


def close_that_raises(producer, bare):
    producer.send("t", VALUE)
    bare.refusing = True
    return outcome(producer.close), outcome(producer.close)


def transaction(producer, bare):
    group = {"offsets": OFFSETS, "group": "g"}
    seen = [outcome(producer.init_transactions)]
    for end in (producer.commit_transaction, producer.abort_transaction):
        seen.append(outcome(producer.begin_transaction))
        producer.send("t", VALUE)
        seen += [outcome(producer.send_offsets_to_transaction, OFFSETS, "g"), outcome(end)]
        seen.append(outcome(producer.send_offsets_to_transaction, **group))
    bare.acknowledge_all()
    return seen


def transaction_that_raises(producer, bare):
    bare.refusing = True
    names = ("init_transactions", "begin_transaction", "commit_transaction", "abort_transaction")
    with _AMBIENT.start_as_current_span("ambient"):
        offsets = outcome(producer.send_offsets_to_transaction, OFFSETS, "g")
    return [outcome(getattr(producer, name)) for name in names], offsets


def iterate(consumer, bare):
    return [each.offset for each in consumer], [each.offset for each in consumer]


def iterate_and_leave(consumer, bare):
    for each in consumer:
        if each.offset == 1:
            break
    return each.offset, outcome(next, consumer)[1].offset, [each.offset for each in consumer]


def iterate_through_errors(consumer, bare):
    records = iter(consumer)
    seen = [outcome(next, records)]
    for said in ("away", "still"):
        bare.error_next(KafkaConnectionError(said))
    return [*seen, *(outcome(next, records) for _ in range(6))]


def iterate_and_raise(consumer, bare):
    def body():
        for each in consumer:
            raise Refused(each.offset)

    return outcome(body), outcome(body)


def next_records(consumer, bare):
    return [outcome(next, consumer) for _ in range(5)]


def poll(consumer, bare):
    polled = consumer.poll()
    return [(partition, [each.offset for each in records]) for partition, records in polled.items()], consumer.poll()


def poll_that_raises(consumer, bare):
    bare.error_next(KafkaConnectionError("away"))
    return outcome(consumer.poll), len(consumer.poll())


def _inside(client, make, argument):
    return make(client, argument) if is_traced(client) else nullcontext()


def process(consumer, bare):
    seen = []
    for each in RECORDS:
        with _inside(consumer, process_of, each):
            seen.append(each.offset)
    return seen


def process_that_raises(consumer, bare):
    def body(each):
        with _inside(consumer, process_of, each):
            raise Refused(each.offset)

    return [outcome(body, each) for each in RECORDS]


def process_batch(consumer, bare):
    seen = []
    for _ in range(2):
        with _inside(consumer, process_batch_of, RECORDS):
            seen += RECORDS
    return seen


def process_batch_that_raises(consumer, bare):
    def body():
        with _inside(consumer, process_batch_of, {PARTITIONS[0]: RECORDS}):
            raise Refused("batch")

    return outcome(body), outcome(body)


def _handled(handler, options, argument):
    traced = handler if options is None else wrap_handler(handler, options)
    return [outcome(lambda: _driven(traced(argument))) for _ in range(2)]


def _driven(awaited):
    if not inspect.iscoroutine(awaited):
        return awaited
    try:
        awaited.send(None)
    except StopIteration as stopped:
        return stopped.value


def handle(consumer, bare, options=None):
    return _handled(lambda each: each.offset, options, RECORDS[0])


def handle_that_raises(consumer, bare, options=None):
    def handler(each):
        raise Refused(each.offset)

    return _handled(handler, options, RECORDS[0])


def handle_async(consumer, bare, options=None):
    async def handler(each):
        return each.offset

    return _handled(handler, options, RECORDS[0])


def handle_async_that_raises(consumer, bare, options=None):
    async def handler(each):
        raise Refused(each.offset)

    return _handled(handler, options, RECORDS[0])


def handle_batch(consumer, bare, options=None):
    return _handled(len, options, RECORDS)


def commit(consumer, bare):
    with _AMBIENT.start_as_current_span("ambient"):
        return outcome(consumer.commit), outcome(consumer.commit, OFFSETS), bare.seen


def commit_that_raises(consumer, bare):
    bare.refusing = True
    with _AMBIENT.start_as_current_span("ambient"):
        return outcome(consumer.commit), outcome(consumer.commit, OFFSETS), bare.seen


def commit_async(consumer, bare):
    seen, answers = [], (["committed"], AWAY)
    with _AMBIENT.start_as_current_span("ambient"):
        for answer in answers:
            seen.append(outcome(consumer.commit_async, OFFSETS, lambda *args: seen.append(args)))
            seen.append(outcome(bare.callback, OFFSETS, answer))
    return seen


def commit_async_that_raises(consumer, bare):
    bare.refusing = True
    with _AMBIENT.start_as_current_span("ambient"):
        return [outcome(consumer.commit_async, OFFSETS, callback=print) for _ in range(2)]


def commit_automatically(consumer, bare):
    consumer.commit(OFFSETS)
    callback = bare._coordinator.config["default_offset_commit_callback"]
    seen = [outcome(callback, OFFSETS, answer) for answer in (None, KafkaConnectionError("away"))]
    bare.refusing = True
    return seen, outcome(callback, OFFSETS, None), len(bare.seen)


def assign(consumer, bare):
    return outcome(consumer.assign, PARTITIONS), [each.offset for each in consumer]


def rebalance(consumer, bare, refusing=False):
    seen = []
    consumer.subscribe(["t"], listener=Listener(seen, refusing))
    turns = (
        bare.listener.on_partitions_assigned,
        bare.listener.on_partitions_revoked,
        bare.listener.on_partitions_lost,
    )
    return [outcome(turn, PARTITIONS) for turn in turns * 2], seen


def rebalance_that_raises(consumer, bare):
    return rebalance(consumer, bare, refusing=True)


def rebalance_while_a_record_is_processed(consumer, bare):
    consumer.subscribe(["t"], listener=Listener(bare.seen, refusing=False))
    seen = []
    for each in consumer:
        bare.listener.on_partitions_revoked(PARTITIONS)
        seen.append(each.offset)
    return seen, bare.seen


def close(consumer, bare):
    next(consumer)
    return outcome(consumer.close), outcome(consumer.close)


def close_consumer_that_raises(consumer, bare):
    next(consumer)
    consumer.commit_async(OFFSETS)
    bare.refusing = True
    return outcome(consumer.close), outcome(consumer.close)


PRODUCING = (
    send,
    send_with_headers,
    send_inside_a_span,
    send_that_raises,
    send_that_fails_later,
    send_that_is_done,
    send_of_nonsense,
    send_too_large_by_our_header,
    *(() if BRIDGED else (send_too_large_by_our_header_said_by_the_future,)),  # of kafka-python alone
    close_in_flight,
    close_that_raises,
    transaction,
    transaction_that_raises,
)
HANDLING = (handle, handle_that_raises, handle_async, handle_async_that_raises, handle_batch)
CONSUMING = (
    iterate,
    iterate_and_leave,
    iterate_through_errors,
    iterate_and_raise,
    next_records,
    poll,
    poll_that_raises,
    process,
    process_that_raises,
    process_batch,
    process_batch_that_raises,
    *HANDLING,
    commit,
    commit_that_raises,
    commit_async,
    commit_async_that_raises,
    commit_automatically,
    assign,
    *(() if BRIDGED else (rebalance, rebalance_that_raises)),  # whose listeners return something
    rebalance_while_a_record_is_processed,
    close,
    close_consumer_that_raises,
)


def make_client(operation):
    """Make the bare client that an operation is about."""
    return Producer(**CONFIG) if operation in PRODUCING else Consumer()


def is_anything_current():
    return trace.get_current_span().get_span_context().is_valid


EXPECTED = {}
for _operation in (*PRODUCING, *CONSUMING):
    _bare = make_client(_operation)
    EXPECTED[_operation] = _operation(_bare, _bare)
