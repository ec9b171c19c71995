"""The suite over the face of confluent-kafka: its calls become those of traced clients of that library.

A fake of the suite, which is used as kafka-python's, gets a bridge with confluent-kafka's methods; that is wrapped, and
a client around it offers kafka-python's calls. What the bridge hands over are messages whose fields are methods, and
the values themselves, too: the tests read them as records.
"""

import inspect
from contextlib import suppress
from weakref import ref

import confluent_kafka
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException
from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.errors import MessageSizeTooLargeError

import otelkafka
from tests.support import internals
from tests.support.called import Called

OWN_TESTS = "confluent"
_ITERATED = "consumers of confluent-kafka are not iterated: a span ends with the next poll(), or the list of consume()"
_ASYNC_COMMIT = "commit_async() and callbacks of commits are kafka-python's: confluent/test_confluent_consumer.py"
_LISTENERS = "listeners, which may be async, are kafka-python's: confluent/test_confluent_consumer.py has callbacks"
_HEADERS = "what headers confluent-kafka takes: confluent/test_confluent_producer.py"
_FUTURES = "produce() returns no future: confluent/test_confluent_producer.py has delivery reports"
_ASSIGNED = "confluent-kafka's assignment is noted in its calls, not compared: confluent/test_confluent_consumer.py"
_LISTS = "the lists of poll() are kafka-python's: confluent/test_confluent_consumer.py has those of consume()"
_LEADERS = "librdkafka keeps the leaders, and the id of the cluster, to itself"
_TRANSACTIONS = "each producer of confluent-kafka has the methods of transactions"
NOT_RUN = {
    "consuming/test_commits.py::test_asynchronous_commit_ends_in_its_callback": _ASYNC_COMMIT,
    "consuming/test_commits.py::test_asynchronous_commit_that_fails_is_recorded": _ASYNC_COMMIT,
    "consuming/test_commits.py::test_asynchronous_commit_that_is_refused_raises_its_own_error": _ASYNC_COMMIT,
    "consuming/test_commits.py::test_commit_that_is_never_answered_ends_with_close": _ASYNC_COMMIT,
    "consuming/test_commits.py::test_automatic_commits_are_counted_after_the_users_callback": _ASYNC_COMMIT,
    "consuming/test_commits.py::test_many_commits_that_are_never_answered_do_not_grow_the_memory": _ASYNC_COMMIT,
    "consuming/test_commits.py::test_commit_has_the_offset_where_it_is_one": _ASYNC_COMMIT,
    "producing/test_transactions.py::test_producer_without_transactions_has_none_wrapped": _TRANSACTIONS,
    "consuming/test_dispatcher.py::test_leaving_the_loop_ends_the_span_and_restores_the_context": _ITERATED,
    "consuming/test_dispatcher.py::test_iterator_dropped_in_another_thread_ends_its_span_silently": _ITERATED,
    "consuming/test_dispatcher.py::test_record_without_context_is_the_ambient_spans_child_or_a_root": _ITERATED,
    "consuming/test_dispatcher.py::test_record_of_both_relations_is_the_sends_child_and_links_to_it": _ITERATED,
    "consuming/test_dispatcher.py::test_iterator_keeps_the_consumer_alive": _ITERATED,
    "consuming/test_dispatcher.py::test_polled_list_is_a_plain_list_where_it_is_copied": _LISTS,
    "consuming/test_dispatcher.py::test_empty_poll_is_returned_as_it_is": _LISTS,
    "consuming/test_dispatcher.py::test_span_of_a_polled_list_ends_before_the_next_one_starts": _LISTS,
    "consuming/test_process.py::test_handlers_of_every_form": _LISTS,
    "consuming/test_dispatcher.py::test_listener_of_the_user_is_called_and_may_raise": _LISTENERS,
    "consuming/test_dispatcher.py::test_async_listener_is_awaited": _LISTENERS,
    "consuming/test_rebalances.py::test_span_of_an_async_listener_lasts_as_long": _LISTENERS,
    "consuming/test_rebalances.py::test_wrapping_again_leaves_one_listener_with_the_new_options": _LISTENERS,
    "consuming/test_dispatcher.py::test_failed_poll_shows_what_is_assigned_no_more": _ASSIGNED,
    "consuming/test_groups.py": "groups of kafka-python's consumers: confluent/test_confluent_kafka.py",
    "consuming/test_open_span.py::test_loop_that_is_left_after_its_consumer_was_closed_elsewhere_leaves_nothing_current": (
        _ITERATED
    ),
    "consuming/test_open_span.py::test_two_consumers_in_turn_keep_nothing_of_earlier_records": _ITERATED,
    "consuming/test_random_walk.py": _ITERATED,
    "telemetry/test_conventions.py::test_attribute_of_one_record_stands_where_it_should[messaging.kafka.cluster.id]": (
        _LEADERS
    ),
    "telemetry/test_telemetry.py::test_send_span_names_the_leader_of_the_partition_in_the_acknowledgement": _LEADERS,
    "telemetry/test_telemetry.py::test_leader_that_moves_is_named_some_seconds_later": _LEADERS,
    "telemetry/test_interrupted_hooks.py::test_interrupt_in_an_async_rebalance_listener_ends_its_span": _LISTENERS,
    "telemetry/test_metrics.py::test_record_that_the_client_refused_is_no_sent_message": _FUTURES,
    "telemetry/test_faults.py::test_future_that_cannot_be_followed_is_returned": _FUTURES,
    "telemetry/test_faults.py::test_page_shows_what_is_injected": "the page counts the operations of kafka-python",
    "telemetry/test_metrics.py::test_metrics_keep_no_client_alive": "the bridge lives as long as the suite's producer",
    "producing/test_headers_accepted.py": _HEADERS,
    "producing/test_send.py::test_no_headers_for_old_brokers_and_no_span_beyond_max_in_flight": _HEADERS,
    "producing/test_send.py::test_arguments_that_are_refused_go_through_untouched": _HEADERS,
    "producing/test_send.py::test_future_that_failed_for_our_header_is_sent_again": _FUTURES,
}
"""What the suite has of kafka-python alone, by file or test, and where confluent-kafka's is tested."""
_FIELDS = ("topic", "partition", "offset", "key", "value", "headers")
_CONFIG = {
    "bootstrap_servers": "bootstrap.servers",
    "client_id": "client.id",
    "group_id": "group.id",
    "transactional_id": "transactional.id",
}


