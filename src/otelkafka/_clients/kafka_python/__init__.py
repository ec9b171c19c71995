"""The face of kafka-python."""
