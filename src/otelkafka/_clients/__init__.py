"""The faces: the only code that calls the application's clients.

A face is a class whose methods each call one method of the client, between the engine's begin and end. A proxy calls a
face where a client is wrapped, and a patch does under zero code.
"""
