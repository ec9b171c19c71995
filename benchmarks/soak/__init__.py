"""Bare and traced clients side by side through the faults of a real Kafka, and a soak; no part of the wheel."""
