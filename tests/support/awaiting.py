"""Async tests: each runs in a loop of its own."""

import asyncio
import functools


def awaited(test):
    """Make a test of an async function."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        return asyncio.run(test(*args, **kwargs))

    return run
