"""A real Prometheus on a free port of 127.0.0.1, which ends with this process."""

import json
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from examples.prometheus.quick import write_quick
from testbroker.ports import free_ports
from testbroker.supervised import SupervisedProcess

if TYPE_CHECKING:
    from typing_extensions import Self  # which typing has from Python 3.11 on

PROMETHEUS, PROMTOOL = "prometheus", "promtool"
START_SECONDS = 300.0


class PrometheusError(Exception):
    """It did not start, or refused a query; the message says why."""


class Prometheus:
    """Scrapes and judges by the quick rules, from `with` to its end; its data go with it.

    Args:
        targets_url: where it finds what to scrape.

    Attributes:
        url: the url of its own page.
    """

    def __init__(self, targets_url: str) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._address = f"127.0.0.1:{port}"
        self._targets_url = targets_url

    def __enter__(self) -> "Self":
        """Start it, and return when it answers.

        Raises:
            PrometheusError: it does not.
        """
        self._process = SupervisedProcess()
        try:
            self._process.start(self._command(self._process.directory))
            self._wait_until_ready()
        except BaseException:
            self._process.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._process.stop()

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """Return the series that an expression comes to at a moment, now if None is given.

        Raises:
            PrometheusError: it is no expression.
        """
        moment = {} if at is None else {"time": at}
        return list(self._get("query", query=expression, **moment)["result"])

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """Return the series that an expression comes to from one moment to another, in seconds since 1970.

        Raises:
            PrometheusError: it is no expression.
        """
        return list(self._get("query_range", query=expression, start=start, end=end, step=step)["result"])

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are pending or firing."""
        return list(self._get("alerts")["alerts"])

    def rules(self) -> list[dict[str, Any]]:
        """Return all rules, with their health."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, what: str, **parameters: Any) -> Any:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as refusal:
            with refusal:
                msg = f"{parameters}: {json.load(refusal)['error']}"
            raise PrometheusError(msg) from refusal

    def _command(self, directory: Path) -> list[str]:
        return [
            shutil.which(PROMETHEUS) or PROMETHEUS,
            f"--config.file={write_quick(directory, self._targets_url)}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={self._address}",
            "--log.level=warn",
        ]

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._process.returncode() is not None or time.monotonic() > until:
                msg = f"Prometheus did not start on {self.url}; its log:\n{self._process.output_tail()}"
                raise PrometheusError(msg)
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/-/ready", timeout=10).close()
        except OSError:
            return False
        return True
