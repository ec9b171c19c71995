"""What is recorded: attributes, metrics, the options of one client resolved, and the guard around all of it.

The ground floor: it imports none of the other wings.
"""
