"""The records and offsets of the fakes: kafka-python's where it is installed, else aiokafka's."""

try:
    from kafka.consumer.fetcher import ConsumerRecord
    from kafka.structs import OffsetAndMetadata, OffsetAndTimestamp, TopicPartition
except ImportError:  # each of the two libraries can be had without the other
    from aiokafka.structs import ConsumerRecord, OffsetAndMetadata, OffsetAndTimestamp, TopicPartition

RECORD_FIELDS = tuple(getattr(ConsumerRecord, "_fields", None) or ConsumerRecord.__dataclass_fields__)

__all__ = ["RECORD_FIELDS", "ConsumerRecord", "OffsetAndMetadata", "OffsetAndTimestamp", "TopicPartition"]
