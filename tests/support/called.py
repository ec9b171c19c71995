"""What the faces have in common over which the suite runs by a bridge, and by a client that offers kafka-python's calls.

A module of such a face has `wrap_producer()` and `wrap_consumer()`, the folder of its own tests as `OWN_TESTS`, and what
the suite has of kafka-python alone as `NOT_RUN`, from files or tests to reasons.
"""

REAL_CLIENTS = "kafka-python's own clients on a broker"
_OF_KAFKA_PYTHON = {"make_producer", "make_consumer", "bare_producer", "clients"}
"""Fixtures that make such clients."""


class Called:
    """A traced client with the calls of kafka-python.

    Args:
        traced: what the face has wrapped: the bridge.
        bare: the fake of the suite behind the bridge.
    """

    def __init__(self, traced, bare):
        self.traced = traced
        self.__wrapped__ = bare
        self._self_face = traced._self_face


def reason_not_to_run(item, face):
    """Why a test does not run over a face; None where it does.

    Args:
        item: the test.
        face: the module of the face.
    """
    path = item.nodeid.partition("tests/")[2] or item.nodeid
    file, _, name = path.partition("::")
    if not file.startswith(f"{face.OWN_TESTS}/") and _OF_KAFKA_PYTHON & set(getattr(item, "fixturenames", ())):
        return f"{REAL_CLIENTS}: {face.OWN_TESTS}/ has those of this face"
    return (
        face.NOT_RUN.get(file)
        or face.NOT_RUN.get(f"{file}::{name}")
        or face.NOT_RUN.get(f"{file}::{name.partition('[')[0]}")
    )