class Text(str):
    __slots__ = ()

    def __call__(self):
        return str(self)


class Number(int):
    def __call__(self):
        return int(self)


class Bytes(bytes):
    def __call__(self):
        return bytes(self)


class Pairs(list):
    def __init__(self, given):
        super().__init__(given)
        self.given = given

    def __call__(self):
        return self.given


class Time(int):
    def __call__(self):
        return (TIMESTAMP_CREATE_TIME, int(self)) if self >= 0 else (TIMESTAMP_NOT_AVAILABLE, 0)


class Nothing:
    """A field that is None."""

    def __init__(self, called=None):
        self.called = called

    def __call__(self):
        return self.called

    def __bool__(self):
        return False

    def __eq__(self, other):
        return other is None or isinstance(other, Nothing)

    def __hash__(self):
        return hash(None)


_KINDS = {str: Text, int: Number, bytes: Bytes, list: Pairs}


def field(value):
    """A field of a record that can be called, as that of a message."""
    if value is None:
        return Nothing()
    kind = _KINDS.get(type(value))
    return (lambda: value) if kind is None else kind(value)


class Message:
    """A record of kafka-python as a message of confluent-kafka, and as itself."""

    __slots__ = ("__weakref__", "record")

    def __init__(self, record):
        self.record = record

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if name in _FIELDS:
            return field(getattr(self.record, name, None))
        return getattr(self.record, name)

    @property
    def timestamp(self):
        given = self.record.timestamp
        return Nothing((TIMESTAMP_NOT_AVAILABLE, 0)) if given is None else Time(given)

    def error(self):
        return None

    def _replace(self, **fields):
        return Message(self.record._replace(**fields))

    def __eq__(self, other):
        return self.record == getattr(other, "record", other)

    def __hash__(self):
        return hash(self.record)

    def __reduce__(self):
        return Message, (self.record,)


class Failure:
    """Why a delivery failed, with the methods of a `KafkaError`."""

    def __init__(self, error):
        self.error = error

    def __str__(self):
        return str(self.error)

    def code(self):
        return KafkaError._FAIL

    def name(self):
        return internals.any_error_name(self.error) or type(self.error).__name__


class TooLarge(KafkaException, MessageSizeTooLargeError):
    """As confluent-kafka raises it, and as kafka-python does."""


def configuration_of(bare):
    """The configuration of a fake by confluent-kafka's names; None where it has none."""
    config = getattr(bare, "config", None)
    if not isinstance(config, dict):
        return None
    found = {theirs: config[ours] for ours, theirs in _CONFIG.items() if config.get(ours) is not None}
    servers = found.get("bootstrap.servers")
    return found if servers is None or isinstance(servers, str) else {**found, "bootstrap.servers": ",".join(servers)}


