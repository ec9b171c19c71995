"""The tables of docs/performance.md."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median, quantiles

from benchmarks.end_to_end import ACTIONS as ON_KAFKA
from benchmarks.faces import ACTIONS
from benchmarks.modes import MODES, OF_AIOKAFKA
from benchmarks.own_cost import ALIKE, WITH_METRICS
from benchmarks.results import Results
from benchmarks.targets import INSTRUMENTED, WRAPPED, Target, targets

HANDLERS = (0.1, 1, 10)
"""The time that a handler takes for a record, in milliseconds."""
NAMES = {"no-sdk": "no SDK", "never": "never sampled", "ratio": "1 in 10,000", "always": "all sampled"}
RATES = (10_000, 1_000_000, 9_000_000)
SAMPLED = (1, 100, 1_000, 10_000, 100_000)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown; nothing where there are no rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines]) if lines else ""


def spread(figures: Sequence[float], digits: int = 2) -> str:
    """Return a median, with half of the distance between the quartiles."""
    if not figures:
        return ""
    if len(figures) == 1:
        return f"{figures[0]:.{digits}f}"
    low, _, high = quantiles(figures, n=4, method="inclusive")
    return f"{median(figures):.{digits}f} ±{(high - low) / 2:.{digits}f}"


def targets_met(found: Results, before: Results) -> str:
    """Return a row for each target: what was, what is, and whether it is met."""
    head = ("target", "wanted", "before", "wrapped", "instrumented", "met")
    return table(head, (row for target in targets() if (row := _target(target, found, before))))


def _target(target: Target, found: Results, before: Results) -> Sequence[str] | None:
    figures = {face: _figure(target, found, face) for face in target.faces}
    known = {face: figure for face, figure in figures.items() if figure is not None}
    if not known:
        return None
    shown = ["" if (figure := figures.get(face)) is None else f"{figure:.2f}" for face in (WRAPPED, INSTRUMENTED)]
    old = _figure(target, before, WRAPPED)
    missed = [face for face, figure in known.items() if not target.is_met(figure)]
    met = "yes" if not missed else "**no**" if len(missed) == len(known) else f"**no**, {missed[0]}"
    return target.what, target.wanted, "" if old is None else f"{old:.2f}", *shown, met


def _figure(target: Target, found: Results, face: str) -> float | None:
    return target.figure(found, face)


def in_short(found: Results) -> str:
    """Return what a record costs in the three cases that a reader asks for, and its part of a handler's time."""
    if not found.releases():
        return ""
    release = found.releases()[0]
    cases = (
        ("not sampled", "ratio", WRAPPED),
        ("not sampled, with metrics", "ratio", WRAPPED + WITH_METRICS),
        ("all sampled", "always", WRAPPED),
        ("all sampled, with metrics", "always", WRAPPED + WITH_METRICS),
    )
    rows = []
    for name, mode, face in cases:
        costs = [found.cost(release, f"{action} {mode}", face) for action in ("send", "iterate")]
        if not all(costs):
            return ""
        sent, consumed = map(median, costs)
        parts = [f"{consumed / handler / 10:.2g} %" for handler in HANDLERS]
        rows.append((name, f"{sent:.1f}", f"{consumed:.1f}", *parts))
    head = ("", "a send, us", "a record consumed, us", *(f"of a handler of {each:g} ms" for each in HANDLERS))
    return table(head, rows)


def beside_contrib(found: Results) -> str:
    """Return the cost of otelkafka and of the other instrumentation, whichever is lower."""
    head = ("action", "mode", "otelkafka, us", "contrib, us", "otelkafka to contrib")

    def row(action: str, mode: str) -> Sequence[str] | None:
        release, case = found.releases()[0], f"{action} {mode}"
        own, other = found.cost(release, case, WRAPPED), found.cost(release, case, "contrib")
        if not own or not other:
            return None
        return action, NAMES[mode], f"{median(own):.1f}", f"{median(other):.1f}", f"{median(own) / median(other):.2f}"

    if not found.releases():
        return ""
    return table(head, (each for action in ALIKE for mode in MODES if (each := row(action, mode))))


def own_cost(found: Results) -> str:
    """Return the microseconds that each face adds to the bare client, and the ratios to the minimum."""
    head = (
        "action",
        "mode",
        "kafka-python",
        "minimum",
        "contrib",
        "wrapped",
        "instrumented",
        "wrapped to minimum",
        "instrumented to it",
    )

    def row(release: str, case: str) -> Iterator[str]:
        for face in ("minimum", "contrib", WRAPPED, INSTRUMENTED):
            cost = found.cost(release, case, face)
            yield f"{median(cost):.2f}" if cost else ""
        for face in (WRAPPED, INSTRUMENTED):
            yield spread(found.ratio(release, case, face))

    return table(head, _cases(found, row))


def alike(found: Results) -> str:
    """Return the microseconds of a sampled record, beside those of a span by hand that records the same."""
    head = (
        "action",
        "kafka-python",
        "minimum",
        "by hand, with the same attributes",
        "wrapped",
        "wrapped to that by hand",
    )

    def row(release: str, case: str) -> Iterator[str]:
        by_hand = found.cost(release, case, "alike")
        for cost in (found.cost(release, case, "minimum"), by_hand, found.cost(release, case, WRAPPED)):
            yield f"{median(cost):.2f}" if cost else ""
        yield spread([own / other for own, other in zip(found.cost(release, case, WRAPPED), by_hand, strict=False)])

    cases = [(action, release, f"{action} always") for action in ALIKE for release in found.releases()]
    known = [each for each in cases if "alike" in found.found["own"][each[1]].get(each[2], ())]
    return table(head, ((action, release, *row(release, case)) for action, release, case in known))


