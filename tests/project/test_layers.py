"""The layers: what imports what."""

import ast
import subprocess
import sys
from pathlib import Path

import otelkafka

ORDER = [
    "semconv",
    "headers",
    "options",
    "passage",
    "client",
    "attributes",
    "wait",
    "totals",
    "metrics",
    "guard",
    "destination",
    "ambient",
    "w3c",
    "rules",
    "shortcuts",
    "origins",
    "telemetry",
    "reporter",
    "operation",
    "sampling",
    "propagation",
    "proxy",
    "in_process",
    "links",
    "telling",
    "starting",
    "measuring",
    "current",
    "processing",
    "message",
    "in_flight",
    "commits",
    "transactions",
    "outgoing",
    "sending",
    "producer",
    "iterators",
    "dispatcher",
    "consumer_group",
    "rebalance",
    "consumption",
    "consumer",
    "environment",
    "instrumentor",
    "__init__",
    "inspection",
    "properties",
    "reading",
    "console",
    "command",
    "__main__",
    "testing.clock",
    "testing.cluster",
    "testing.configuration",
    "testing.serializing",
    "testing.subscription",
    "testing.positions",
    "testing.consumer",
    "testing.future",
    "testing.producer",
    "testing.tree",
    "testing.recorders",
    "testing",
]
SOURCE = Path(otelkafka.__file__).parent
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
}


def test_modules_import_only_from_those_before_them():
    """The layers are those of the list: a module imports nothing that stands after it."""
    assert set(MODULES) == set(ORDER)
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("otelkafka"):
                names = [node.module.removeprefix("otelkafka.")] if "." in node.module else [a.name for a in node.names]
                assert all(ORDER.index(name) < ORDER.index(module) for name in names), (path, names)


def test_only_who_tests_needs_the_sdk():
    """`otelkafka` imports neither OpenTelemetry's SDK nor `otelkafka.testing`, which does."""
    unwanted = "('opentelemetry.sdk', 'otelkafka.testing')"
    alone = f"import sys, otelkafka; print([name for name in sys.modules if name.startswith({unwanted})])"
    run = subprocess.run([sys.executable, "-c", alone], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
