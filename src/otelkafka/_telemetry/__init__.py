"""What is recorded: attributes, metrics, the options of one client resolved, and the guard around all of it."""
