"""Wrapped and bare clients side by side through the faults of a real Kafka, and through a soak; no part of the wheel."""
