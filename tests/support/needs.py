"""What the tests of the examples need of the machine, and must not take from it."""

import os
import shutil
from typing import NoReturn

import pytest

from testbroker.given import SERVERS_VARIABLE

DEMANDED = "OTELKAFKA_DEMO_TOOLS"


def need(*tools: str) -> None:
    """Skip without the tools, and fail where they are demanded."""
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        without(f"not installed: {', '.join(missing)}; apt install chromium chromium-driver kcat prometheus")


def without(reason: str) -> NoReturn:
    """Skip, and fail where everything is demanded."""
    (pytest.fail if os.environ.get(DEMANDED) else pytest.skip)(reason)


def forget_settings() -> None:
    """Run without what the developer has set for OpenTelemetry and Kafka."""
    for name in [name for name in os.environ if name.startswith("OTEL_") or name == SERVERS_VARIABLE]:
        del os.environ[name]
