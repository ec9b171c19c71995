"""The face of aiokafka."""
