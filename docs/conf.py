"""How the documentation is built: `tox run -e docs`."""

from otelkafka import __version__

project = "otelkafka"
author = "the otelkafka authors"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "otelkafka"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
