"""Waits for what happens in another thread, another process or at the broker."""

import time

from otelkafka.testing import SpanRecorder

PATIENCE = 300.0  # a group on a busy machine may need some of it
_POLL_SECONDS = 0.01


def wait_until(condition, what, seen=None, patience=PATIENCE):
    """Return what a condition says, as soon as it holds.

    Args:
        condition: called again and again until what it returns is true.
        what: what is waited for, which the message says that has not come.
        seen: returns what there is instead; None for what the condition said last.
        patience: for how long, in seconds.

    Raises:
        AssertionError: it did not come in time; the message has what was waited for, and what was seen.
    """
    until = time.monotonic() + patience
    while not (found := condition()):
        if time.monotonic() > until:
            last = found if seen is None else seen()
            msg = f"waited {patience:.0f} s for {what}; seen: {last!r}"
            raise AssertionError(msg)
        time.sleep(_POLL_SECONDS)
    return found


class PatientRecorder(SpanRecorder):
    """A recorder that waits for spans as patiently as all tests wait."""

    def wait_for(self, name, count=1, timeout=PATIENCE):
        return super().wait_for(name, count, timeout)


def wait_until_known(topic, consumer):
    """Return when a consumer knows a topic: a leader of a group assigns nothing of what it does not know."""
    wait_until(lambda: consumer.partitions_for_topic(topic), f"partitions of {topic} in the consumer's metadata")
