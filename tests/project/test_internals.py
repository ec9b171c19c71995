"""Tests drive public names; what they know of the inside is in one module."""

import ast
from pathlib import Path

import pytest

import otelkafka

pytestmark = pytest.mark.once

TESTS = Path(__file__).parents[1]
PUBLIC = {"instrumentor", "reporter", "testing"}
KNOWING = {TESTS / "support" / "internals.py"}
ELSEWHERE = {"ask", "interop", "outages", "package", "prometheus"}  # which run by themselves, with what they need
FILES = [path for path in sorted(TESTS.rglob("*.py")) if path.relative_to(TESTS).parts[0] not in ELSEWHERE]


def modules_of(node):
    """The modules of otelkafka that an import names, without that prefix."""
    if isinstance(node, ast.Import):
        return [each.name.removeprefix("otelkafka.") for each in node.names if each.name.startswith("otelkafka.")]
    if not isinstance(node, ast.ImportFrom) or (node.module or "").partition(".")[0] != "otelkafka":
        return []
    if "." in node.module:
        return [node.module.removeprefix("otelkafka.")]
    return [each.name for each in node.names if each.name not in otelkafka.__all__]


@pytest.mark.parametrize("path", sorted({*FILES} - KNOWING), ids=lambda path: str(path.relative_to(TESTS)))
def test_only_one_module_of_the_tests_imports_what_is_not_public(path):
    """What moves inside of the package is moved in `tests/support/internals.py`, and nowhere else."""
    found = [name for node in ast.walk(ast.parse(path.read_text())) for name in modules_of(node)]
    private = [name for name in found if name.partition(".")[0] not in PUBLIC]
    assert private == [], f"import {private} in tests/support/internals.py, and take from there what tests need"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from otelkafka import process, testing", ["testing"]),
        ("from otelkafka.wait import WaitHistory", ["wait"]),
        ("import otelkafka.wait, otelkafka", ["wait"]),
        ("from opentelemetry import trace", []),
    ],
)
def test_imports_of_what_is_not_public_are_found(line, found):
    """In each of their forms."""
    assert modules_of(ast.parse(line).body[0]) == found
