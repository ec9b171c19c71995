"""Reads records of a topic without a group and without commits."""

from collections.abc import Iterator
from datetime import datetime, timezone
from difflib import get_close_matches
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition

BEGINNING, END = "beginning", "end"
POLL_MS: Final = 500
STARTS: Final = "beginning, end, a number of records such as 100, or a time in UTC such as 2026-11-25T10:00"


def start_of(text: str) -> str | int | datetime:
    """Return where to start: `beginning`, `end`, how many of the last of each partition, or since when.

    Args:
        text: as it was given: one of these words, a whole number, or a time in ISO 8601, UTC unless it says otherwise.

    Raises:
        ValueError: it is none of these.
    """
    if text in (BEGINNING, END):
        return text
    if text.lstrip("-").isdecimal():
        return abs(int(text))
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        msg = f"argument --from: {text!r} is none of {STARTS}"
        raise ValueError(msg) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


class Bystander:
    """A reader of one topic that changes nothing in the cluster.

    Args:
        config: the configuration of kafka-python's `KafkaConsumer`.
        topic: what it reads.
        start: where it starts, as `start_of` returns it.

    Attributes:
        count: how many records lie between there and the end of now, at most.

    Raises:
        LookupError: there is no such topic.
        KafkaError: Kafka refused or did not answer.
    """

    def __init__(self, config: dict[str, Any], topic: str, start: str | int | datetime) -> None:
        alone = {"group_id": None, "enable_auto_commit": False, "client_id": "otelkafka-inspect"}
        self._consumer = KafkaConsumer(**{**alone, **config})
        try:
            self.count = self._go_to(topic, start)
        except BaseException:
            self._consumer.close()
            raise

    def _go_to(self, topic: str, start: str | int | datetime) -> int:
        partitions = [TopicPartition(topic, each) for each in sorted(self._partitions(topic))]
        self._consumer.assign(partitions)
        self._ends: dict[TopicPartition, int]
        first, self._ends = self._consumer.beginning_offsets(partitions), self._consumer.end_offsets(partitions)
        begin = {each: max(first[each], offset) for each, offset in self._begin(start, first).items()}
        for each, offset in begin.items():
            self._consumer.seek(each, offset)
        return sum(self._ends[each] - offset for each, offset in begin.items())

    def records(self, *, follow: bool) -> Iterator[Any]:
        """Yield records up to the end that the topic had at the start; with `follow`, wait for new ones."""
        while follow or any(self._consumer.position(each) < end for each, end in self._ends.items()):
            for polled in self._consumer.poll(timeout_ms=POLL_MS).values():
                yield from polled

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()

    def _partitions(self, topic: str) -> set[int]:
        known: set[int] | None = self._consumer.partitions_for_topic(topic)
        if known:
            return known
        topics = sorted(self._consumer.topics())
        alike = get_close_matches(topic, topics, n=3)
        hint = f"did you mean {' or '.join(alike)}?" if alike else f"there are {len(topics)} that this user may see"
        msg = f"there is no topic {topic!r}: {hint}"
        raise LookupError(msg)

    def _begin(self, start: str | int | datetime, first: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        if start == BEGINNING:
            return first
        if start == END:
            return self._ends
        if isinstance(start, int):
            return {each: end - start for each, end in self._ends.items()}
        moment = int(start.timestamp() * 1000) if isinstance(start, datetime) else 0
        found = self._consumer.offsets_for_times(dict.fromkeys(self._ends, moment))
        return {each: self._ends[each] if at is None else at.offset for each, at in found.items()}
