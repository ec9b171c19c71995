"""The broker that the tests kill and restart."""

import os

import pytest

from testbroker import start_broker
from testbroker.jars import KafkaNotInstallable
from testbroker.start import KIND_VARIABLE


def pytest_configure(config):
    # kafka-python leaves the sockets of connections that a broker has refused to the garbage collector.
    config.addinivalue_line("filterwarnings", "ignore:unclosed <socket:ResourceWarning")
    # confluent-kafka warns when a producer is closed that was fenced.
    config.addinivalue_line("filterwarnings", "ignore:Producer abort_transaction failed:RuntimeWarning")


@pytest.fixture(scope="session")
def kafka():
    try:
        started = start_broker("kafka")
    except KafkaNotInstallable as error:
        if os.environ.get(KIND_VARIABLE) == "kafka":  # as CI demands
            raise
        pytest.skip(f"only Apache Kafka itself can be killed: {error}")
    with started:
        yield started
