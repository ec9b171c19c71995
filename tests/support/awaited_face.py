"""The suite over the face of aiokafka: its calls, which are not awaited, become awaited ones of traced clients.

A fake of the suite, which is used as kafka-python's, gets a bridge with aiokafka's methods; that is wrapped, and a
synchronous client around it runs each coroutine to its end, in the context of the caller, as a task would.
"""

import inspect
from contextlib import suppress

import aiokafka.abc
from kafka import ConsumerRebalanceListener
from kafka.errors import MessageSizeTooLargeError

import otelkafka
from tests.support import internals
from tests.support.called import Called

_ASYNC_COMMIT = "commit_async() and callbacks of commits are kafka-python's: aiokafka's commit() is awaited in a task"
_LISTENERS = "listeners of aiokafka are awaited, and return nothing: awaited/test_awaited_consumer.py"
_LOSE = "aiokafka calls no on_partitions_lost()"
_TRANSACTIONS = "aiokafka initializes transactions in start(): awaited/test_awaited_producer.py"
_HEADERS = "what headers aiokafka takes: awaited/test_awaited_producer.py"
_FUTURES = "aiokafka refuses no record by the future, and its futures call back once: awaited/test_awaited_producer.py"
NOT_RUN = {
    "clients/test_contrib.py": "hooks of kafka-python's instrumentation: awaited/test_awaited_instrumentor.py",
    "clients/test_facts.py": "private facts of kafka-python",
    "clients/test_helpers.py": "methods of subclasses of kafka-python's classes",
    "clients/test_hooks.py": "hooks of kafka-python's instrumentation: awaited/test_awaited_instrumentor.py",
    "clients/test_overriding.py": "subclasses of kafka-python's classes: awaited/test_awaited_consumer.py",
    "clients/test_patch.py": "patches of kafka-python's classes: awaited/test_awaited_instrumentor.py",
    "clients/test_proxy.py": "wrappers of kafka-python's clients: awaited/test_awaited_producer.py",
    "clients/test_signatures.py": "signatures of kafka-python's methods: awaited/test_awaited_producer.py",
    "clients/test_uninstrumented.py": "patches of kafka-python's classes: awaited/test_awaited_instrumentor.py",
    "consuming/test_commits.py::test_asynchronous_commit_ends_in_its_callback": _ASYNC_COMMIT,
    "consuming/test_commits.py::test_asynchronous_commit_that_fails_is_recorded": _ASYNC_COMMIT,
    "consuming/test_commits.py::test_asynchronous_commit_that_is_refused_raises_its_own_error": _ASYNC_COMMIT,
    "consuming/test_commits.py::test_automatic_commits_are_counted_after_the_users_callback": _ASYNC_COMMIT,
    "consuming/test_commits.py::test_commit_has_the_offset_where_it_is_one": _ASYNC_COMMIT,
    "consuming/test_commits.py::test_commit_that_is_never_answered_ends_with_close": _ASYNC_COMMIT,
    "consuming/test_commits.py::test_commit_without_offsets_names_what_it_commits": _ASYNC_COMMIT,
    "consuming/test_commits.py::test_many_commits_that_are_never_answered_do_not_grow_the_memory": _ASYNC_COMMIT,
    "consuming/test_dispatcher.py::test_async_listener_is_awaited": _LISTENERS,
    "consuming/test_dispatcher.py::test_listener_of_the_user_is_called_and_may_raise": _LISTENERS,
    "consuming/test_groups.py::test_assignments_are_compared_where_there_is_no_listener": _LISTENERS,
    "consuming/test_groups.py::test_subscribe_that_cannot_be_looked_into_is_called_as_it_is": _LISTENERS,
    "consuming/test_rebalances.py::test_each_turn_has_a_span_and_a_count": _LOSE,
    "consuming/test_rebalances.py::test_record_in_process_has_an_event_when_its_partition_has_gone": _LOSE,
    "consuming/test_rebalances.py::test_span_of_an_async_listener_lasts_as_long": _LISTENERS,
    "producing/test_headers_accepted.py": _HEADERS,
    "producing/test_send.py::test_arguments_that_are_refused_go_through_untouched": _HEADERS,
    "producing/test_send.py::test_future_that_failed_for_our_header_is_sent_again": _FUTURES,
    "producing/test_send.py::test_send_span_ends_once_however_often_its_future_calls_back": _FUTURES,
    "producing/test_transactions.py::test_commit_of_a_transaction_is_a_client_span": _TRANSACTIONS,
    "producing/test_transactions.py::test_failure_has_a_span_and_passes": _TRANSACTIONS,
    "producing/test_transactions.py::test_producer_without_transactions_has_none_wrapped": _TRANSACTIONS,
    "telemetry/test_interrupted_hooks.py::test_interrupt_in_a_rebalance_listener_ends_its_span": _LOSE,
    "telemetry/test_metrics.py::test_metrics_keep_no_client_alive": "the bridge lives as long as the suite's producer",
    "telemetry/test_metrics.py::test_record_that_the_client_refused_is_no_sent_message": _FUTURES,
    "telemetry/test_faults.py::test_page_shows_what_is_injected": "the page counts the operations of kafka-python",
    "telemetry/test_interrupted_hooks.py::test_interrupt_in_an_async_rebalance_listener_ends_its_span": _LISTENERS,
}
"""What the suite has of kafka-python alone, by file or test, and where aiokafka's is tested."""
OWN_TESTS = "awaited"


