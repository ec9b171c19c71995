"""The suite over the face of confluent-kafka: its calls become those of traced clients of that library.

A fake of the suite, which is used as kafka-python's, gets a bridge with confluent-kafka's methods, whose records are
messages; that is wrapped, and a client around it takes kafka-python's calls and returns kafka-python's records.
"""

from dataclasses import replace

from confluent_kafka import (
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
)
from confluent_kafka import TopicPartition as ConfluentPartition
from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.errors import MessageSizeTooLargeError
from kafka.structs import OffsetAndMetadata

import otelkafka
from tests.support.bridges import Reasons, why_not

NAMES = {
    "bootstrap_servers": "bootstrap.servers",
    "client_id": "client.id",
    "group_id": "group.id",
    "transactional_id": "transactional.id",
}
"""What facts are read of a configuration, by the names of kafka-python."""


def configuration_of(bare):
    given = getattr(bare, "config", None)
    if not isinstance(given, dict):
        return given
    found = {theirs: given[ours] for ours, theirs in NAMES.items() if given.get(ours) is not None}
    servers = found.get("bootstrap.servers")
    return {**found, "bootstrap.servers": ",".join(servers)} if isinstance(servers, list) else found


class Message:
    """A record of the suite as confluent-kafka hands one over."""

    def __init__(self, record):
        self.record = record

    def topic(self):
        return self.record.topic

    def partition(self):
        return self.record.partition

    def offset(self):
        return self.record.offset

    def key(self):
        return self.record.key

    def value(self):
        return self.record.value

    def headers(self):
        return self.record.headers or None

    def timestamp(self):
        written = self.record.timestamp
        if written is None or written < 0:
            return TIMESTAMP_NOT_AVAILABLE, -1
        return TIMESTAMP_CREATE_TIME + (self.record.timestamp_type or 0), written

    def error(self):
        return None


class Acknowledged(Message):
    """What the broker has acknowledged, as a delivery report has it: without headers."""

    def __init__(self, metadata):
        super().__init__(metadata)
        self.key = self.value = self.headers = lambda: None

    def timestamp(self):
        return TIMESTAMP_NOT_AVAILABLE, -1


class Failure:
    """What kafka-python failed with, by the name that its class has, as a delivery report has an error."""

    def __init__(self, error):
        self.error = error

    def name(self):
        return type(self.error).__name__

    def code(self):
        return KafkaError._FAIL


class Bridge:
    """A fake of the suite with confluent-kafka's methods; all else is the fake's own."""

    def __init__(self, bare):
        self.bare = bare
        self.config = configuration_of(bare)

    def __getattr__(self, name):
        return getattr(self.bare, name)


class BridgedProducer(Bridge, Producer):
    def produce(
        self,
        topic,
        value=None,
        key=None,
        partition=-1,
        callback=None,
        on_delivery=None,
        timestamp=0,
        headers=None,
        **more,
    ):
        report = callback or on_delivery
        named = {"key": key, "headers": headers, "partition": partition, "timestamp_ms": timestamp}
        absent = {"key": None, "headers": None, "partition": -1, "timestamp_ms": 0}
        given = {name: each for name, each in named.items() if each != absent[name]}
        self.future = None
        try:
            future = self.bare.send(topic, value=value, **given, **more)
        except MessageSizeTooLargeError as error:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)) from error
        self.future = future
        if report is not None and hasattr(future, "add_callback"):
            future.add_callback(lambda metadata: report(None, Acknowledged(metadata)))
            future.add_errback(lambda error: report(Failure(error), None))

    def poll(self, timeout=0):
        return 0

    def flush(self, timeout=0):
        self.bare.flush()
        return 0

    def close(self):
        self.bare.close()

    def init_transactions(self):
        self.bare.init_transactions()

    def begin_transaction(self):
        self.bare.begin_transaction()

    def send_offsets_to_transaction(self, positions, group_metadata):
        self.bare.send_offsets_to_transaction(_offsets_by_place(positions), group_metadata)

    def commit_transaction(self):
        self.bare.commit_transaction()

    def abort_transaction(self):
        self.bare.abort_transaction()


class Callbacks(ConsumerRebalanceListener):
    """The callbacks of a subscription, as the suite's fakes call a listener."""

    def __init__(self, consumer, on_assign, on_revoke, on_lost):
        self._consumer = consumer
        self._assigned, self._revoked, self._lost = on_assign, on_revoke, on_lost

    def on_partitions_assigned(self, assigned):
        return self._call(self._assigned, assigned)

    def on_partitions_revoked(self, revoked):
        return self._call(self._revoked, revoked)

    def on_partitions_lost(self, lost):
        return self._call(self._lost or self._revoked, lost)

    def _call(self, callback, partitions):
        if callback is not None:
            callback(self._consumer, [ConfluentPartition(each.topic, each.partition) for each in partitions])


class BridgedConsumer(Bridge, Consumer):
    def poll(self, timeout=-1):
        try:
            return Message(next(self.bare))
        except StopIteration:
            return None

    def consume(self, num_messages=1, timeout=-1):
        self.polled = self.bare.poll()
        return [Message(record) for records in self.polled.values() for record in records]

    def subscribe(self, topics, on_assign=None, on_revoke=None, on_lost=None):
        listener = None
        if on_assign or on_revoke or on_lost:
            listener = Callbacks(self, on_assign, on_revoke, on_lost)
        self.bare.subscribe(topics, listener=listener)

    def assign(self, partitions):
        self.bare.assign([TopicPartition(each.topic, each.partition) for each in partitions])

    def assignment(self):
        return [ConfluentPartition(each.topic, each.partition) for each in self.bare.assignment()]

    def position(self, partitions):
        return [
            ConfluentPartition(
                each.topic, each.partition, self.bare.position(TopicPartition(each.topic, each.partition))
            )
            for each in partitions
        ]

    def get_watermark_offsets(self, partition, cached=False):
        assert cached, "the network would be asked"
        return 0, self.bare.highwater(TopicPartition(partition.topic, partition.partition))

    def commit(self, message=None, offsets=None, asynchronous=True):
        if offsets is None:
            return self.bare.commit()
        return self.bare.commit(_offsets_by_place(offsets))

    def unsubscribe(self):
        self.bare.unsubscribe()

    def close(self):
        self.bare.close()


