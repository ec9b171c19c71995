"""Bare, wrapped and instrumented clients come through the faults of Kafka alike, and every span with them."""

from collections import Counter

import pytest

from benchmarks.soak.libraries import LIBRARIES, AIOKafka, KafkaPython
from benchmarks.soak.scenarios import CALM, OUTAGE, applying, play

EXPIRED = {
    "kafka-python": {"KafkaTimeoutError"},
    "aiokafka": set(AIOKafka.alike),
    "confluent-kafka": {"_MSG_TIMED_OUT"},
    "confluent-kafka, async": {"_MSG_TIMED_OUT"},
}
"""The errors of deliveries that expire."""
CLOSED = {
    "kafka-python": {"NotAcknowledgedError": 53},
    "aiokafka": {"NotAcknowledgedError": 50, "ProducerClosed": 3},
    "confluent-kafka": {"purged": 50, "RuntimeError": 3},
    "confluent-kafka, async": {"purged": 50, "RuntimeError": 3},
}
"""The errors of what waits for a producer that is closed, and of what is sent after that."""
FENCED = {
    "kafka-python": "INVALID_PRODUCER_EPOCH",
    "aiokafka": "ProducerFenced",
    "confluent-kafka": "INVALID_PRODUCER_EPOCH",
}
TOO_LARGE = {
    "kafka-python": "MESSAGE_SIZE_TOO_LARGE",
    "aiokafka": "MESSAGE_SIZE_TOO_LARGE",
    "confluent-kafka": "MSG_SIZE_TOO_LARGE",
    "confluent-kafka, async": "MSG_SIZE_TOO_LARGE",
}


@pytest.fixture(scope="module")
def outcomes(kafka):
    """Go through the scenarios of each library, when first asked for it."""
    found = {}

    def of(library):
        if library not in found:
            parts = (CALM, OUTAGE)  # those of the outage last
            found[library] = {name: each for part in parts for name, each in play(kafka, library(), part).items()}
        return found[library]

    return of


SCENARIOS = [(library, each) for library in LIBRARIES for each in applying(library, (*CALM, *OUTAGE))]


@pytest.mark.parametrize(
    ("library", "scenario"), SCENARIOS, ids=[f"{library.name}-{each.name}" for library, each in SCENARIOS]
)
def test_traced_clients_do_as_the_bare_one(library, scenario, outcomes):
    """Same records, same errors; each span ended once with the right status; nothing in flight, lost or sent twice."""
    outcome = outcomes(library)[scenario.name]
    assert outcome.differences == []
    for figures in outcome.figures.values():
        assert figures["lost"] == figures["sent twice by us"] == 0
    assert outcome.figures["wrapped"]["spans"] > 0


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_faults_were_really_met(library, outcomes):
    """The scenarios are what they are called: without the fault nothing would have been tested."""
    wrapped = {name: outcome.figures["wrapped"] for name, outcome in outcomes(library).items()}
    errors = {name: figures["errors"] for name, figures in wrapped.items()}
    name = library.name
    assert sum(errors["deliveries_expire"].values()) == 50
    assert errors["deliveries_expire"].keys() <= EXPIRED[name]
    closed = Counter()
    for error, count in errors["closed_in_an_outage"].items():
        closed[library.alike.get(error, error)] += count
    assert closed == CLOSED[name]
    assert errors["too_large"] == {TOO_LARGE[name]: 1}
    if name in FENCED:
        assert errors["transaction_is_fenced"][FENCED[name]] >= 1
    for each in ("killed_while_iterating", "killed_while_polling"):
        assert wrapped[each]["handed over"] == 800


def test_faults_of_a_library_alone_were_really_met(outcomes):
    """A batch is split by kafka-python alone; what is awaited can be cancelled with aiokafka alone."""
    assert outcomes(KafkaPython)["batch_is_split"].figures["wrapped"]["acknowledged"] == 100
    cancelled = outcomes(AIOKafka)["waiting_is_given_up"].figures["wrapped"]["errors"]
    assert cancelled == {"CancelledError": 5}
