"""The client libraries, each as the scenarios use it."""

from benchmarks.soak.libraries.aio_confluent import AsyncConfluentKafka
from benchmarks.soak.libraries.aio_kafka import AIOKafka
from benchmarks.soak.libraries.confluent import ConfluentKafka
from benchmarks.soak.libraries.kafka_python import KafkaPython
from benchmarks.soak.libraries.library import Library

__all__ = ["LIBRARIES", "AIOKafka", "AsyncConfluentKafka", "ConfluentKafka", "KafkaPython", "Library"]

LIBRARIES: tuple[type[Library], ...] = (KafkaPython, AIOKafka, ConfluentKafka, AsyncConfluentKafka)
