"""The service `kafka-consumer`, of the group `wall`: prints each question on the wall, marks it and tweets it."""

import argparse
import json
import random
import threading
import time
import urllib.request
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from opentelemetry import trace

from examples.ask.lifeline import when_released
from examples.ask.producer import client_config, context_of
from examples.ask.telemetry import telemetry
from examples.ask.traces import QUESTION
from otelkafka import ConsumerOptions, wrap_consumer
from testbroker.wait import wait_until_known

SERVICE, GROUP = "kafka-consumer", "wall"
MARK_SECONDS, TWEET_SECONDS = 0.02, 0.05
# Of what a question takes: what waited longer had to wait for another, and is recorded, sampled or not.
TOO_LONG = 0.5

tracer = trace.get_tracer("ask")


class TweetError(RuntimeError):
    """The tweet was not taken."""


class Printer:
    """Works through the questions, one after the other.

    Args:
        consumer: a wrapped one.
        wall: the URL of the wall.
        work: how long printing takes, in seconds.
        fail_every: the tweet of every so manieth question fails; 0: none.
    """

    def __init__(self, consumer: Any, wall: str, work: float, fail_every: int) -> None:
        self._consumer = consumer
        self._wall = wall
        self._work = work
        self._fail_every = fail_every
        self._printed = 0
        self._assigned: set[TopicPartition] = set()

    def run(self, ended: threading.Event) -> None:
        """Go on until it is ended; an outage of the broker is waited out."""
        while not ended.is_set():
            try:
                polled = self._consumer.poll(timeout_ms=200)
                self._report_assignment()
            except KafkaError:
                ended.wait(0.5)
                continue
            for records in polled.values():
                for record in records:
                    self.take(record)

    def take(self, record: Any) -> None:
        """Process one record; a failed tweet is shown by its trace and the wall, and not tried again."""
        asked = _read(record.value)
        waited = max(time.time() - record.timestamp / 1000, 0)
        state = "failed"
        place = {"partition": record.partition, "offset": record.offset, "waited": waited, **asked}
        # It passes through the process span, which it makes red.
        with suppress(TweetError), self._consumer.process(record) as span:
            place |= context_of(span)
            span.set_attribute(QUESTION, asked["question"])
            self._post("entries", {**place, "state": "printing"})
            self._answer(asked)
            state = "answered"
        self._post("entries", {**place, "state": state})

    def _answer(self, asked: dict[str, str]) -> None:
        try:
            with tracer.start_as_current_span("print message"):
                time.sleep(self._work)
            self._printed += 1
            with tracer.start_as_current_span("mark"):
                time.sleep(MARK_SECONDS)
            with tracer.start_as_current_span("tweet"):
                self._tweet(asked)
        finally:
            # Also after a failed tweet: the question is on the wall, and to print it again would mend nothing.
            with suppress(KafkaError):
                self._consumer.commit()

    def _tweet(self, asked: dict[str, str]) -> None:
        time.sleep(TWEET_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
        if self._fail_every and self._printed % self._fail_every == 0:
            msg = f"tweet of {asked['name']!r} refused: 503 over capacity"
            raise TweetError(msg)

    def _report_assignment(self) -> None:
        assigned = self._consumer.assignment()
        if assigned != self._assigned:
            self._assigned = set(assigned)
            partitions = sorted(each.partition for each in assigned)
            self._post("members", {"member": self._consumer.config["client_id"], "partitions": partitions})

    def _post(self, what: str, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        request = urllib.request.Request(f"{self._wall}/{what}", body, {"content-type": "application/json"})
        with suppress(OSError):  # the wall may be gone, the questions go on
            urllib.request.urlopen(request, timeout=30).close()


def _read(value: bytes | None) -> dict[str, str]:
    """Return who asked what; a record of another program counts as a question, too."""
    text = (value or b"").decode(errors="replace")
    try:
        given = json.loads(text)
        return {"name": given["name"], "question": given["question"]}
    except (ValueError, TypeError, KeyError):
        return {"name": "somebody", "question": text}


def main() -> None:
    """Consume until the starter is gone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--number", type=int, default=1, help="of this consumer")
    parser.add_argument("--wall", required=True, help="the URL of the wall")
    parser.add_argument("--work", type=float, required=True, help="how long printing takes, in seconds")
    parser.add_argument("--fail-every", type=int, required=True, help="every so manieth tweet fails; 0: none")
    parser.add_argument("--client", type=json.loads, required=True, help="the client's configuration, as JSON")
    parser.add_argument("--assign", action="store_true", help="take partition 0 instead of joining the group")
    given = parser.parse_args()
    ended = threading.Event()
    with telemetry(SERVICE, f"{SERVICE}-{given.number}"), _consumer(given) as consumer:
        when_released(ended.set)
        Printer(consumer, given.wall, given.work, given.fail_every).run(ended)


def _consumer(given: argparse.Namespace) -> Any:
    bare = KafkaConsumer(
        client_id=f"{SERVICE}-{given.number}",
        group_id=GROUP,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        # The talk's printer takes 35 seconds a question.
        max_poll_interval_ms=900_000,
        max_poll_records=1,
        **client_config(given.client),
    )
    if given.assign:
        bare.assign([TopicPartition(given.topic, 0)])
    else:
        wait_until_known(given.topic, bare)
        bare.subscribe([given.topic])
    options = ConsumerOptions(
        process="manual",
        pipeline_time=True,
        sample_waits_over=TOO_LONG * (given.work + MARK_SECONDS + TWEET_SECONDS),
        sample_errors=True,
    )
    return wrap_consumer(bare, options)


if __name__ == "__main__":
    main()
