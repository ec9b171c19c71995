"""The broker that the tests kill and restart."""

import pytest

from brokers import start_broker


def pytest_configure(config):
    # kafka-python leaves the sockets of connections that a broker has refused to the garbage collector.
    config.addinivalue_line("filterwarnings", "ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(scope="session")
def kafka():
    with start_broker("kafka") as started:
        yield started
