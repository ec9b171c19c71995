"""What is recorded of a producer: its sends and its transactions. No client is called here."""
