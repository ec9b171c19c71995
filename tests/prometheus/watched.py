"""The demo under the eyes of a Prometheus, and the figures that it has scraped."""

import time
from dataclasses import dataclass

from examples.ask.system import System
from examples.prometheus.burst import Life
from examples.prometheus.server import Prometheus

STEP = 0.25


@dataclass(frozen=True)
class Watched:
    """The demo and the Prometheus that scrapes it, after a burst."""

    system: System
    prometheus: Prometheus
    life: Life

    def values(self, expression):
        """Return each number that an expression has come to since the burst began."""
        found = self.prometheus.query_range(expression, self.life.began, time.time(), STEP)
        numbers = (float(value) for series in found for _, value in series["values"])
        return [number for number in numbers if number == number]  # NaN is not
