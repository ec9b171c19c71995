"""An OpenTelemetry Collector, built once from Go modules, that runs the configuration of the page."""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from testbroker.jars import cache
from testbroker.ports import free_ports
from testbroker.supervised import SupervisedProcess
from tests.support.waiting import wait_until

VERSION = "0.161.0"
PAGE = Path(__file__).parents[2] / "docs" / "recipes" / "collector.md"
DEMANDED = "OTELKAFKA_INTEROP_TOOLS"
BUILD_SECONDS = 3600


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture(scope="session")
def program():
    """The program, from the cache or built as the page says."""
    directory = cache() / f"collector-{VERSION}"
    built = directory / "collector"
    if not built.exists():
        if not shutil.which("go"):
            (pytest.fail if os.environ.get(DEMANDED) else pytest.skip)("not installed: go")
        build(directory)
    return built


def build(directory):
    """Build it; what is half done is not taken for the program by a later run."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "builder.yaml").write_text(blocks("yaml")[1].replace("./dist", str(directory / "dist")))
    environment = {**os.environ, "GOBIN": str(directory), "CGO_ENABLED": "0"}
    (install,) = re.findall(r"^go install .+$", PAGE.read_text(), re.MULTILINE)
    for command in (install.split(), [str(directory / "builder"), "--config", str(directory / "builder.yaml")]):
        subprocess.run(command, env=environment, check=True, timeout=BUILD_SECONDS, cwd=directory)
    (directory / "dist" / "collector").rename(directory / "collector")
    shutil.rmtree(directory / "dist")


class Collector:
    """A Collector that runs the page's configuration, with a shorter wait and on ports of its own."""

    def __init__(self, program, directory):
        otlp, prometheus = free_ports(2)
        self.endpoint, self._metrics = f"http://127.0.0.1:{otlp}", f"http://127.0.0.1:{prometheus}/metrics"
        self._file = directory / "traces.json"
        settings = blocks("yaml")[0]
        for page, test in (
            ("127.0.0.1:4318", f"127.0.0.1:{otlp}"),
            ("127.0.0.1:9464", f"127.0.0.1:{prometheus}"),
            ("path: traces.json", f"path: {self._file}"),
            ("decision_wait: 30s", "decision_wait: 2s"),
            ("metrics_flush_interval: 15s", "metrics_flush_interval: 1s"),
            ("sampling_percentage: 0.1", "sampling_percentage: 0"),
        ):
            assert settings.count(page) == 1, page
            settings = settings.replace(page, test)
        settings = settings.replace("service:\n", "service:\n  telemetry: { metrics: { level: none } }\n")
        (directory / "collector.yaml").write_text(settings)
        self._process = SupervisedProcess()
        self._process.start([str(program), "--config", str(directory / "collector.yaml")])
        wait_until(self._answers, "the Collector", self._process.output_tail)

    def _answers(self):
        assert self._process.returncode() is None, self._process.output_tail()
        try:
            urllib.request.urlopen(
                urllib.request.Request(f"{self.endpoint}/v1/traces", b"{}", {"content-type": "application/json"})
            )
        except OSError:
            return False
        return True

    @property
    def kept(self):
        """The names of the spans that were kept, by trace."""
        found = {}
        for line in self._file.read_text().splitlines() if self._file.exists() else ():
            for resource in json.loads(line)["resourceSpans"]:
                for scope in resource["scopeSpans"]:
                    for span in scope["spans"]:
                        found.setdefault(span["traceId"], []).append(span["name"])
        return found

    def metrics(self):
        """What a Prometheus would scrape."""
        with urllib.request.urlopen(self._metrics) as answer:
            return answer.read().decode()

    def wait_for_decisions(self):
        """Until the last trace has been decided: the wait, and the export of the batch."""
        time.sleep(4)

    def stop(self):
        self._process.stop()


@pytest.fixture(scope="session")
def collector(program, tmp_path_factory):
    running = Collector(program, tmp_path_factory.mktemp("collector"))
    yield running
    running.stop()
