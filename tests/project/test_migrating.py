"""The page on migrating shows what a service looks like under either instrumentation, on a real Kafka."""

from importlib.metadata import version

import pytest

from examples import migrating

pytestmark = [pytest.mark.real_kafka, pytest.mark.once]

THEIRS = "opentelemetry-instrumentation-kafka-python"


def columns(table):
    return list(
        zip(*([cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()), strict=True)
    )


def test_page_shows_what_a_run_shows(broker):
    """Theirs in the version that the page names; `python -m examples.migrating --write` writes it again."""
    names, theirs, ours = columns(migrating.table_of_the_page())
    seen_names, seen_theirs, seen_ours = columns(migrating.table(broker))
    assert (names, ours) == (seen_names, seen_ours)
    if theirs[0] == f"{THEIRS} {version(THEIRS)}":  # what a later one does is not for this test to forbid
        assert theirs == seen_theirs
