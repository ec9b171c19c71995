"""What differs between the sides after a scenario, and what was counted."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.soak.libraries.library import Place
from benchmarks.soak.sides import ACKNOWLEDGED, Side, numbers_in

LONGEST = 600  # of what is shown of a value


def differences(sides: Sequence[Side]) -> list[str]:
    """Return in words what traced sides have otherwise than the bare one, and what is wrong with their telemetry."""
    bare, *traced = sides
    return [f"{side.face}: {what}" for side in traced for what in (*_unlike(side, bare), *_unexplained(side))]


def _unlike(side: Side, bare: Side) -> Iterator[str]:
    compared = {
        "outcomes of sends": (_outcomes(side), _outcomes(bare)),
        "outcomes of other calls": (_calls(side), _calls(bare)),
        "records handed over": (sorted(set(side.numbers)), sorted(set(bare.numbers))),
    }
    for what, (ours, theirs) in compared.items():
        if ours != theirs:
            yield f"{what}: {_short(ours)}, bare: {_short(theirs)}"


def _outcomes(side: Side) -> list[str]:
    """Return what became of each send; errors by what those are called that come one or the other, as it happens."""
    return [side.library.alike.get(outcome, outcome) for outcome in side.outcomes]


def _calls(side: Side) -> list[tuple[str, str | None]]:
    """Return which error each other call raised, likewise."""
    alike = side.library.alike_calls
    return [(name, error and alike.get(error, error)) for name, error in side.raised]


def _unexplained(side: Side) -> Iterator[str]:
    expected = {
        "calls of send()": (side.calls, side.sent),
        "errors on send spans": (_errors(side, "send"), Counter(side.outcomes)),
        "acknowledged positions on send spans": (_places(side, "send"), Counter(side.places)),
        "positions on process spans": (_places(side, "process"), Counter(side.got)),
        "series of in flight": ([value for _, value in side.metrics.points("otelkafka.spans.in_flight") if value], []),
    }
    for what, (found, wanted) in expected.items():
        if found != wanted:
            yield f"{what}: {_short(found)}, not {_short(wanted)}"
    for what in ("unended", "ended twice", "failures of telemetry"):
        if side.watch.counted()[what]:
            yield f"{what}: {side.watch.counted()[what]} {dict(side.watch.logged)}"


def _errors(side: Side, operation: str) -> Counter[str]:
    """Return how often spans of the operation have each error, which their status has to agree with."""
    spans = [span for span in side.spans if span.name == f"{operation} {side.topic}"]
    return Counter(
        str((span.attributes or {}).get("error.type", "no error.type")) if not span.status.is_ok else ACKNOWLEDGED
        for span in spans
    )


def _places(side: Side, operation: str) -> Counter[Place]:
    """Return partition and offset of the spans of the operation that did not fail."""
    shown = [
        span.attributes or {} for span in side.spans if span.name == f"{operation} {side.topic}" and span.status.is_ok
    ]
    return Counter(
        Place(
            int(str(each.get("messaging.destination.partition.id", -1))),
            int(str(each.get("messaging.kafka.offset", -1))),
        )
        for each in shown
    )


def counted(side: Side, *, lossy: bool = False) -> dict[str, Any]:
    """Return the figures of a side whose clients are closed.

    Args:
        side: which.
        lossy: whether an acknowledgement promises nothing, as with `acks=0`.
    """
    numbers = numbers_in(side, isolation_level="read_committed") if side.sent else Counter[int]()
    acknowledged = [at for at, outcome in enumerate(side.outcomes) if outcome == ACKNOWLEDGED]
    return {
        "sent": side.sent,
        "acknowledged": len(acknowledged),
        "handed over": len(side.got),
        "errors": dict(Counter(outcome for outcome in side.outcomes if outcome != ACKNOWLEDGED)),
        "lost": 0 if lossy else sum(number not in numbers for number in acknowledged if number not in side.voided),
        "written twice": sum(times - 1 for times in numbers.values() if times > 1),
        "sent twice by us": side.calls - side.sent,
        **side.watch.counted(),
    }


def _short(value: object) -> str:
    text = repr(dict(value) if isinstance(value, Counter) else value)
    return text if len(text) < LONGEST else f"{text[:LONGEST]}..."
