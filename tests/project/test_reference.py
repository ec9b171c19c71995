"""What the code emits and offers is in the documentation, and the documentation speaks of nothing else."""

import inspect
import re
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import kafka
import pytest

import otelkafka
from otelkafka import ConsumerOptions, Options, ProducerOptions, testing
from tests.support.internals import semconv

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {path.name: path.read_text() for path in DOCS.glob("*.md")}
TEXT = "\n".join(PAGES.values())
NO_NAMES = ("SCHEMA_URL", "STABILITY_OPT_IN", "STABILITY_DUP", "SYSTEM_KAFKA", "HEADER_PREFIX")
EMITTED = {
    value
    for name, recorded in vars(semconv).items()
    if name.isupper() and name not in NO_NAMES
    for value in (recorded.values() if isinstance(recorded, dict) else [recorded])
}
OURS = re.compile(r"`(otelkafka\.[\w.]+)[`(]")


@pytest.mark.parametrize("name", sorted(EMITTED))
def test_name_that_is_emitted_is_documented(name):
    """Attributes, metrics, events, types of links and reasons stand in a page as code."""
    assert f"`{name}`" in TEXT, f"describe {name} in docs/spans.md, docs/metrics.md or docs/waiting.md"


@pytest.mark.parametrize("name", sorted(set(OURS.findall(TEXT))))
def test_name_of_ours_that_is_documented_is_there(name):
    """It is emitted, or it is Python's."""
    assert name in EMITTED or is_python(name), f"the documentation describes {name}, which is not there"


def is_python(name):
    """Whether a dotted name leads to a module or what is in one."""
    module, _, rest = name.rpartition(".")
    try:
        return hasattr(import_module(module), rest) or bool(import_module(name))
    except ImportError:
        return False


@pytest.mark.parametrize("name", [*otelkafka.__all__, *(f"testing.{name}" for name in testing.__all__)])
def test_public_name_is_in_the_reference(name):
    """With its docstring."""
    assert re.search(rf":: otelkafka\.{name}(\(\))?\n", PAGES["reference.md"])


def test_signatures_in_the_reference_are_those_of_the_client():
    """Of the newest kafka-python, which the page names."""
    if not kafka.__version__.startswith("3.0"):
        pytest.skip("the page has the signatures of kafka-python 3.0")
    aiokafka = pytest.importorskip("aiokafka")
    kinds = {
        "Producer": kafka.KafkaProducer,
        "Consumer": kafka.KafkaConsumer,
        "AIOKafkaProducer": aiokafka.AIOKafkaProducer,
        "AIOKafkaConsumer": aiokafka.AIOKafkaConsumer,
    }
    classes = re.split(r"autoclass:: otelkafka\.Traced", PAGES["reference.md"])[1:]
    shown = {
        (kinds[text.partition("(")[0]], name): [
            part.split("=")[0].strip() for part in arguments.replace("()", "").split(",") if part.strip()
        ]
        for text in classes
        if text.partition("(")[0] in kinds
        for name, arguments in re.findall(r"automethod:: (\w+)\((.*)\)\n", text)
    }
    assert len(shown) > 8
    for (kind, name), arguments in shown.items():
        expected = list(inspect.signature(getattr(kind, name)).parameters)[1:]
        assert [argument.lstrip("*") for argument in arguments] == expected, name


@pytest.mark.parametrize("side", [Options, ProducerOptions, ConsumerOptions])
def test_option_is_in_the_table_of_options(side):
    """Each of them, in the first column."""
    recorded = {name for line in first_cells("options.md") for name in re.findall(r"`(\w+)`", line)}
    assert {each.name for each in fields(side)} <= recorded


def test_variables_are_those_of_the_options():
    """Each option that text can express has one, and no other."""
    recorded = {name for line in first_cells("zero-code.md") for name in re.findall(r"`OTELKAFKA_(\w+)`", line)}
    both = {each.name: each for side in (ProducerOptions, ConsumerOptions) for each in fields(side)}
    plain = {name for name, each in both.items() if each.metadata["kind"] in (bool, int, float, str, tuple)}
    assert recorded == {name.upper() for name in plain}


@pytest.mark.parametrize("page", sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("*.md")))
def test_link_leads_somewhere(page):
    """Sphinx sees to those of the documentation."""
    links = re.findall(r"(?:\]\(|srcset=\"|src=\")([^)\"#:]+)[)\"#]", (ROOT / page).read_text())
    workflows = "../../actions/workflows/"  # where GitHub has them, beside the files of the repository
    files = [link.replace(workflows, ".github/workflows/").removesuffix("/badge.svg") for link in links]
    assert [file for file in files if not (ROOT / file).exists()] == []


def first_cells(page):
    return [line.split("|")[1] for line in PAGES[page].splitlines() if line.startswith("|")]