def metrics(found: Results) -> str:
    """Return the microseconds that metrics add, beside those of their histograms by themselves."""
    head = ("action", "mode", "kafka-python", "wrapped", "instrumented", "histograms alone")

    def row(release: str, case: str) -> Iterator[str]:
        for face in (WRAPPED, INSTRUMENTED):
            on, off = found.cost(release, case, face + WITH_METRICS), found.cost(release, case, face)
            yield spread([more - less for more, less in zip(on, off, strict=True)])
        yield spread(found.cost(release, case, f"{WRAPPED} histograms"))

    return table(head, _cases(found, row))


def _cases(found: Results, row: Callable[[str, str], Iterator[str]]) -> list[Sequence[str]]:
    return [
        (action, mode, release, *row(release, case))
        for action in ACTIONS
        for mode in MODES
        for release in found.releases()
        if (case := f"{action} {mode}") in found.found["own"][release]
    ]


def throughput(found: Results) -> str:
    """Return the throughput that each face keeps on a real Kafka."""
    rows = (
        (
            action,
            mode,
            f"{median(rates['bare']):.0f}",
            *(spread(found.kept(f"{action} {mode}", face)) for face in faces),
        )
        for action in ON_KAFKA
        for mode in MODES
        for faces in [("minimum", "wrapped", "contrib")]
        if (rates := found.found.get("end-to-end", {}).get(f"{action} {mode}"))
    )
    return table(("action", "mode", "bare, records/s", "minimum keeps", "wrapped keeps", "contrib keeps"), rows)


def awaited(found: Results) -> str:
    """Return the microseconds that each face of aiokafka's clients adds, and what it keeps of their throughput."""
    own_cost = ("minimum", "contrib", WRAPPED, INSTRUMENTED, "wrapped to minimum")
    head = ("action", "mode", *own_cost, "bare, records/s", "minimum keeps", "wrapped keeps", "contrib keeps")

    def row(action: str, mode: str) -> Iterator[str]:
        taken = found.found["aiokafka"][f"{action} {mode}"]
        rates = found.found["aiokafka on Kafka"][f"{action} {mode}"]
        own = {face: median(taken[face]) - median(taken["bare"]) for face in taken}
        yield from (action, mode)
        yield from (f"{own[face] / 1000:.2f}" for face in ("minimum", "contrib", WRAPPED, INSTRUMENTED))
        yield f"{own[WRAPPED] / own['minimum']:.2f}"
        yield f"{median(rates['bare']):.0f}"
        for face in ("minimum", WRAPPED, "contrib"):
            yield spread([rate / whole for rate, whole in zip(rates[face], rates["bare"], strict=True)])

    cases = [(action, mode) for action in OF_AIOKAFKA for mode in MODES if "aiokafka" in found.found]
    return table(head, (tuple(row(*each)) for each in cases))


def sampling(found: Results) -> str:
    """Return cores and bytes of sending and consuming at several rates, sampled one in so many."""
    if not found.releases():
        return ""
    release = found.releases()[0]
    cases = [(action, mode) for action in ("send", "iterate") for mode in ("ratio", "always")]
    if not all(f"{action} {mode}" in found.found["own"][release] for action, mode in cases):
        return ""
    faces = (WRAPPED, WRAPPED + WITH_METRICS)
    cost = {
        (face, mode): sum(median(found.cost(release, f"{action} {mode}", face)) for action in ("send", "iterate"))
        for face in faces
        for mode in ("ratio", "always")
    }
    size = sum(found.found["span-bytes"].values())
    rows = (
        (
            f"{rate:,}",
            f"1 in {one_in:,}" if one_in > 1 else "all",
            *(_cores(rate, one_in, cost[face, "ratio"], cost[face, "always"]) for face in faces),
            *_spans(rate, one_in, size),
        )
        for rate in RATES
        for one_in in SAMPLED
    )
    return table(("records/s", "sampled", "cores", "cores, with metrics", "spans/s", "bytes/s of spans"), rows)


def _cores(rate: int, one_in: int, unsampled: float, sampled: float) -> str:
    return f"{rate * (unsampled + (sampled - unsampled) / one_in) / 1e6:,.2f}"


def _spans(rate: int, one_in: int, size: int) -> Sequence[str]:
    spans = 2 * rate / one_in
    return f"{spans:,.0f}" if spans >= 1 else f"{spans:.1f}", _bytes(rate / one_in * size)


def _bytes(amount: float) -> str:
    for unit in ("B", "kB", "MB"):
        if amount < 1000:  # noqa: PLR2004 (of a unit in the next)
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB"


def about(found: Results) -> str:
    """Return what the figures were taken with."""
    about = found.found.get("about")
    if not about:
        return ""
    packages = ", ".join(f"{name} {about[name]}" for name in about if name not in ("python", "cores"))
    return f"Measured on {about['cores']} cores with Python {about['python']}, {packages}."
