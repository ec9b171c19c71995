"""What the build adds to the metadata: the README and its links as a package index shows them.

Links in README are relative, which works wherever the repository is browsed. A package index cannot resolve them. So
the release workflow, where GitHub names the repository, makes them absolute and adds the project's URLs.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

RELATIVE = re.compile(r"""(\]\(|src="|srcset=")(?!https?:|#)([^)"]+)""")
PICTURES = (".png", ".svg")


class Links(MetadataHookInterface):
    """Sets `readme` and `urls`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add them."""
        text = (Path(self.root) / "README.md").read_text()
        if repository := os.environ.get("GITHUB_REPOSITORY"):
            home = f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{repository}"
            at = os.environ.get("GITHUB_REF_NAME", "main")
            text = RELATIVE.sub(lambda found: found[1] + absolute(found[2], home, at), text)
            metadata["urls"] = {
                "Homepage": home,
                "Documentation": f"{home}/blob/{at}/docs/index.md",
                "Changelog": f"{home}/blob/{at}/CHANGELOG.md",
                "Issues": f"{home}/issues",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def absolute(link: str, home: str, at: str) -> str:
    """Return where a relative link of README leads in a repository at a tag or branch."""
    if link.startswith("../../"):  # beside the files: the page of a workflow
        return f"{home}/{link.removeprefix('../../')}"
    return f"{home}/{'raw' if link.endswith(PICTURES) else 'blob'}/{at}/{link}"