class BridgedProducer(confluent_kafka.Producer):
    def __init__(self, bare):
        self.bare = bare
        self.config = configuration_of(bare)
        with suppress(AttributeError):  # it lives as long as the fake: what is in flight ends with the client
            bare.bridges = [*getattr(bare, "bridges", []), self]

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
        key, value = (None if isinstance(each, Nothing) else each for each in (key, value))
        named = {"key": key, "headers": headers, "partition": None if partition == -1 else partition}
        named["timestamp_ms"] = timestamp or None
        given = {name: each for name, each in named.items() if each is not None}
        try:
            future = self.bare.send(topic, value=value, **given, **more)
        except MessageSizeTooLargeError as error:
            raise TooLarge(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)) from error
        report = callback or on_delivery
        if report is not None and hasattr(future, "add_callback"):
            future.add_callback(lambda metadata: report(None, Message(metadata)))
            future.add_errback(lambda error: report(Failure(error), None))
        return future

    def flush(self, *args, **kwargs):
        return self.bare.flush(*args, **kwargs)

    def close(self, *args, **kwargs):
        return self.bare.close(*args, **kwargs)

    def init_transactions(self):
        return self.bare.init_transactions()

    def begin_transaction(self):
        return self.bare.begin_transaction()

    def send_offsets_to_transaction(self, positions, *args, **kwargs):
        return self.bare.send_offsets_to_transaction(getattr(positions, "given", positions), *args, **kwargs)

    def commit_transaction(self):
        return self.bare.commit_transaction()

    def abort_transaction(self):
        return self.bare.abort_transaction()

    def __len__(self):
        return 0

    def __bool__(self):
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Offsets(list):
    """Offsets as confluent-kafka takes them, and as they were given."""

    def __init__(self, given):
        super().__init__(
            confluent_kafka.TopicPartition(each.topic, each.partition, getattr(offset, "offset", offset))
            for each, offset in given.items()
        )
        self.given = given


class Listener(ConsumerRebalanceListener):
    """The callbacks of a subscription, as the suite's fakes call them."""

    def __init__(self, consumer, on_assign, on_revoke, on_lost):
        self.consumer = ref(consumer)
        self.on_assign, self.on_revoke, self.on_lost = on_assign, on_revoke, on_lost or on_revoke

    def _call(self, callback, partitions):
        if callback is not None:
            callback(self.consumer(), partitions)

    def on_partitions_assigned(self, assigned):
        self._call(self.on_assign, assigned)

    def on_partitions_revoked(self, revoked):
        self._call(self.on_revoke, revoked)

    def on_partitions_lost(self, lost):
        self._call(self.on_lost, lost)


