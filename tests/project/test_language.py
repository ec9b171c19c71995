"""The pages are in plain technical English, and are found by the words that people search for."""

import re
import tokenize
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
VAGUE = re.compile(
    r"\b(tell|tells|told|hear|hears|heard|whoever|nobody|somebody|heeds?|anew|affair|all the same|of its own accord)\b",
    re.IGNORECASE,
)
CODE = [
    path
    for folder in ("src", "testbroker", "examples", "benchmarks", "docs/generate", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != Path(__file__)
]
VAGUE_IN_CODE = re.compile(
    r"\b(tells?|told|telling|hears?|whoever|heeds?|anew|affair|all the same|of its own accord)\b", re.IGNORECASE
)
SEARCHED = (
    "fastapi",
    "flask",
    "django",
    "celery",
    "gunicorn",
    "overhead",
    "DLQ",
    "p95",
    "latency",
    "kubernetes",
    "MSK",
    "sentry",
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_uses_the_standard_word(page):
    """A span records, sets or reports; it tells nothing. The glossary has the words."""
    prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
    assert [found[0] for found in VAGUE.finditer(prose)] == [], "see docs/glossary.md for the standard word"


def test_code_uses_the_standard_word():
    """In names, docstrings, messages and comments, of the tests too."""
    found = []
    for path in CODE:
        with path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                words = token.string.replace("_", " ")
                found += [
                    f"{path.relative_to(ROOT)}:{token.start[0]} {word[0]}" for word in VAGUE_IN_CODE.finditer(words)
                ]
    assert found == [], "see docs/glossary.md for the standard word"


@pytest.mark.parametrize("word", SEARCHED)
def test_word_that_people_search_for_finds_a_page(word):
    assert any(re.search(rf"\b{word}\b", page.read_text(), re.IGNORECASE) for page in PAGES)


def test_each_term_of_the_glossary_is_used():
    """A word that no other page uses is not a term of this project."""
    terms = re.findall(r"^\| ([^|(]+?)(?: \([^|]*\))? \|", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    others = "\n".join(page.read_text().lower() for page in PAGES if page.name != "glossary.md")
    words = [word.strip() for term in terms if term not in ("term", "---") for word in term.split(",")]
    assert [word for word in words if word.lower() not in others] == []
