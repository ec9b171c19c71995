"""What the suite over the faces of other libraries has in common."""

from typing import TypeAlias

Reasons: TypeAlias = dict[str, str]
"""Why what a library has not is not run, by the file or the test."""
_OF_KAFKA_PYTHON = {"make_producer", "make_consumer", "bare_producer", "clients"}


def why_not(item, reasons, own, real):
    """Why a test does not run over the face of another library; None where it does.

    Args:
        item: the test.
        reasons: of that library.
        own: the folder of its own tests.
        real: where the tests of its real clients are.
    """
    path = item.nodeid.partition("tests/")[2] or item.nodeid
    file, _, name = path.partition("::")
    name = name.partition("[")[0]
    if not file.startswith(f"{own}/") and _OF_KAFKA_PYTHON & set(getattr(item, "fixturenames", ())):
        return f"kafka-python's own clients on a broker: {real}"
    return reasons.get(file) or reasons.get(f"{file}::{name}")
