"""The dashboard: it is what the code makes, and a real Prometheus answers all that it asks."""

import pytest

from examples.prometheus import dashboard

QUERIES = [
    pytest.param(query, id=f"{panel.title}: {legend}")
    for panels in dashboard.ROWS.values()
    for panel in panels
    for legend, query in panel.queries.items()
]
# What goes wrong in telemetry itself, in no run of the demo.
EMPTY = "otelkafka_telemetry_errors_total", "otelkafka_telemetry_dropped_total"


def test_the_file_is_what_the_code_makes():
    """`python -m examples.prometheus.dashboard` writes it again."""
    assert dashboard.FILE.read_text() == dashboard.dashboard()


@pytest.mark.parametrize("query", QUERIES)
def test_prometheus_answers(watched, query):
    """Each query has data of the burst, but for those of failures that the demo does not have."""
    asked = query.replace("$__rate_interval", "5s").replace("$group", ".*").replace("[15m]", "[15s]")
    found = watched.values(asked)
    assert found or any(name in query for name in EMPTY), query
