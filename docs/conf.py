"""How the documentation is built: `tox run -e docs`."""

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

from otelkafka import __version__

project = "otelkafka"
author = "the otelkafka authors"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "otelkafka"
html_static_path = ["static"]
html_css_files = ["phone.css"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
default_role = "code"


PAGES_OF_THE_REPOSITORY = {"CHANGELOG.md": "changelog", "SECURITY.md": "security"}


def setup(app: Sphinx) -> None:
    """Have the site's pages of files that lie beside `docs`, to which the pages link as the repository is browsed."""
    app.connect("missing-reference", link_to_opentelemetry)
    app.connect("source-read", lambda _, name, source: source.__setitem__(0, with_links_of_the_site(name, source[0])))


def with_links_of_the_site(name: str, text: str) -> str:
    """Return a page whose links to files of the repository lead to the site's pages of them."""
    up = "../" * (name.count("/") + 1)
    for file, page in PAGES_OF_THE_REPOSITORY.items():
        text = text.replace(f"]({up}{file}", f"]({up[:-3]}site/{page}.md")
    return text


OPENTELEMETRY = "https://opentelemetry-python.readthedocs.io/en/latest"
MODULES = {"trace": "api/trace", "metrics": "api/metrics", "context": "api/context", "propagators": "api/propagate"}


def link_to_opentelemetry(_: Sphinx, __: object, node: pending_xref, text: nodes.Element) -> nodes.reference | None:
    """Return a link to the page of OpenTelemetry's documentation that describes a type."""
    package, _, rest = str(node.get("reftarget", "")).partition(".")
    page = MODULES.get(rest.partition(".")[0])
    if package != "opentelemetry" or page is None:
        return None
    return nodes.reference("", "", text, internal=False, refuri=f"{OPENTELEMETRY}/{page}.html")
