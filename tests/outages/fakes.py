"""The fakes of each client library, as the tests of faults on cue use them: traced, and used in one way."""

import asyncio

import confluent_kafka
from aiokafka import errors as aiokafka_errors
from confluent_kafka import KafkaError, KafkaException
from kafka import TopicPartition, errors

from benchmarks.soak.libraries import AIOKafka, ConfluentKafka, KafkaPython
from otelkafka import wrap_consumer, wrap_producer
from otelkafka.testing import (
    FakeAIOKafkaConsumer,
    FakeAIOKafkaProducer,
    FakeConfluentConsumer,
    FakeConfluentProducer,
    FakeMessage,
)
from tests.support.fakes import FakeConsumer, FakeProducer, RepeatingFuture, failed
from tests.support.fakes import record as fake

PLACE = TopicPartition("t", 0)


def raising(error):
    def call(*_, **__):
        raise error

    return call


def _do_nothing(*_):
    pass


class Producer:
    """A traced producer of kafka-python.

    Args:
        options: of otelkafka.
        refusal: what its bare `send()` raises; None to take records.
        failure: what each send fails with before it returns; None to wait.
    """

    def __init__(self, options, *, refusal=None, failure=None):
        class Failing(FakeProducer):
            def send(self, *args, **kwargs):
                super().send(*args, **kwargs)
                self.futures[-1] = RepeatingFuture() if failure is None else failed(failure)
                return self.futures[-1]

        self.bare = Failing()
        if refusal is not None:
            self.bare.send = raising(refusal)
        self.client = wrap_producer(self.bare, options)
        self._failures = []

    @property
    def values(self):
        """Those of the records that reached the bare client."""
        return [value for _, value, _ in self.bare.calls]

    def send(self, value):
        self.future = self.client.send("t", value, b"k").add_errback(self._failures.append)

    def fail(self, error):
        """Have the last send fail, and its future call back twice."""
        for _ in range(2):
            self.future.fail(error)

    def acknowledge(self):
        """Have the last send be acknowledged."""
        self.future.acknowledge()

    def failure(self):
        """How the last send has failed, as the application gets it: by the client's own future."""
        assert self.future is self.bare.futures[-1]
        return self._failures[0]

    def close(self):
        self.client.close()


class Consumer:
    """A traced consumer of kafka-python.

    Args:
        options: of otelkafka.
        records: that it has.
    """

    def __init__(self, options, *records):
        self.bare = FakeConsumer(*records)
        self.client = wrap_consumer(self.bare, options)
        self._records = iter(self.client)

    def next(self):
        """Return the next record's offset; None where there is none."""
        return getattr(next(self._records, None), "offset", None)

    def walk(self, body=_do_nothing):
        """Walk what a poll returns."""
        for records in self.client.poll().values():
            for record in records:
                body(record)

    def loop(self, body):
        """Have a loop over the records."""
        for record in self.client:
            body(record)

    def raise_next(self, error):
        self.bare.error_next(error)

    interrupt_next = raise_next

    def position(self):
        return self.bare.position(PLACE)

    def commit_each(self, call, refusal):
        """Commit in the body of a loop, and return what that raises.

        Args:
            call: the name of the commit.
            refusal: what the bare one raises.
        """
        setattr(self.bare, call, raising(refusal))
        return [_raised(getattr(self.client, call)) for _ in self.client]

    def drop_iterator(self):
        self._records = None

    def close(self):
        self.client.close()


def _raised(call, **kwargs):
    try:
        call(**kwargs)
    except Exception as error:
        return error
    return None


class KafkaPythonFakes:
    """The fakes of kafka-python."""

    library = KafkaPython()
    producer, consumer = Producer, Consumer
    record = staticmethod(fake)
    refused = (
        errors.KafkaTimeoutError("the buffer is full"),
        errors.IllegalStateError("closed"),
        errors.NotLeaderForPartitionError(),
        errors.KafkaConnectionError("gone"),
    )
    settling = (
        errors.NotCoordinatorError(),
        errors.CommitFailedError(),
        errors.RebalanceInProgressError(),
        errors.IllegalGenerationError(),
        errors.KafkaTimeoutError("no coordinator"),
    )
    commits = ("commit", "commit_async")


class AwaitedClient:
    """A client whose calls are tasks of one event loop."""

    def __init__(self):
        self._loop = asyncio.new_event_loop()

    def run(self, coroutine):
        return self._loop.run_until_complete(coroutine)

    def close(self):
        self.run(self.client.stop())
        self._loop.close()


class AwaitedProducer(AwaitedClient):
    """A traced producer of aiokafka, as `Producer`."""

    def __init__(self, options, *, refusal=None, failure=None):
        class Failing(FakeAIOKafkaProducer):
            async def send(self, *args, **kwargs):
                if refusal is not None:
                    raise refusal
                future = await super().send(*args, **kwargs)
                if failure is not None:
                    self.error_next(failure)
                self.futures.append(future)
                return future

        super().__init__()
        self.bare = Failing(auto_complete=False)
        self.bare.futures = []
        self.client = wrap_producer(self.bare, options)

    @property
    def values(self):
        return [record.value for record in self.bare.history]

    def send(self, value):
        self.future = self.run(self.client.send("t", value, b"k"))

    def fail(self, error):
        self.bare.error_next(error)
        self.run(asyncio.sleep(0))

    def acknowledge(self):
        self.bare.complete_next()
        self.run(asyncio.sleep(0))

    def failure(self):
        assert self.future is self.bare.futures[-1]
        return self.future.exception()


