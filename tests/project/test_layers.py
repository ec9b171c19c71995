"""The layers: which wing of the package imports which, and who imports a client library."""

import ast
import subprocess
import sys
from pathlib import Path

import otelkafka

ORDER = [
    {"headers"},
    {"_protocols"},
    {"options"},
    {"_telemetry"},
    {"_context"},
    {"_producing", "_consuming"},
    {"_clients"},
    {"instrumentor", "reporter", "_cli"},
]
"""The wings and the files beside them: each imports from those before it, or from itself."""
BEFORE_CLIENTS = {"headers", "_protocols", "options", "_telemetry", "_context"}
ONLY_BELOW_CLIENTS = {"reporter", "_cli"}
IMPORTED_BY = {
    "kafka": ("_clients/kafka_python", "reporter", "_cli", "testing"),
    "aiokafka": ("_clients/aiokafka", "testing/aiokafka", "testing/structs"),
    "confluent_kafka": ("_clients/confluent_kafka", "testing/confluent"),
}
CLIENT_LIBRARIES = set(IMPORTED_BY)
PRIVATE_CLOCK = ("otelkafka._telemetry", "clock")
"""What `testing` imports beside public names: `FakeClock` replaces it."""

SOURCE = Path(otelkafka.__file__).parent
MODULES = {path.relative_to(SOURCE).with_suffix("").as_posix(): path for path in SOURCE.rglob("*.py")}


def imports_of(path):
    """Module and name of each import, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)


def wing_of(module, name=None):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else name


def test_wings_import_only_from_those_before_them():
    """headers < _protocols < options < _telemetry < _context < _producing, _consuming < _clients < instrumentor."""
    rank = {name: at for at, names in enumerate(ORDER) for name in names}
    for module, path in MODULES.items():
        wing = module.split("/")[0]
        for imported, name in imports_of(path):
            if imported.split(".")[0] != "otelkafka" or wing in {"testing", "__init__", "__main__"}:
                continue
            other = wing_of(imported, name)
            assert other == wing or rank[other] < rank[wing], (module, imported, name)
            if wing in ONLY_BELOW_CLIENTS:
                assert other == wing or other in BEFORE_CLIENTS, (module, imported, name)


def test_every_module_is_in_a_wing():
    """The folder list shows the architecture: nothing stands beside it."""
    known = {name for names in ORDER for name in names} | {"testing", "__init__", "__main__"}
    assert {module.split("/")[0] for module in MODULES} == known


def test_fakes_use_public_names_only():
    """What `otelkafka.testing` can do, a user can write; the clock that it replaces is the exception."""
    for module, path in MODULES.items():
        if module.startswith("testing/"):
            ours = {each for each in imports_of(path) if each[0].split(".")[0] == "otelkafka"}
            private = {
                each for each in ours if not each[0].startswith("otelkafka.testing") and each != ("otelkafka", None)
            }
            assert private <= {PRIVATE_CLOCK}, (module, private)


def test_the_engine_knows_no_client_library():
    """A face alone imports its client library; so do those that are about kafka-python."""
    for module, path in MODULES.items():
        used = {imported.split(".")[0] for imported, _ in imports_of(path)} & CLIENT_LIBRARIES
        allowed = {library for library, places in IMPORTED_BY.items() if module.startswith(places)}
        assert used <= allowed, (module, used)


def test_private_attributes_of_opentelemetry_are_read_in_three_places():
    """What another release of OpenTelemetry may have elsewhere: the API's globals, metrics, and all else."""
    names = {
        "_telemetry/api": ('"_HTTP_TEXT_FORMAT"', '"_TRACER_PROVIDER"', '"_METER_PROVIDER"'),
        "_context/sdk": (
            "_RUNTIME_CONTEXT",
            "_SUPPRESS_INSTRUMENTATION_KEY",
            "_propagators",
            "_span_processors",
            "_span_limits",
            "._attributes._dict",
        ),
        "_telemetry/tallies": (
            "_measurement_consumer",
            "_reader_storages",
            "_sdk_config",
            "_attributes_aggregation",
            "._boundaries",
        ),
    }
    for module, path in MODULES.items():
        text = path.read_text()
        found = [name for place, theirs in names.items() if module != place for name in theirs if name in text]
        assert not found, (module, found)


def test_only_who_tests_needs_the_sdk():
    """`otelkafka` imports neither OpenTelemetry's SDK nor `otelkafka.testing`, which does."""
    unwanted = "('opentelemetry.sdk', 'otelkafka.testing')"
    alone = f"import sys, otelkafka; print([name for name in sys.modules if name.startswith({unwanted})])"
    run = subprocess.run([sys.executable, "-c", alone], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