class BridgedConsumer(confluent_kafka.Consumer):
    def __init__(self, bare):
        self.bare = bare
        self.config = configuration_of(bare)

    def poll(self, timeout=-1):
        try:
            return Message(next(self.bare))
        except StopIteration:
            return None

    def consume(self, *args, **kwargs):
        polled = self.bare.poll(*args, **kwargs)
        return [Message(each) for records in polled.values() for each in records] if polled else []

    def subscribe(self, topics, on_assign=None, on_revoke=None, on_lost=None):
        callbacks = (on_assign, on_revoke, on_lost)
        if any(each is not None and not callable(each) for each in callbacks):
            msg = "on_assign expects a callable"
            raise TypeError(msg)
        pattern = next((topic[1:] for topic in topics if topic.startswith("^")), None)
        self.bare.subscribe(() if pattern else topics, pattern, Listener(self, *callbacks))

    def unsubscribe(self):
        return self.bare.unsubscribe()

    def assign(self, partitions):
        return self.bare.assign(partitions)

    def assignment(self):
        return list(self.bare.assignment())

    def position(self, partitions):
        consumed = self.bare._subscription.all_consumed_offsets()
        return Offsets({each: consumed[each] for each in partitions if each in consumed})

    def get_watermark_offsets(self, partition, timeout=-1, cached=False):
        return 0, self.bare.highwater(TopicPartition(partition.topic, partition.partition))

    def commit(self, message=None, offsets=None, asynchronous=True, **more):
        given = () if offsets is None else (getattr(offsets, "given", offsets),)
        return (self.bare.commit_async if asynchronous else self.bare.commit)(*given, **more)

    def close(self, *args, **kwargs):
        return self.bare.close(*args, **kwargs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class CalledConfluent(Called):
    def __getattr__(self, name):
        return getattr(self.__wrapped__, name)

    def close(self, *args, **kwargs):
        return self.traced.close(*args, **kwargs)

    def __enter__(self):
        self.traced.__enter__()
        return self

    def __exit__(self, *raised):
        return self.traced.__exit__(*raised)


class CalledProducer(CalledConfluent):
    def send(self, *args, **kwargs):
        try:
            inspect.signature(self.__wrapped__.send).bind(*args, **kwargs)
        except TypeError:  # a call that Python itself refuses, by the names that the suite knows
            return self.__wrapped__.send(*args, **kwargs)
        kwargs.update(zip(("headers", "partition", "timestamp_ms"), args[3:], strict=False))
        if "timestamp_ms" in kwargs:
            kwargs["timestamp"] = kwargs.pop("timestamp_ms") or 0
        if kwargs.get("partition", -1) is None:
            del kwargs["partition"]
        return self.traced.produce(*args[:3], **kwargs)

    def init_transactions(self):
        return self.traced.init_transactions()

    def begin_transaction(self):
        return self.traced.begin_transaction()

    def send_offsets_to_transaction(self, offsets, *args, **kwargs):
        return self.traced.send_offsets_to_transaction(Offsets(offsets), *args, **kwargs)

    def commit_transaction(self):
        return self.traced.commit_transaction()

    def abort_transaction(self):
        return self.traced.abort_transaction()


class CalledConsumer(CalledConfluent):
    def __iter__(self):
        return CalledIterator(self)

    def __next__(self):
        message = self.traced.poll()
        if message is None:
            raise StopIteration
        return message

    def poll(self, *args, **kwargs):
        messages = self.traced.consume(*args, **kwargs)
        places = dict.fromkeys(TopicPartition(each.topic(), each.partition()) for each in list.__iter__(messages))
        if len(places) < 2:
            return dict.fromkeys(places, messages)
        dispatching = Dispatching(messages)
        return {place: PartOfList(dispatching, place) for place in places}

    def subscribe(self, topics=(), pattern=None, listener=None):
        names = {"on_assign": "assigned", "on_revoke": "revoked", "on_lost": "lost"}
        methods = {name: getattr(listener, f"on_partitions_{what}", None) for name, what in names.items()}
        callbacks = {name: _without_consumer(method) for name, method in methods.items() if method is not None}
        if listener is not None and not callbacks:
            callbacks = {"on_assign": listener}
        self.traced.subscribe([f"^{pattern}"] if pattern else list(topics), **callbacks)

    def unsubscribe(self):
        return self.traced.unsubscribe()

    def assign(self, partitions):
        return self.traced.assign(partitions)

    def commit(self, offsets=None, **more):
        return self.traced.commit(offsets=None if offsets is None else Offsets(offsets), asynchronous=False, **more)

    def commit_async(self, offsets=None, *callback, **more):
        if callback:
            more["callback"] = callback[0]
        return self.traced.commit(offsets=None if offsets is None else Offsets(offsets), asynchronous=True, **more)

    def process(self, record):
        return self.traced.process(record)

    def process_batch(self, records):
        if isinstance(records, dict) and any(isinstance(each, PartOfList) for each in records.values()):
            records = next(iter(records.values())).whole
        return self.traced.process_batch(records)


def _without_consumer(method):
    return lambda _, partitions: method(partitions)


class CalledIterator:
    def __init__(self, consumer):
        self._consumer = consumer

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._consumer)


class Dispatching:
    """The one dispatching iteration of a list that has several partitions."""

    def __init__(self, messages):
        self.messages = messages
        self._iterator = None

    def next(self):
        self._iterator = self._iterator or iter(self.messages)
        return next(self._iterator)


class PartOfList(list):
    """The messages of one partition in a list; its first iteration goes on with that of the list."""

    def __init__(self, dispatching, place):
        super().__init__(
            each for each in list.__iter__(dispatching.messages) if (each.topic(), each.partition()) == place
        )
        self._dispatching = dispatching
        self.whole = dispatching.messages

    def __iter__(self):
        dispatching, self._dispatching = self._dispatching, None
        if dispatching is None:
            return super().__iter__()
        return (dispatching.next() for _ in range(len(self)))


def wrap_producer(producer, options):
    internals.take_errors_of_any_library()
    bare = producer.__wrapped__ if isinstance(producer, Called) else producer
    return CalledProducer(otelkafka.wrap_producer(BridgedProducer(bare), options), bare)


def wrap_consumer(consumer, options):
    internals.take_errors_of_any_library()
    if isinstance(consumer, Called):
        return CalledConsumer(otelkafka.wrap_consumer(consumer.traced, options), consumer.__wrapped__)
    return CalledConsumer(otelkafka.wrap_consumer(BridgedConsumer(consumer), options), consumer)
