"""Puts the code of the examples into the pages that show it: `python -m docs.generate.code` writes them.

A page marks the place with `<!-- code: FILE NAME... -->` and `<!-- end of code -->`. A name is that of a function, a
class or a method in the file. `from TEXT` is the part of the file from the first line that begins with this text.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MARKED = re.compile(r"(?P<mark><!-- code: (?P<file>\S+) (?P<what>.+?) -->\n).*?(?=<!-- end of code -->)", re.DOTALL)


def pages() -> list[Path]:
    """Return the pages that show code of examples."""
    return sorted(path for path in DOCS.rglob("*.md") if MARKED.search(path.read_text()))


def with_code(text: str) -> str:
    """Return the text of a page with today's code of the examples."""
    return MARKED.sub(
        lambda found: f"{found['mark']}\n```python\n{code(ROOT / found['file'], found['what'])}\n```\n\n", text
    )


def code(file: Path, what: str) -> str:
    """Return a part of a file.

    Args:
        file: the file.
        what: names with spaces between them, or `from` and the beginning of a line.

    Raises:
        LookupError: it is not there.
    """
    source = file.read_text()
    if what.startswith("from "):
        return source[source.index(f"\n{what.removeprefix('from ')}") :].strip()
    return "\n\n\n".join(_definition(source, name) for name in what.split())


def _definition(source: str, name: str) -> str:
    node: ast.AST | None = ast.parse(source)
    for part in name.split("."):
        children = ast.iter_child_nodes(node) if node else ()
        node = next((each for each in children if getattr(each, "name", None) == part), None)
    if node is None:
        msg = f"there is no {name}"
        raise LookupError(msg)
    return _dedented(ast.get_source_segment(source, node, padded=True) or "")


def _dedented(text: str) -> str:
    indent = len(text) - len(text.lstrip(" "))
    return "\n".join(line[indent:] for line in text.splitlines())


def main() -> None:
    """Write the pages."""
    for page in pages():
        page.write_text(with_code(page.read_text()))


if __name__ == "__main__":
    main()
