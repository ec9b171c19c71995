"""A Kafka to try things on, of nothing but Python packages: `python -m testbroker`, until Ctrl-C."""

import argparse
import sys
import threading
from contextlib import suppress

from testbroker import BrokerUnavailable, start_broker
from testbroker.start import KIND_VARIABLE, KINDS

DESCRIPTION = "Starts Apache Kafka of Python packages, prints where it listens, and runs until Ctrl-C."


def main() -> int:
    """Start it, and say where it listens."""
    parser = argparse.ArgumentParser("python -m testbroker", description=DESCRIPTION)
    parser.add_argument("--kind", choices=KINDS, help=f"which broker; default: the value of {KIND_VARIABLE}, or auto")
    parser.add_argument("--port", type=int, help="where Apache Kafka listens; default: a free port")
    given = parser.parse_args()
    try:
        with suppress(KeyboardInterrupt), start_broker(given.kind, port=given.port) as broker:
            sys.stdout.write(f"{broker.description}\n")
            sys.stdout.flush()
            threading.Event().wait()
    except BrokerUnavailable as error:
        sys.stderr.write(f"testbroker: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
