"""Log lines with the ids of the trace that they belong to."""

import logging
import sys

from opentelemetry import trace

from otelkafka import wrap_consumer, wrap_producer
from otelkafka.testing import FakeCluster, FakeConsumer, FakeProducer, SpanRecorder

FORMAT = "%(levelname)s trace=%(trace_id)s span=%(span_id)s %(message)s"


class TraceIds(logging.Filter):
    """Adds the ids of the current span to each log record of a handler."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add them; zeros stand for no span."""
        context = trace.get_current_span().get_span_context()
        record.trace_id = trace.format_trace_id(context.trace_id)
        record.span_id = trace.format_span_id(context.span_id)
        return True


def main() -> None:
    """Process two records, without a broker and with ids that are counted: the output is the same each time."""
    trace.set_tracer_provider(SpanRecorder(deterministic=True).tracer_provider)
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(TraceIds())
    logging.basicConfig(level=logging.INFO, format=FORMAT, handlers=[handler])
    log = logging.getLogger("answers")

    cluster = FakeCluster()
    producer = wrap_producer(FakeProducer(cluster))
    for question in ("Why?", "How?"):
        producer.send("questions", question.encode())
    for record in wrap_consumer(FakeConsumer("questions", cluster=cluster)):
        log.info("answered %s", record.value.decode())
    log.info("outside of the loop")


if __name__ == "__main__":
    main()
