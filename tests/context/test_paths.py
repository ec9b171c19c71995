"""Whatever a service does, what can be seen of it is the same by the fast path and by the general path.

Scenarios and their steps are in `tests/support/scenario.py`. More of them than the suite runs:

    OTELKAFKA_SCENARIOS=5000 pytest tests/context/test_paths.py
"""

import logging
import os

import pytest
from hypothesis import HealthCheck, given, settings

from tests.support.scenario import GENERAL, SCENARIOS, seen_of

pytestmark = pytest.mark.per_telemetry

COUNT = int(os.environ.get("OTELKAFKA_SCENARIOS", "150"))


@pytest.fixture(autouse=True)
def _quiet():
    """Samplers that fail, and headers that are broken, are logged."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("general", GENERAL.values(), ids=GENERAL)
@settings(max_examples=COUNT, deadline=None, suppress_health_check=list(HealthCheck))
@given(scenario=SCENARIOS)
def test_scenario_is_the_same_by_either_path(general, scenario):
    """Results, errors, headers, contexts, spans and metrics, to their types."""
    seen, expected = seen_of(scenario), seen_of(scenario, general)
    assert repr(seen) == repr(expected)
