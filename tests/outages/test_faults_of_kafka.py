"""Bare, wrapped and instrumented clients come through the faults of Kafka alike, and every span with them."""

import pytest

from benchmarks.soak.scenarios import CALM, OUTAGE, play


@pytest.fixture(scope="module")
def outcomes(kafka):
    """Go through all scenarios, those of the outage last."""
    return {**play(kafka, CALM), **play(kafka, OUTAGE)}


@pytest.mark.parametrize("scenario", [*CALM, *OUTAGE], ids=lambda scenario: scenario.name)
def test_traced_clients_do_as_the_bare_one(scenario, outcomes):
    """Same records, same errors; each span ended once with the right status; nothing in flight, lost or sent twice."""
    outcome = outcomes[scenario.name]
    assert outcome.differences == []
    for figures in outcome.figures.values():
        assert figures["lost"] == figures["sent twice by us"] == 0
    assert outcome.figures["wrapped"]["spans"] > 0


def test_faults_were_really_met(outcomes):
    """The scenarios are what they are called: without the fault nothing would have been tested."""
    wrapped = {name: outcome.figures["wrapped"] for name, outcome in outcomes.items()}
    assert wrapped["deliveries_expire"]["errors"] == {"KafkaTimeoutError": 50}
    assert wrapped["closed_in_an_outage"]["errors"] == {"NotAcknowledgedError": 53}
    assert wrapped["too_large"]["errors"] == {"MESSAGE_SIZE_TOO_LARGE": 1}
    assert wrapped["transaction_is_fenced"]["errors"]["INVALID_PRODUCER_EPOCH"] == 1
    assert wrapped["batch_is_split"]["acknowledged"] == 100
    for name in ("killed_while_iterating", "killed_while_polling"):
        assert wrapped[name]["handed over"] == 800
