"""What is recorded of a consumer: records, their processing, commits and rebalances. No client is called here."""