def run(coroutine):
    """Run a coroutine that does not wait, in the context of the caller."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    msg = "a call over the bridge waited for something"
    raise AssertionError(msg)


class Connections:
    """What aiokafka keeps of its connections, as far as facts are read there."""

    def __init__(self, config, cluster):
        self._client_id = config.get("client_id")
        self._bootstrap_servers = config.get("bootstrap_servers")
        self._api_version = config.get("api_version")
        self.cluster = cluster


class Bridge:
    """A fake of the suite with aiokafka's methods; all else is the fake's own."""

    def __init__(self, bare):
        self.bare = bare
        config = getattr(bare, "config", {})
        cluster = getattr(bare, "_metadata", None) or getattr(bare, "_cluster", None)
        cluster = cluster or getattr(getattr(bare, "_client", None), "cluster", None)
        self._client = self.client = Connections(config, cluster)
        self._group_id = config.get("group_id")

    def __getattr__(self, name):
        return getattr(self.bare, name)

    async def start(self):
        pass

    async def stop(self, *args, **kwargs):
        return self.bare.close(*args, **kwargs)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.stop()


class BridgedFuture:
    """A future of kafka-python, as the face of aiokafka follows one."""

    def __init__(self, future):
        self.future = future

    def add_done_callback(self, callback):
        self.future.add_callback(lambda _: callback(self))
        self.future.add_errback(lambda _: callback(self))

    def done(self):
        return self.future.is_done

    def cancelled(self):
        return False

    def exception(self):
        return self.future.exception

    def result(self):
        return self.future.value


class BridgedProducer(Bridge):
    def __init__(self, bare):
        super().__init__(bare)
        with suppress(AttributeError):  # it lives as long as the fake: what is in flight ends with the client
            bare.bridges = [*getattr(bare, "bridges", []), self]
        config = getattr(bare, "config", None)
        if config:
            self._txn_manager = Manager(config.get("transactional_id"))

    async def send(self, topic, value=None, key=None, partition=None, timestamp_ms=None, headers=None, **more):
        named = {"value": value, "key": key, "headers": headers, "partition": partition, "timestamp_ms": timestamp_ms}
        given = {name: each for name, each in named.items() if each is not None or name == "value"}
        future = self.bare.send(topic, **given, **more)
        return BridgedFuture(future) if hasattr(future, "add_callback") else future

    async def send_and_wait(self, *args, **kwargs):
        return (await self.send(*args, **kwargs)).result()

    async def begin_transaction(self):
        return self.bare.begin_transaction()

    async def send_offsets_to_transaction(self, *args, **kwargs):
        return self.bare.send_offsets_to_transaction(*args, **kwargs)

    async def commit_transaction(self):
        return self.bare.commit_transaction()

    async def abort_transaction(self):
        return self.bare.abort_transaction()


class Manager:
    def __init__(self, transactional_id):
        self.transactional_id = transactional_id


class AwaitedListener(aiokafka.abc.ConsumerRebalanceListener):
    """A listener of the suite, as aiokafka takes one."""

    def __init__(self, listener):
        self.listener = listener

    def on_partitions_assigned(self, assigned):
        self.result = self.listener.on_partitions_assigned(assigned)

    def on_partitions_revoked(self, revoked):
        self.result = self.listener.on_partitions_revoked(revoked)


class CalledListener(ConsumerRebalanceListener):
    """A listener of the face, as the suite's fakes call one."""

    def __init__(self, listener):
        self.awaited = listener

    def on_partitions_assigned(self, assigned):
        run(self.awaited.on_partitions_assigned(assigned))
        return self.result()

    def on_partitions_revoked(self, revoked):
        run(self.awaited.on_partitions_revoked(revoked))
        return self.result()

    def result(self):
        """What the listener of the suite returned, which aiokafka does not ask for."""
        return getattr(getattr(self.awaited, "listener", None), "result", None)

    on_partitions_lost = on_partitions_revoked


