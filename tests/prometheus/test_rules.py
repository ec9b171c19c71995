"""The rules as promtool judges them, and the names in them."""

import re
import subprocess

import pytest

from docs.generate import alerts
from examples.prometheus import dashboard, quick
from examples.prometheus.server import PROMTOOL
from otelkafka._telemetry import semconv
from tests.support.needs import need

PROMETHEUS_OWN = {"job", "instance", "le", "alertname", "alertstate"}
OURS = {str(value).replace(".", "_") for name, value in vars(semconv).items() if name.isupper()}
LABELS = re.compile(r"\{([^}]*)\}|\b(?:by|on) \(([^)]*)\)")
LABEL, METRIC = re.compile(r"\w+(?=\s*[=!,]|$)"), re.compile(r"(?:\w+:)?(?:otelkafka|messaging)[\w:]+")


@pytest.mark.parametrize("check", [("check", "rules", "rules.yml"), ("check", "config", "prometheus.yml")])
def test_they_are_valid(check):
    """The rules and the configuration are what Prometheus takes."""
    _promtool(*check)


def test_they_say_what_they_must():
    """Each alert fires where it should and not where it should not, step by step."""
    _promtool("test", "rules", "rules_test.yml")


def test_each_alert_is_tested_and_says_what_to_do():
    """None is without a test, a meaning or a remedy."""
    tested = (quick.HERE / "rules_test.yml").read_text()
    for alert in quick.alerts():
        assert f'alertname="{alert["alert"]}",alertstate="firing"' in tested
        assert set(alert["annotations"]) == {"summary", "description", "action"}
        assert alert["labels"]["severity"] in {"page", "warning", "info"}


def test_each_name_is_one_of_ours():
    """What rules and dashboard ask for is measured: names and labels are translated ones, or recorded by a rule."""
    recorded = {rule["record"] for group in quick.rules() for rule in group["rules"] if "record" in rule}
    for expression in _expressions():
        for name in METRIC.findall(LABELS.sub("", expression)):
            assert name in recorded or name.startswith(tuple(OURS)), f"{name} in {expression}"
        for label in LABEL.findall(",".join(map("".join, LABELS.findall(expression)))):
            assert label in OURS | PROMETHEUS_OWN, f"{label} in {expression}"


def test_the_page_has_them_all():
    """Its tables are made from rules and dashboard; `python -m docs.generate.alerts` writes them again."""
    assert alerts.PAGE.read_text() == alerts.page()


def test_sixty_times_as_fast():
    """Durations and aims are shorter, and nothing else is another."""
    assert quick.quick("rate(a[5m]) offset 6m > 0.7 for p95") == "rate(a[5000ms]) offset 6000ms > 0.7 for p95"


def _expressions():
    yield from (rule["expr"] for group in quick.rules() for rule in group["rules"])
    yield from (query for panels in dashboard.ROWS.values() for panel in panels for query in panel.queries.values())


def _promtool(*arguments):
    need(PROMTOOL)
    ran = subprocess.run([PROMTOOL, *arguments], cwd=quick.HERE, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
