"""The peers, each prepared once, and the table of what was seen."""

import os

import pytest

from tests.interop.peers import PEERS
from tests.interop.running import Missing
from tests.interop.table import Table, write

DEMANDED = "OTELKAFKA_INTEROP_TOOLS"
TABLE = pytest.StashKey[Table]()


def pytest_addoption(parser):
    parser.addoption("--page", action="store_true", help="write the table of what was seen into docs/interop.md")


def pytest_configure(config):
    config.stash[TABLE] = Table()


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    table = config.stash[TABLE]
    terminalreporter.write_sep("=", "what was seen of the peers")
    terminalreporter.write_line(table.text())
    if config.getoption("--page"):
        _write(terminalreporter, table, exitstatus)


def _write(terminalreporter, table, exitstatus):
    if exitstatus == 0 and table.is_whole():
        write(table)
    else:
        terminalreporter.write_line(
            "docs/interop.md is left as it was: run all of it, with every tool, without a failure"
        )


@pytest.fixture(scope="session")
def table(request):
    return request.config.stash[TABLE]


@pytest.fixture(scope="session", params=PEERS, ids=[peer.name for peer in PEERS])
def peer(request):
    return request.param


@pytest.fixture(scope="session")
def drive(peer, table, tmp_path_factory):
    """What makes the peer do something; without it the tests are skipped, or fail where all tools are demanded."""
    try:
        driver = peer.prepare(tmp_path_factory.mktemp("peer"))
    except Missing as error:
        table.skipped(peer.name, str(error))
        (pytest.fail if os.environ.get(DEMANDED) else pytest.skip)(f"{peer.name}: {error}")
    table.prepared(peer.name, driver.versions)
    return driver
