"""Attributes, metrics, the resolved options of one client, and the guard that contains failures.

The lowest wing: it imports none of the others.
"""
