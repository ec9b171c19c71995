"""How long `import otelkafka` takes beyond kafka-python and OpenTelemetry's API, which a service has anyway.

Run as a program it prints milliseconds as JSON.
"""

import json
import time
from importlib import import_module

ANYWAY = ("kafka", *(f"opentelemetry.{name}" for name in ("baggage", "context", "metrics", "propagate", "trace")))


def main() -> None:
    """Import what is there anyway, then time ours."""
    for name in ANYWAY:
        import_module(name)
    start = time.perf_counter()
    import_module("otelkafka")
    print(json.dumps(round((time.perf_counter() - start) * 1000, 2)))


if __name__ == "__main__":
    main()
