"""The instrumentation scope under which spans and metrics are made: its name and its version."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

NAME: Final = "otelkafka"


def _version() -> str:
    try:
        return version(NAME)
    except PackageNotFoundError:  # the source is on the path without being installed
        return "0"


VERSION: Final = _version()
