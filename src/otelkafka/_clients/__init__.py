"""The faces: the only code that calls a client library."""
