"""Contexts: into headers and out of them, the current one, and the fast path for what is not sampled.

It stands on `_telemetry`, below `_producing` and `_consuming`.
"""
