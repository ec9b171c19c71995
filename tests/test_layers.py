"""The layers: what imports what."""

import ast
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
    "metrics",
    "guard",
    "destination",
    "w3c",
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
    "testing",
]


def test_modules_import_only_from_those_before_them():
    """The layers are those of the list: a module imports nothing that stands after it."""
    source = Path(otelkafka.__file__).parent
    assert {path.stem for path in source.glob("*.py")} == set(ORDER)
    for path in source.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("otelkafka"):
                names = [node.module.removeprefix("otelkafka.")] if "." in node.module else [a.name for a in node.names]
                assert all(ORDER.index(name) < ORDER.index(path.stem) for name in names), (path, names)