class AwaitedConsumer(AwaitedClient):
    """A traced consumer of aiokafka, as `Consumer`."""

    def __init__(self, options, *records):
        super().__init__()
        self.bare = FakeAIOKafkaConsumer(records=records, group_id="g", enable_auto_commit=False)
        self.client = wrap_consumer(self.bare, options)
        self._records = aiter(self.client)

    def next(self):
        async def take():
            try:
                return (await anext(self._records)).offset
            except StopAsyncIteration:
                return None

        return self.run(take())

    def walk(self, body=_do_nothing):
        async def walk():
            for records in (await self.client.getmany()).values():
                for record in records:
                    body(record)

        self.run(walk())

    def loop(self, body):
        async def loop():
            async for record in self.client:
                body(record)

        self.run(loop())

    def raise_next(self, error):
        self.bare.error_next(error)

    interrupt_next = raise_next

    def position(self):
        return self.run(self.bare.position(PLACE))

    def commit_each(self, call, refusal):
        async def commit():
            raised = []
            async for _ in self.client:
                try:
                    await getattr(self.client, call)()
                except Exception as error:
                    raised.append(error)
            return raised

        async def refuse(*_):
            raise refusal

        setattr(self.bare, call, refuse)
        return self.run(commit())

    def drop_iterator(self):
        self._records = None


class AIOKafkaFakes:
    """The fakes of aiokafka."""

    library = AIOKafka()
    producer, consumer = AwaitedProducer, AwaitedConsumer
    record = staticmethod(fake)
    refused = (
        aiokafka_errors.KafkaTimeoutError("the buffer is full"),
        aiokafka_errors.ProducerClosed(),
        aiokafka_errors.NotLeaderForPartitionError(),
        aiokafka_errors.KafkaConnectionError("gone"),
    )
    settling = (
        aiokafka_errors.NotCoordinatorForGroupError(),
        aiokafka_errors.CommitFailedError("the group has gone on"),
        aiokafka_errors.RebalanceInProgressError(),
        aiokafka_errors.IllegalGenerationError(),
        aiokafka_errors.KafkaTimeoutError("no coordinator"),
    )
    commits = ("commit",)


class ConfluentProducer:
    """A traced producer of confluent-kafka, as `Producer`."""

    def __init__(self, options, *, refusal=None, failure=None):
        class Failing(FakeConfluentProducer):
            def produce(self, *args, **kwargs):
                super().produce(*args, **kwargs)
                if failure is not None:  # which another thread's poll() may report
                    self.error_next(failure.args[0])
                    self.poll(0)

        self.bare = Failing(auto_complete=False)
        if refusal is not None:
            self.bare.refuse_next(refusal)
        self.client = wrap_producer(self.bare, options)
        self._reports = []

    @property
    def values(self):
        return [record.value for record in self.bare.history]

    def send(self, value):
        self.client.produce("t", value, b"k", on_delivery=lambda error, _: self._reports.append(error))

    def fail(self, error):
        self.bare.error_next(error.args[0])
        self.client.poll(0)

    def acknowledge(self):
        self.bare.complete_next()
        self.client.poll(0)

    def failure(self):
        (error,) = self._reports
        return KafkaException(error)

    def close(self):
        self.client.close()


class ConfluentConsumer:
    """A traced consumer of confluent-kafka, as `Consumer`."""

    def __init__(self, options, *records):
        self.bare = FakeConfluentConsumer({"enable.auto.commit": False}, records=records)
        self.client = wrap_consumer(self.bare, options)
        self._position = 0

    def next(self):
        message = self.client.poll(0)
        if message is None:
            return None
        if message.error() is not None:
            raise KafkaException(message.error())
        return message.offset()

    def walk(self, body=_do_nothing):
        for message in self.client.consume(10, 0):
            body(message)

    def loop(self, body):
        while (message := self.client.poll(0)) is not None:
            body(message)

    def raise_next(self, error):
        self.bare.error_next(error.args[0])

    def interrupt_next(self, error):
        self.bare.poll = self.bare.consume = raising(error)

    def position(self):
        (found,) = self.bare.position([confluent_kafka.TopicPartition("t", 0)])
        return max(found.offset, 0)

    def commit_each(self, call, refusal):
        self.bare.commit = raising(refusal)
        raised = []
        while self.client.poll(0) is not None:
            raised.append(_raised(self.client.commit, asynchronous=call == "commit asynchronously"))
        return raised

    def drop_iterator(self):
        """Do nothing: it has none."""

    def close(self):
        self.client.close()


def _errors(*codes):
    return tuple(KafkaException(KafkaError(code)) for code in codes)


class ConfluentFakes:
    """The fakes of confluent-kafka."""

    library = ConfluentKafka()
    producer, consumer = ConfluentProducer, ConfluentConsumer
    record = staticmethod(lambda offset: FakeMessage(fake(offset)))
    refused = _errors(
        KafkaError._MSG_TIMED_OUT, KafkaError._STATE, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError._TRANSPORT
    )
    settling = _errors(
        KafkaError.NOT_COORDINATOR,
        KafkaError._NO_OFFSET,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError._TIMED_OUT,
    )
    commits = ("commit", "commit asynchronously")


FAKES = (KafkaPythonFakes, AIOKafkaFakes, ConfluentFakes)


def name_of(fakes):
    """Return the name of the library, for the id of a test."""
    return fakes.library.name


def is_same(raised, error):
    """Return whether what was raised is the very error; confluent-kafka's is one of librdkafka's that is returned."""
    return raised is error or (isinstance(raised, KafkaException) and raised.args[0] is error.args[0])
