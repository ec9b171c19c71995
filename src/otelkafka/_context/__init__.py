"""Contexts: writing them into headers, reading them from headers, the current one, and the fast path.

It imports `_telemetry`. `_producing` and `_consuming` import it.
"""
