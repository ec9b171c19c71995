"""A runtime context as that of ddtrace's bridge, and a program that runs every operation of a client under it."""

import contextvars
import sys
from contextlib import suppress

import kafka
from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.context.context import _RuntimeContext
from opentelemetry.sdk.trace import Span


class Bridge(_RuntimeContext):
    """Keeps the current span alone, and ignores `detach()`; a span that has ended gives way to its parent here."""

    def __init__(self):
        self._active = contextvars.ContextVar("active", default=None)
        self._spans = {}

    def attach(self, context):
        span = trace.get_current_span(context)
        if span is not trace.INVALID_SPAN:
            self._spans[span.get_span_context().span_id] = span
            self._active.set(span)
        return object()

    def get_current(self):
        span = self._active.get()
        while isinstance(span, Span) and not span.is_recording():
            parent = span.parent
            span = None if parent is None or parent.is_remote else self._spans.get(parent.span_id)
        return Context() if span is None else trace.set_span_in_context(span, Context())

    def detach(self, token):
        pass


def main(sampled, parent, around):
    """Run each operation, and exit with what was current and should not have been, if there was anything."""
    context._RUNTIME_CONTEXT = Bridge()

    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased  # noqa: PLC0415 (after the runtime)

    from otelkafka import ConsumerOptions, ProducerOptions, wrap_handler  # noqa: PLC0415
    from otelkafka.testing import FakeConsumer, FakeProducer, SpanRecorder, fake_record  # noqa: PLC0415
    from tests.support.face import process_batch_of, process_of, wrap_consumer, wrap_producer  # noqa: PLC0415

    tracer_provider = SpanRecorder(None if sampled == "sampled" else ParentBased(ALWAYS_OFF)).tracer_provider
    traceparent = f"00-{'a' * 32}-{'b' * 16}-{'01' if sampled == 'sampled' else '00'}".encode()
    headers = [("traceparent", traceparent)] if parent == "remote" else []
    tracer = SpanRecorder().tracer_provider.get_tracer("app")
    wrong = []

    def consumer_of(**options):
        records = [fake_record(offset=offset, headers=headers) for offset in range(3)]
        return wrap_consumer(FakeConsumer(records=records), ConsumerOptions(tracer_provider=tracer_provider, **options))

    def producer_of():
        return wrap_producer(FakeProducer(auto_complete=False), ProducerOptions(tracer_provider=tracer_provider))

    def current():
        return trace.get_current_span().get_span_context()

    def expect(when, wanted):
        if current() != wanted:
            wrong.append(f"{operation.__name__}, {when}: {current()}")

    def expect_new(outside):
        if not current().is_valid or current().span_id == outside.span_id:
            wrong.append(f"{operation.__name__}, inside: {current()}")

    def send(outside):
        producer = producer_of()
        producer.send("t", b"v")
        expect("in flight", outside)
        producer.flush()

    def refused_send(_):
        with suppress(Exception):
            producer_of().send("t", "no bytes")

    def iteration(outside):
        for _ in consumer_of():
            expect_new(outside)

    def iteration_that_is_left(outside):
        for _ in consumer_of():
            expect_new(outside)
            break

    def next_and_close(outside):
        consumer = consumer_of()
        next(consumer)
        expect_new(outside)
        consumer.close()

    def poll(outside):
        (records,) = consumer_of().poll().values()
        expect("before", outside)
        for _ in records:
            expect_new(outside)

    def poll_after_a_record(outside):
        consumer = consumer_of()
        next(consumer)
        expect_new(outside)
        consumer.poll()

    def process(outside):
        consumer = consumer_of(process="manual")
        for record in consumer:
            expect("between", outside)
            with process_of(consumer, record) as span:
                expect("inside", span.get_span_context())

    def process_that_raises(outside):
        consumer = consumer_of()
        with suppress(ValueError):
            for record in consumer:
                with process_of(consumer, record):
                    expect_new(outside)
                    raise ValueError

    def process_batch(_):
        consumer = consumer_of()
        with process_batch_of(consumer, consumer.poll()) as span:
            expect("inside", span.get_span_context())

    def handler(outside):
        handle = wrap_handler(lambda _: expect_new(outside), ConsumerOptions(tracer_provider=tracer_provider))
        handle(fake_record(headers=headers))

    def hooks(outside):
        from otelkafka.instrumentor import KafkaInstrumentor  # noqa: PLC0415

        kafka.KafkaConsumer, kafka.KafkaProducer = (
            type("Library", (fake,), {}) for fake in (FakeConsumer, FakeProducer)
        )
        KafkaInstrumentor().instrument(
            tracer_provider=tracer_provider,
            consume_hook=lambda *_: expect_new(outside),
            produce_hook=lambda *_: expect_new(outside),
        )
        kafka.KafkaProducer().send("t", b"v")
        expect("after send()", outside)
        for _ in kafka.KafkaConsumer(records=[fake_record(offset=offset, headers=headers) for offset in range(3)]):
            expect_new(outside)

    def send_of_each_record(outside):
        producer = producer_of()
        for _ in consumer_of():
            expect_new(outside)
            before = current()
            producer.send("t", b"v")
            expect("after send()", before)
            producer.flush()
            expect("after the answer", before)

    def run():
        if around == "alone":
            operation(current())
        else:
            with tracer.start_as_current_span("outside") as span:
                operation(span.get_span_context())
                expect("afterwards", span.get_span_context())
        expect("in the end", trace.INVALID_SPAN_CONTEXT)

    for operation in (  # noqa: B007 (what the functions above report)
        send,
        refused_send,
        iteration,
        iteration_that_is_left,
        next_and_close,
        poll,
        poll_after_a_record,
        process,
        process_that_raises,
        process_batch,
        handler,
        send_of_each_record,
        hooks,
    ):
        contextvars.Context().run(run)
    sys.exit("\n".join(wrong) or None)


if __name__ == "__main__":
    main(*sys.argv[1:])
