"""A group of three that join and leave, transactions and a poisoned record: what telemetry records of them, as tables.

`python -m examples.group_of_three` prints the tables; with `--page FILE` it writes them as a page of the documentation.
"""

import argparse
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from kafka import KafkaConsumer, KafkaProducer
from opentelemetry.sdk.metrics.export import HistogramDataPoint
from opentelemetry.sdk.trace import ReadableSpan

from otelkafka import ConsumerOptions, ProducerOptions, wrap_consumer, wrap_producer
from otelkafka.testing import MetricRecorder, SpanRecorder
from testbroker import Broker, start_broker
from testbroker.wait import PATIENCE, wait_until, wait_until_known

TOPIC, GROUP, PARTITIONS, ORDERS = "orders", "warehouse", 6, 30
POISONED = b"poisoned"


class Member(threading.Thread):
    """One consumer of the group, in a thread of its own, which commits after each record.

    Args:
        broker: where the topic is.
        options: the options of its telemetry.
        number: the number of the member.
    """

    def __init__(self, broker: Broker, options: ConsumerOptions, number: int) -> None:
        super().__init__(daemon=True)
        bare = KafkaConsumer(
            group_id=GROUP,
            client_id=f"warehouse-{number}",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            heartbeat_interval_ms=300,  # by which a member learns that another one joins
            isolation_level="read_committed",
            **broker.client_options,
        )
        self.consumer = wrap_consumer(bare, options)
        self.handled: list[tuple[int, int]] = []
        self._leaves = threading.Event()
        wait_until_known(TOPIC, bare)
        self.consumer.subscribe([TOPIC])
        self.start()

    def run(self) -> None:
        """Handle records until the member leaves."""
        with self.consumer:
            while not self._leaves.is_set():
                for records in self.consumer.poll(timeout_ms=100).values():
                    for record in records:
                        self._take(record)

    def _take(self, record: Any) -> None:
        self.handled.append((record.partition, record.offset))
        try:
            with self.consumer.process(record):
                _ship(record.value)
                self.consumer.commit()
        except ValueError:
            pass  # its span says so; the others go on

    def leave(self) -> None:
        """Leave the group."""
        self._leaves.set()
        self.join(PATIENCE)


def run(broker: Broker, spans: SpanRecorder, metrics: MetricRecorder) -> list[Member]:
    """Let three members join, share the work, and one leave; return them."""
    providers = {"tracer_provider": spans.tracer_provider, "meter_provider": metrics.meter_provider}
    options = ConsumerOptions(**providers)
    members: list[Member] = []
    try:
        _share(broker, options, members, spans, providers)
    finally:
        for member in members:
            member.leave()
    return members


def _share(
    broker: Broker, options: ConsumerOptions, members: list[Member], spans: SpanRecorder, providers: dict[str, Any]
) -> None:
    """Add members, and let them handle what is sold until the last one has handled all."""
    members.append(Member(broker, options, 1))
    with wrap_producer(
        KafkaProducer(transactional_id="shop", client_id="shop", **broker.client_options), ProducerOptions(**providers)
    ) as producer:
        producer.init_transactions()
        _sell(producer, spans, first=0)
        _wait_until_handled(members, ORDERS)
        for number in (2, 3):
            members.append(Member(broker, options, number))
            _wait_until_shared(members)
        _sell(producer, spans, first=ORDERS)
        _wait_until_handled(members, 2 * ORDERS)
        members[0].leave()
        _wait_until_shared(members[1:])
        producer.begin_transaction()
        producer.send(TOPIC, POISONED, partition=0)
        producer.commit_transaction()
        _wait_until_handled(members, 2 * ORDERS + 1)


def _ship(order: bytes) -> None:
    if order == POISONED:
        msg = "no order in this record"
        raise ValueError(msg)
    time.sleep(0.002)


def _sell(producer: Any, spans: SpanRecorder, first: int) -> None:
    """Send orders in two transactions: one that is thought better of, one that is meant."""
    with spans.tracer_provider.get_tracer("shop").start_as_current_span("sell"):
        producer.begin_transaction()
        for number in range(5):
            producer.send(TOPIC, b"a mistake", partition=number % PARTITIONS)
        producer.abort_transaction()
        producer.begin_transaction()
        for number in range(first, first + ORDERS):
            producer.send(TOPIC, b"order %d" % number, partition=number % PARTITIONS)
        producer.commit_transaction()


