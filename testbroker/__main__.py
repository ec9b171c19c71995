"""A Kafka to try things on, of nothing but Python packages: `python -m testbroker`, until Ctrl-C."""

import sys
import threading
from contextlib import suppress

from testbroker import BrokerUnavailable, start_broker


def main() -> int:
    """Start it, and say where it listens."""
    try:
        with suppress(KeyboardInterrupt), start_broker() as broker:
            sys.stdout.write(f"{broker.description}\n")
            sys.stdout.flush()
            threading.Event().wait()
    except BrokerUnavailable as error:
        sys.stderr.write(f"testbroker: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
