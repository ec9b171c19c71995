"""What users' own tests get."""

import pytest

from otelkafka.testing import span_tree
from tests.fakes import ambient_of


def test_recorder_that_waits_in_vain_shows_what_there_is(recorder):
    """wait_for() fails with the tree of the spans that have ended."""
    with ambient_of(recorder, "other"):
        pass
    with pytest.raises(AssertionError, match=r"0 of 1 spans 'send t' ended within 0 s; there are:\n.* other"):
        recorder.wait_for("send t", timeout=0)


def test_tree_shows_parents_order_and_failures(recorder):
    """A line a span, children below their parents in the order of their start, failures with their message."""
    with pytest.raises(ValueError), ambient_of(recorder, "root"):
        with ambient_of(recorder, "first"):
            pass
        with ambient_of(recorder, "second"):
            raise ValueError("boom")
    lines = [line.split("ms  ")[-1] for line in span_tree(recorder.spans).splitlines()]
    assert lines == ["root  ERROR ValueError: boom", "  first", "  second  ERROR ValueError: boom"]
