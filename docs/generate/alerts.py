"""Makes parts of `prometheus.md` from rules and dashboard: `python -m docs.generate.alerts` writes them."""

import re
from pathlib import Path
from typing import Any

from examples.prometheus.dashboard import ROWS
from examples.prometheus.quick import alerts

PAGE = Path(__file__).parents[1] / "prometheus.md"
NAMES = re.compile(r"(?<![`\w.])(?:\w+\.)*\w+_\w+(?![`\w])")


def page() -> str:
    """Return the page with the sections of today's rules and the table of today's dashboard."""
    text = PAGE.read_text()
    parts = {"alerts": "\n".join(map(_section, alerts())), "panels": _panels()}
    for name, part in parts.items():
        start, end = f"<!-- {name}: python -m docs.generate.alerts -->\n", f"<!-- end of {name} -->"
        before, _, rest = text.partition(start)
        text = f"{before}{start}{part}\n{end}{rest.partition(end)[2]}"
    return text


def _section(alert: dict[str, Any]) -> str:
    """Return an alert as a section: what it means, what to do, and its rule."""
    meaning, action = (NAMES.sub(r"`\g<0>`", alert["annotations"][name]) for name in ("description", "action"))
    after = f"after {alert['for']}" if "for" in alert else "at once"
    expression = re.sub(r"\s+(and on|/|>|or) ", r"\n\1 ", alert["expr"])
    return f"""### {alert["alert"]}

*{alert["labels"]["severity"]}, {after}*

{meaning}

**What to do:** {action}

```text
{expression}
```
"""


def _panels() -> str:
    rows = [("panel", "shows"), ("---", "---")]
    rows += [(panel.title, panel.description) for panels in ROWS.values() for panel in panels]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