def _offsets_by_place(offsets):
    return {TopicPartition(each.topic, each.partition): OffsetAndMetadata(each.offset, "", -1) for each in offsets}


def _offsets_of_theirs(offsets):
    return [ConfluentPartition(place.topic, place.partition, each.offset) for place, each in offsets.items()]


class Called:
    """A traced client that is called as kafka-python's; all else is that client's own."""

    def __init__(self, traced, bare):
        self.traced = traced
        self.__wrapped__ = bare
        self._self_face = traced._self_face

    def __getattr__(self, name):
        return getattr(self.traced, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.traced.close()


class CalledProducer(Called):
    def send(self, topic, value=None, key=None, headers=None, partition=None, timestamp_ms=None, **more):
        named = {"key": key, "headers": headers, "partition": partition, "timestamp": timestamp_ms}
        given = {name: each for name, each in named.items() if each is not None}
        try:
            self.traced.produce(topic, value, **given, **more)
        except KafkaException as error:
            raise error.__cause__ or error from None
        return self.traced.future

    def send_offsets_to_transaction(self, offsets, group):
        self.traced.send_offsets_to_transaction(_offsets_of_theirs(offsets), group)


class Records(list):
    """The records of one partition, whose first iteration is that of the list of messages which they are a part of."""

    def __init__(self, records, messages, is_last):
        super().__init__(records)
        self.messages, self.iterated, self.is_last = messages, None, is_last

    def __iter__(self):
        if self.iterated is not None or self.messages.iterator is None:
            return super().__iter__()
        self.iterated = True
        return self._dispatched()

    def _dispatched(self):
        iterator = self.messages.iterator
        for _ in range(len(self)):
            yield next(iterator).record
        if self.is_last:
            self.messages.iterator = None
            next(iterator, None)  # which ends the last span


class Messages:
    """The list that a traced consumer has returned.

    Args:
        polled: the list.
    """

    def __init__(self, polled):
        self.polled = polled
        self.iterator = iter(polled)


class CalledConsumer(Called):
    def __iter__(self):
        return self

    def __next__(self):
        message = self.traced.poll()
        if message is None:
            raise StopIteration
        return message.record

    def poll(self, *_, **__):
        polled = self.traced.consume(500, 0)
        if not polled:
            return {}
        messages, (*_, last) = Messages(polled), self.traced.polled
        return {place: Records(each, messages, place == last) for place, each in self.traced.polled.items()}

    def process_batch(self, records):
        return self.traced.process_batch(_as_polled(records))

    def subscribe(self, topics=(), pattern=None, listener=None):
        names = ("assigned", "revoked", "lost")
        given = {
            keyword: _callback(getattr(listener, f"on_partitions_{name}", None))
            for keyword, name in zip(("on_assign", "on_revoke", "on_lost"), names, strict=True)
        }
        self.traced.subscribe(list(topics), **{name: each for name, each in given.items() if each is not None})

    def assign(self, partitions):
        self.traced.assign([ConfluentPartition(each.topic, each.partition) for each in partitions])

    def assignment(self):
        return self.__wrapped__.assignment()

    def position(self, partition):
        return self.__wrapped__.position(partition)

    def commit(self, offsets=None, **_):
        if offsets is None:
            return self.traced.commit(asynchronous=False)
        return self.traced.commit(offsets=_offsets_of_theirs(offsets), asynchronous=False)


def _callback(call):
    if call is None:
        return None
    return lambda _, partitions: call([TopicPartition(each.topic, each.partition) for each in partitions])


def _as_polled(records):
    """The list that the consumer has returned, where all of it is given."""
    parts = list(records.values()) if isinstance(records, dict) else [records]
    if parts and all(isinstance(part, Records) and part.messages is parts[0].messages for part in parts):
        polled = parts[0].messages.polled
        if sum(map(len, parts)) == len(polled):
            for part in parts:
                part.iterated = True
            return polled
    return records


def _with_records(options):
    """Options whose hook gets the record of the suite."""
    hook = getattr(options, "on_process", None)
    if hook is None:
        return options
    return replace(options, on_process=lambda span, given: hook(span, getattr(given, "record", given)))


def wrap_producer(producer, options):
    bare = producer.__wrapped__ if isinstance(producer, Called) else producer
    return CalledProducer(otelkafka.wrap_producer(BridgedProducer(bare), options), bare)


def wrap_consumer(consumer, options):
    options = _with_records(options)
    if isinstance(consumer, Called):
        return CalledConsumer(otelkafka.wrap_consumer(consumer.traced, options), consumer.__wrapped__)
    return CalledConsumer(otelkafka.wrap_consumer(BridgedConsumer(consumer), options), consumer)


NOT_RUN: Reasons = {}


def reason_not_to_run(item):
    """Why a test does not run over this face; None where it does."""
    return why_not(item, NOT_RUN, "confluent", "confluent/test_confluent_kafka.py has confluent-kafka's")
