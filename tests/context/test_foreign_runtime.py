"""A runtime context that is not OpenTelemetry's own, as ddtrace's bridge sets one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import bridge


@pytest.mark.parametrize("around", ["inside a span", "alone"])
@pytest.mark.parametrize("parent", ["remote", "none"])
@pytest.mark.parametrize("sampled", ["sampled", "unsampled"])
def test_what_was_current_is_so_after_each_operation(sampled, parent, around):
    """Also where `detach()` is ignored, a span alone is kept, and one that has ended gives way to its parent."""
    run = subprocess.run(
        [sys.executable, "-m", bridge.__name__, sampled, parent, around],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
