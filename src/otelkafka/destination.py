"""What the options say of topics."""

from typing import Final

from otelkafka import attributes
from otelkafka.guard import Guard
from otelkafka.options import Options

MOST_KEPT: Final = 1000
"""Of how many topics it is remembered."""


class Destination:
    """What the options say of a topic, or of several: whether they are traced, and what they are called.

    Args:
        topic: the topic's name; None for several.
        template: the low-cardinality name that stands for it, or for all of them, if there is one.
        traced: whether its records get spans.
    """

    __slots__ = ("attributes", "metric_attributes", "name", "topic", "traced")

    def __init__(self, topic: str | None, template: str | None, *, traced: bool = True) -> None:
        self.topic = topic
        self.traced = traced
        self.name = template or topic or ""
        self.attributes = attributes.of_destination(topic, template)
        # A metric has one name of low cardinality, not one for each tenant.
        self.metric_attributes = attributes.of_destination(None if template else topic, template)


class Destinations(dict[str, Destination]):
    """What the options say of topics, by their names: asked once for each, and remembered of so many.

    Args:
        options: are asked.
        guard: contains what they raise.
    """

    def __init__(self, options: Options, guard: Guard) -> None:
        super().__init__()
        self._options = options
        self._guard = guard

    def __missing__(self, topic: str) -> Destination:
        """Ask the options."""
        failures = self._guard.failures
        found = self._resolve(topic)
        if self._guard.failures == failures:  # what has failed may work for the next record
            if len(self) >= MOST_KEPT:
                self.clear()
            self[topic] = found
        return found

    def of(self, topics: set[str]) -> Destination:
        """Return what there is to say of several topics in common: their template, where they share one."""
        if len(topics) == 1:
            return self[next(iter(topics))]
        names = {self[topic].name for topic in topics}
        return Destination(None, names.pop() if len(names) == 1 else None)

    def _resolve(self, topic: str) -> Destination:
        template, traced = self._options.destination_template, self._options.trace_topic
        name = self._guard.call("destination_template", None, template, topic) if template else None
        if name is not None and not (isinstance(name, str) and name):
            self._guard.contain(
                "destination_template", TypeError(f"returned {type(name).__name__}: return a str or None")
            )
            name = None
        return Destination(
            topic, name, traced=bool(self._guard.call("trace_topic", True, traced, topic)) if traced else True
        )
