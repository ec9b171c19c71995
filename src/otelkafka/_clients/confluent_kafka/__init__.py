"""The face of confluent-kafka."""
