"""Every fault of Kafka that is gone through, by all faces at the same time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from benchmarks.soak import compare, consuming, sending
from benchmarks.soak.libraries.library import Library
from benchmarks.soak.sides import FACES, Side
from testbroker import Broker, wire


@dataclass(frozen=True, eq=False)
class Scenario:
    """One fault.

    Attributes:
        title: for the documentation.
        run: what each side does.
        partitions: the partitions of the topics.
        config: the configuration of the topics.
        lossy: whether Kafka may lose what it has acknowledged.
        not_with: why it does not apply to a library, by the library's name.
    """

    title: str
    run: Callable[[Side], Iterator[None] | None]
    partitions: int = 1
    config: Mapping[str, str] = field(default_factory=dict)
    lossy: bool = False
    not_with: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it is called in tests."""
        return self.run.__name__


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a scenario.

    Attributes:
        differences: between traced sides and the bare one, and what is wrong with the telemetry, in words.
        figures: the figures, by face.
    """

    differences: list[str]
    figures: dict[str, dict[str, Any]]


_SMALL = {"max.message.bytes": str(sending.LARGEST)}

OUTAGE = (
    Scenario("broker killed in the middle of sends", sending.killed_while_sending),
    Scenario("deliveries that expire", sending.deliveries_expire),
    Scenario("the same with `acks=0`", sending.without_acks, lossy=True),
    Scenario(
        "the same with an idempotent producer, closed meanwhile",
        sending.idempotent_deliveries_expire,
        not_with={"aiokafka": "an idempotent producer sends again until the broker answers: nothing expires"},
    ),
    Scenario("producer closed with records in flight, used after that", sending.closed_in_an_outage),
    Scenario("`flush()` that times out", sending.flushed_in_an_outage),
    Scenario("producer dropped with records in flight", sending.dropped_in_an_outage),
    Scenario("waiting for an acknowledgement is given up", sending.waiting_is_given_up),
    Scenario("metadata that never comes", sending.metadata_never_comes),
    Scenario("broker killed inside of a transaction", sending.transaction_through_an_outage),
    Scenario("broker killed in the middle of an iteration", consuming.killed_while_iterating),
    Scenario("broker killed in the middle of polls", consuming.killed_while_polling),
    Scenario("waiting for a record is given up", consuming.reading_is_given_up),
    Scenario("a group's coordinator goes and comes back", consuming.coordinator_goes),
)
"""Those that one outage makes: the broker is killed by SIGKILL, and restarted on the same port with the same data."""

CALM = (
    Scenario("record too large for the topic", sending.too_large, config=_SMALL),
    Scenario("the same with an idempotent producer", sending.too_large_and_idempotent, config=_SMALL),
    Scenario(
        "batch that is split",
        sending.batch_is_split,
        config=_SMALL,
        not_with=dict.fromkeys(
            ("aiokafka", "confluent-kafka", "confluent-kafka, async"), "no batch is split: it fails as a whole"
        ),
    ),
    Scenario(
        "fenced transaction",
        sending.transaction_is_fenced,
        not_with={"confluent-kafka, async": "after a fatal error its producer reports nothing more, traced or not"},
    ),
    Scenario("rebalance while a record is processed", consuming.rebalance_while_a_record_is_processed, partitions=2),
    Scenario(
        "`consumer_timeout_ms`",
        consuming.iteration_times_out,
        not_with={
            "aiokafka": "its iteration ends only when the consumer is stopped",
            **dict.fromkeys(
                ("confluent-kafka", "confluent-kafka, async"),
                "its consumer cannot be iterated: `poll()` has a timeout each time",
            ),
        },
    ),
    Scenario("closed consumer", consuming.closed),
)
"""Those of a broker that is there all the while."""


def applying(library: Library | type[Library], scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Return the scenarios that apply to a library."""
    return [each for each in scenarios if library.name not in each.not_with]


def play(broker: Broker, library: Library, scenarios: Sequence[Scenario]) -> dict[str, Outcome]:
    """Go through the scenarios that apply to a library, and return the outcomes by name.

    All of them and all sides at the same time.
    """
    with library:
        return _play(broker, library, applying(library, scenarios))


def _play(broker: Broker, library: Library, scenarios: Sequence[Scenario]) -> dict[str, Outcome]:
    sides = {each: [Side(face, library, broker, each.partitions, each.config) for face in FACES] for each in scenarios}
    whole = [(each.run, side) for each, own in sides.items() for side in own]
    with ThreadPoolExecutor(len(whole)) as pool:
        runs = [run for run in pool.map(lambda job: job[0](job[1]), whole) if run is not None]
        if runs:
            _through_an_outage(broker, pool, runs, [side for _, side in whole])
        list(pool.map(lambda job: job[1].close(), whole))
    return {each.name: _outcome(each, own) for each, own in sides.items()}


def _through_an_outage(
    broker: Broker, pool: ThreadPoolExecutor, runs: Sequence[Iterator[None]], sides: Sequence[Side]
) -> None:
    def go_on() -> None:
        for each in [pool.submit(next, run, None) for run in runs]:
            each.result()

    go_on()
    broker.kill()
    go_on()
    broker.restart()
    for side in sides:
        wire.wait_for_leaders(broker.bootstrap_servers, side.topic, side.partitions)
    go_on()


def _outcome(scenario: Scenario, sides: Sequence[Side]) -> Outcome:
    figures = {side.face: compare.counted(side, lossy=scenario.lossy) for side in sides}
    return Outcome(compare.differences(sides), figures)
