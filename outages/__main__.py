"""Soaks."""

import json, sys
from outages import run

found = run.soak(float(sys.argv[1]))
open(sys.argv[2], "w").write(json.dumps(found))