def _wait_until_handled(members: list[Member], count: int) -> None:
    def handled() -> int:
        return len({place for member in members for place in member.handled})

    wait_until(lambda: handled() == count, f"{count} records that the members have handled", handled)


def _wait_until_shared(members: list[Member]) -> None:
    def assigned() -> list[int]:
        return [len(member.consumer.assignment()) for member in members]

    share = PARTITIONS // len(members)
    wait_until(lambda: set(assigned()) == {share}, f"{share} partitions at each of {len(members)} members", assigned)


def span_table(spans: list[ReadableSpan]) -> Iterator[str]:
    """Yield a Markdown table of spans by name: how many, how long, how they ended."""
    yield "| span | kind | count | median | failed | attributes, of one of them |"
    yield "|---|---|---|---|---|---|"
    groups: dict[tuple[str, str, str], list[ReadableSpan]] = defaultdict(list)
    for span in spans:
        failed = str((span.attributes or {}).get("error.type", ""))
        groups[span.name, span.kind.name, failed].append(span)
    for (name, kind, failed), group in sorted(groups.items()):
        took = median(((span.end_time or 0) - (span.start_time or 0)) / 1e6 for span in group)
        yield f"| `{name}` | {kind} | {len(group)} | {took:.1f} ms | {failed} | {_attributes(group[-1])} |"


def _attributes(span: ReadableSpan) -> str:
    interesting = ("partition", "offset", "lag", "busy", "fetch_duration", "voided", "rebalance", "without_context")
    shown = {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in (span.attributes or {}).items()
        if any(part in name for part in interesting)
    }
    return ", ".join(f"`{name}` {', '.join(map(str, v)) if isinstance(v, tuple) else v}" for name, v in shown.items())


def metric_table(metrics: MetricRecorder) -> Iterator[str]:
    """Yield a Markdown table of metrics, over all partitions and brokers."""
    yield "| metric | unit | by | value |"
    yield "|---|---|---|---|"
    for name, metric in sorted(metrics.metrics.items()):
        sums: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
        for point in metric.data.data_points:
            what = ", ".join(str(value) for key, value in sorted((point.attributes or {}).items()) if _is_shown(key))
            is_histogram = isinstance(point, HistogramDataPoint)
            sums[what][0] += point.count if is_histogram else point.value
            sums[what][1] += point.sum if is_histogram else 0
        for what, (count, total) in sorted(sums.items()):
            value = f"{count:.0f}, mean {total / count * 1000:.1f} ms" if total else f"{count:.4g}"
            yield f"| `{name}` | {metric.unit} | {what} | {value} |"


def _is_shown(name: str) -> bool:
    left_out = (
        "messaging.system",
        "messaging.destination",
        "server.",
        "messaging.consumer",
        "messaging.operation.type",
    )
    return not name.startswith(left_out)


PAGE = """# A group of three

Three members of a group join one after the other, and one of them leaves. A producer sends {orders} orders in
transactions, and aborts the transactions of ten others. The last record raises an exception. This page
lists what is recorded of it. `examples/group_of_three.py` writes the page, on {broker}.

## Spans

{spans}

- `abort transaction` has the number of sends that it voided. The aborted records were never processed.
- One `process orders` failed, that of the record that raises; the others did not.
- Each `commit orders` is a child of its process span.
- `assign` and `revoke` list the partitions of each member.

## Metrics

{metrics}
"""


def main() -> None:
    """Run it on a Kafka of its own, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, help="where to write the tables as a page of the documentation")
    page = parser.parse_args().page
    spans, metrics = SpanRecorder(), MetricRecorder()
    with start_broker("kafka") as broker:
        broker.create_topic(TOPIC, partitions=PARTITIONS)
        run(broker, spans, metrics)
        name = broker.description.partition(" on ")[0]
    tables = {"spans": "\n".join(span_table(spans.spans)), "metrics": "\n".join(metric_table(metrics))}
    text = PAGE.format(orders=2 * ORDERS, broker=name, **tables)
    if page is None:
        print(text)
    else:
        page.write_text(text)


if __name__ == "__main__":
    main()