class BridgedSubscription:
    """The subscription of a fake, by the names that aiokafka has for what facts are read of."""

    def __init__(self, subscription):
        self._subscription = subscription
        self.subscription = self.assignment = self

    def partitions_auto_assigned(self):
        return self._subscription.partitions_auto_assigned()

    def all_consumed_offsets(self):
        return self._subscription.all_consumed_offsets()

    @property
    def _listener(self):
        listener = self._subscription.listener
        return listener.awaited if isinstance(listener, CalledListener) else listener

    @_listener.setter
    def _listener(self, listener):
        self._subscription.listener = None if listener is None else CalledListener(listener)


class BridgedConsumer(Bridge):
    def __init__(self, bare):
        super().__init__(bare)
        if hasattr(bare, "_subscription"):
            self._subscription = BridgedSubscription(bare._subscription)

    async def getone(self, *partitions):
        return next(self.bare)

    async def getmany(self, *args, **kwargs):
        return self.bare.poll(*args, **kwargs)

    def __aiter__(self):
        return BridgedIterator(iter(self.bare))

    async def __anext__(self):
        return await BridgedIterator(self.bare).__anext__()

    def subscribe(self, topics=(), pattern=None, listener=None):
        self.bare.subscribe(topics, pattern, None if listener is None else CalledListener(listener))

    async def commit(self, *args, **kwargs):
        return self.bare.commit(*args, **kwargs)


class BridgedIterator:
    def __init__(self, records):
        self._records = records

    async def __anext__(self):
        try:
            return next(self._records)
        except StopIteration:
            raise StopAsyncIteration from None


class CalledAwaited(Called):
    """A traced client whose awaited methods are called; all else is that client's own."""

    def __getattr__(self, name):
        return getattr(self.traced, name)

    def close(self, *args, **kwargs):
        return run(self.traced.stop(*args, **kwargs))

    def __enter__(self):
        run(self.traced.__aenter__())
        return self

    def __exit__(self, *raised):
        return run(self.traced.__aexit__(*raised))


class CalledProducer(CalledAwaited):
    def send(self, *args, **kwargs):
        try:
            inspect.signature(self.__wrapped__.send).bind(*args, **kwargs)
        except TypeError:  # a call that Python itself refuses, by the names that the suite knows
            return self.__wrapped__.send(*args, **kwargs)
        if len(args) > 3:
            kwargs.update(zip(("headers", "partition", "timestamp_ms"), args[3:], strict=False))
        future = run(self.traced.send(*args[:3], **kwargs))
        return future.future if isinstance(future, BridgedFuture) else future

    def init_transactions(self):
        return self.__wrapped__.init_transactions()

    def begin_transaction(self):
        return run(self.traced.begin_transaction())

    def send_offsets_to_transaction(self, *args, **kwargs):
        return run(self.traced.send_offsets_to_transaction(*args, **kwargs))

    def commit_transaction(self):
        return run(self.traced.commit_transaction())

    def abort_transaction(self):
        return run(self.traced.abort_transaction())


class CalledConsumer(CalledAwaited):
    def __iter__(self):
        return CalledIterator(aiter(self.traced))

    def __next__(self):
        return CalledIterator(self.traced).__next__()

    def poll(self, *args, **kwargs):
        return run(self.traced.getmany(*args, **kwargs))

    def subscribe(self, topics=(), pattern=None, listener=None):
        self.traced.subscribe(topics, pattern, None if listener is None else AwaitedListener(listener))

    def commit(self, *args, **kwargs):
        return run(self.traced.commit(*args, **kwargs))


class CalledIterator:
    def __init__(self, records):
        self._records = records

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return run(self._records.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None


def wrap_producer(producer, options):
    internals.take_errors_of_kafka_python(MessageSizeTooLargeError)
    bare = producer.__wrapped__ if isinstance(producer, Called) else producer
    return CalledProducer(otelkafka.wrap_producer(BridgedProducer(bare), options), bare)


def wrap_consumer(consumer, options):
    internals.take_errors_of_kafka_python(MessageSizeTooLargeError)
    if isinstance(consumer, Called):
        return CalledConsumer(otelkafka.wrap_consumer(consumer.traced, options), consumer.__wrapped__)
    return CalledConsumer(otelkafka.wrap_consumer(BridgedConsumer(consumer), options), consumer)
