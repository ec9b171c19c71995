"""Makes the tables of `prometheus.md` from rules and dashboard: `python -m docs.generate.alerts` writes them."""

import re
from collections.abc import Iterable
from pathlib import Path

from examples.prometheus.dashboard import ROWS
from examples.prometheus.quick import alerts

PAGE = Path(__file__).parents[1] / "prometheus.md"
TABLE = r"\| {} \|.*?(?=\n\n)"
NAMES = re.compile(r"(?:\w+\.)*\w+_\w+")


def page() -> str:
    """Return the page with the tables of today's rules and dashboard."""
    text = PAGE.read_text()
    for table in (_alerts(), _panels()):
        first = re.escape(table.split(" | ", maxsplit=1)[0].removeprefix("| "))
        text = re.sub(TABLE.format(first), table.replace("\\", r"\\"), text, count=1, flags=re.DOTALL)
    return text


def _alerts() -> str:
    rows = (
        (
            f"`{alert['alert']}`",
            alert["labels"]["severity"],
            alert.get("for", "at once"),
            *(NAMES.sub(r"`\g<0>`", alert["annotations"][name]) for name in ("description", "action")),
        )
        for alert in alerts()
    )
    return _table(("alert", "severity", "after", "what it means", "what to do"), rows)


def _panels() -> str:
    return _table(
        ("panel", "what it tells"), ((panel.title, panel.tells) for panels in ROWS.values() for panel in panels)
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
