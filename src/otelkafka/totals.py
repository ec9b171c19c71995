"""Numbers that only grow, and how many attribute sets they may have: what stands behind observable counters."""

from collections.abc import Callable, Collection, Iterable
from threading import RLock
from typing import Any, Final, TypeAlias

from opentelemetry.metrics import CallbackOptions, Observation

from otelkafka.attributes import Attributes

OVERFLOW: Final[Attributes] = {"otel.metric.overflow": True}
"""The attributes of what has no room among the attribute sets; the SDK's own name for it."""

MOST_SETS: Final = 2000
"""How many attribute sets a metric may have, beside that of the overflow."""

Reading: TypeAlias = tuple[Attributes, float]
Key: TypeAlias = frozenset[tuple[str, Any]]
_OVERFLOW_KEY: Final[Key] = frozenset(OVERFLOW.items())


def bounded(attributes: Attributes, known: Collection[Key]) -> tuple[Key, Attributes]:
    """Return attributes with what they are known by; those of the overflow where they are new and there is no room."""
    key = frozenset(attributes.items())
    return (key, attributes) if key in known or len(known) < MOST_SETS else (_OVERFLOW_KEY, OVERFLOW)


class Total:
    """A number that only grows, with its attributes."""

    __slots__ = ("_lock", "attributes", "value")

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes
        self.restart()

    def restart(self) -> None:
        """Begin at zero, with a lock that no thread of a parent process holds."""
        self._lock = RLock()
        self.value: float = 0

    def add(self, amount: float = 1) -> None:
        """Add to the number, from any thread."""
        with self._lock:
            self.value += amount


class Totals:
    """The totals of one counter, by attributes: what a client has counted outlives it.

    Args:
        on_overflow: called for each attribute set that there is no room for.
    """

    def __init__(self, on_overflow: Callable[[], None] = lambda: None) -> None:
        self._on_overflow = on_overflow
        # Not a plain lock: a collection of garbage may run here, and end spans that count.
        self._lock = RLock()
        self._totals: dict[Key, Total] = {}

    def of(self, attributes: Attributes) -> Total:
        """Return the total with these attributes, which whoever counts often may keep."""
        with self._lock:
            key, kept = bounded(attributes, self._totals)
            found = self._totals.get(key)
            if found is None:
                found = self._totals.setdefault(key, Total(kept))
        if kept is not attributes:
            self._on_overflow()
        return found

    def observe(self, _: CallbackOptions | None = None) -> list[Observation]:
        """Return what the totals are now."""
        return [Observation(total.value, total.attributes) for total in list(self._totals.values())]

    def restart(self) -> None:
        """Begin at zero."""
        self._lock = RLock()
        for total in self._totals.values():
            total.restart()


def merged(readings: Iterable[Reading], merge: Callable[[list[float]], float]) -> list[Observation]:
    """Return one observation for equal attribute sets, of which an SDK would keep one; too many go into one, too."""
    found: dict[Key, tuple[Attributes, list[float]]] = {}
    for attributes, value in readings:
        key, kept = bounded(attributes, found)
        found.setdefault(key, (kept, []))[1].append(value)
    return [Observation(merge(values), attributes) for attributes, values in found.values()]
