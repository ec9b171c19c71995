"""`python -m otelkafka`: the command line."""

import sys

from otelkafka._cli.command import main

if __name__ == "__main__":
    sys.exit(main())
