"""The names of attributes and metrics, and the schema they belong to.

Source: OpenTelemetry semantic conventions v1.44, messaging and Kafka pages (status: Development). The messaging names
stand here and are not imported: the package keeps them under a private path, where they move from release to release,
and its oldest supported release lacks some. A test holds them against the newest release.
"""

from typing import Final

from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.attributes.server_attributes import SERVER_ADDRESS, SERVER_PORT

__all__ = ["ERROR_TYPE", "SERVER_ADDRESS", "SERVER_PORT"]

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"

MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_DESTINATION_NAME: Final = "messaging.destination.name"
MESSAGING_DESTINATION_TEMPLATE: Final = "messaging.destination.template"
MESSAGING_DESTINATION_PARTITION_ID: Final = "messaging.destination.partition.id"
MESSAGING_CONSUMER_GROUP_NAME: Final = "messaging.consumer.group.name"
MESSAGING_CLIENT_ID: Final = "messaging.client.id"
MESSAGING_BATCH_MESSAGE_COUNT: Final = "messaging.batch.message_count"
MESSAGING_KAFKA_CLUSTER_ID: Final = "messaging.kafka.cluster.id"
MESSAGING_KAFKA_MESSAGE_KEY: Final = "messaging.kafka.message.key"
MESSAGING_KAFKA_MESSAGE_TOMBSTONE: Final = "messaging.kafka.message.tombstone"
MESSAGING_KAFKA_OFFSET: Final = "messaging.kafka.offset"

SYSTEM_KAFKA: Final = "kafka"
TYPE_SEND: Final = "send"
TYPE_RECEIVE: Final = "receive"
TYPE_PROCESS: Final = "process"
TYPE_SETTLE: Final = "settle"

METRIC_OPERATION_DURATION: Final = "messaging.client.operation.duration"
METRIC_PROCESS_DURATION: Final = "messaging.process.duration"
METRIC_SENT_MESSAGES: Final = "messaging.client.sent.messages"
METRIC_CONSUMED_MESSAGES: Final = "messaging.client.consumed.messages"

# What opentelemetry-instrumentation-kafka-python emits, for `messaging/dup`.
OLD_DESTINATION: Final = "messaging.destination"
OLD_PARTITION: Final = "messaging.kafka.partition"
OLD_URL: Final = "messaging.url"
STABILITY_OPT_IN: Final = "OTEL_SEMCONV_STABILITY_OPT_IN"
STABILITY_DUP: Final = "messaging/dup"

# Ours: what the conventions have no name for.
HEADER_PREFIX: Final = "messaging.header."
QUEUE_DURATION: Final = "otelkafka.queue.duration"
QUEUE_BUSY_DURATION: Final = "otelkafka.queue.busy_duration"
QUEUE_BUSY_COUNT: Final = "otelkafka.queue.busy_count"
QUEUE_FETCH_DURATION: Final = "otelkafka.queue.fetch_duration"
QUEUE_TIMESTAMP_TYPE: Final = "otelkafka.queue.timestamp_type"

QUEUE_CLOCK_SKEW: Final = "otelkafka.queue.clock_skew"
CONSUMER_LAG: Final = "otelkafka.consumer.lag"
PROCESS_DURATION: Final = "otelkafka.process.duration"
SEND_BLOCKED_DURATION: Final = "otelkafka.send.blocked_duration"
SEND_WITHOUT_CONTEXT: Final = "otelkafka.send.without_context"
PIPELINE_DURATION: Final = "otelkafka.pipeline.duration"
SAMPLED_REASON: Final = "otelkafka.sampled.reason"
ORIGINAL_SPAN_ID: Final = "otelkafka.sampled.original_span_id"
LINK_TYPE: Final = "otelkafka.link.type"
LINKS_DROPPED: Final = "otelkafka.links.dropped"

LINK_CREATION: Final = "creation"
LINK_BUSY: Final = "busy"
LINK_AMBIENT: Final = "ambient"

CALL: Final = "otelkafka.call"
CONSUMER_STATE: Final = "otelkafka.consumer.state"
DROP_REASON: Final = "otelkafka.drop.reason"
REBALANCE_PARTITIONS: Final = "otelkafka.rebalance.partitions"
NODE_ID: Final = "otelkafka.node.id"
TRANSACTION_VOIDED: Final = "otelkafka.transaction.voided"

EVENT_GONE: Final = {"revoke": "otelkafka.partition.revoked", "lose": "otelkafka.partition.lost"}

ORIGIN: Final = "otelkafka.origin"
"""The entry of the baggage that says when a record's pipeline began, in Unix milliseconds."""

REASON_WAIT: Final = "wait"
REASON_ERROR: Final = "error"

STATE_BUSY: Final = "busy"
STATE_FETCH: Final = "fetch"

DROPPED_IN_FLIGHT: Final = "in_flight"
DROPPED_HEADER: Final = "header"
DROPPED_LINKS: Final = "links"
DROPPED_ORIGIN: Final = "origin"
DROPPED_SAMPLE_LIMIT: Final = "sample_limit"
DROPPED_ATTRIBUTE_SETS: Final = "attribute_sets"

METRIC_QUEUE_DURATION: Final = QUEUE_DURATION
METRIC_PIPELINE_DURATION: Final = PIPELINE_DURATION
METRIC_SAMPLED: Final = "otelkafka.sampled.records"
METRIC_CONSUMER_LAG: Final = CONSUMER_LAG
METRIC_CONSUMER_TIME: Final = "otelkafka.consumer.time"
METRIC_PROCESS_AGE: Final = "otelkafka.process.age"
METRIC_REBALANCES: Final = "otelkafka.consumer.rebalances"
METRIC_AUTO_COMMITS: Final = "otelkafka.consumer.auto_commits"
METRIC_WITHOUT_CONTEXT: Final = "otelkafka.records.without_context"
METRIC_SPANS_IN_FLIGHT: Final = "otelkafka.spans.in_flight"
METRIC_DROPPED: Final = "otelkafka.telemetry.dropped"
METRIC_ERRORS: Final = "otelkafka.telemetry.errors"
