"""Topics and their options: the name in spans and metrics, and whether they are traced."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from otelkafka._telemetry import attributes
from otelkafka._telemetry.guard import Guard
from otelkafka.options import Options

MOST_KEPT: Final = 1000
"""How many topics are remembered."""

_FAILED: Final[Any] = object()


class Destination:
    """A topic, or several, with the results of the options: its name in spans and metrics, and whether it is traced.

    Args:
        topic: the topic's name; None for several.
        template: the low-cardinality name that replaces it, or all of them; None for none.
        traced: whether its records get spans.

    Attributes:
        last_offsets: for a consumer, by partition, the offset of the last record that was returned.
        places: for a consumer, by partition, what its records share.
    """

    __slots__ = ("attributes", "last_offsets", "metric_attributes", "name", "places", "topic", "traced")

    def __init__(self, topic: str | None, template: str | None, *, traced: bool = True) -> None:
        self.topic = topic
        self.traced = traced
        self.name = template or topic or ""
        self.last_offsets: dict[int, int] = {}
        self.places: dict[int | None, Any] = {}
        self.attributes = attributes.of_destination(topic, template)
        # A metric has one name of low cardinality, not one for each tenant.
        self.metric_attributes = attributes.of_destination(None if template else topic, template)


class Destinations(dict[str, Destination]):
    """The destinations by topic. The functions of the options are called once for each topic.

    Args:
        options: the options of the client.
        guard: contains what their functions raise.
    """

    def __init__(self, options: Options, guard: Guard) -> None:
        super().__init__()
        self._options = options
        self._guard = guard

    def __missing__(self, topic: str) -> Destination:
        """Make the destination of a topic by the options."""
        template, traced = self._template(topic), self._traced(topic)
        found = Destination(topic, None if template is _FAILED else template, traced=traced is _FAILED or bool(traced))
        if template is not _FAILED and traced is not _FAILED:  # what has failed may work for the next record
            if len(self) >= MOST_KEPT:
                self.clear()
            self[topic] = found
        return found

    def of(self, topics: set[str]) -> Destination:
        """Return the destination of several topics, with their template if all have the same one."""
        if len(topics) == 1:
            return self[next(iter(topics))]
        names = {self[topic].name for topic in topics}
        return Destination(None, names.pop() if len(names) == 1 else None)

    def _template(self, topic: str) -> Any:
        function = self._options.destination_template
        name = self._guard.call("destination_template", _FAILED, function, topic) if function else None
        if name is None or name is _FAILED or (isinstance(name, str) and name):
            return name
        self._guard.contain("destination_template", TypeError(f"returned {type(name).__name__}: return a str or None"))
        return _FAILED

    def _traced(self, topic: str) -> Any:
        function = self._options.trace_topic
        return self._guard.call("trace_topic", _FAILED, function, topic) if function else True


class Committed(NamedTuple):
    """What the offsets of a commit have in common.

    Attributes:
        destination: their topic, or several.
        partition: the one partition; None for several.
        offset: the committed offset of that partition: that of the next record to read.
    """

    destination: Destination
    partition: int | None
    offset: int | None


def committed_by(
    offsets: Any, destination_of: Callable[[set[str]], Destination], otherwise: Iterable[tuple[str, int]] = ()
) -> Committed:
    """Return what the offsets of a commit have in common.

    Args:
        offsets: a dict from partitions to offsets; anything else means all of `otherwise`.
        destination_of: `Destinations.of`.
        otherwise: topics and numbers of partitions, which are committed without `offsets`.
    """
    is_known = isinstance(offsets, Mapping)
    given = {(each.topic, each.partition) for each in offsets} if is_known else set(otherwise)
    destination = destination_of({topic for topic, _ in given})
    if len(given) != 1:
        return Committed(destination, None, None)
    committed = next(iter(offsets.values())) if is_known else None
    offset = getattr(committed, "offset", committed)
    return Committed(destination, next(iter(given))[1], offset if isinstance(offset, int) else None)
