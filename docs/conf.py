"""How the documentation is built: Sphinx with furo and MyST, without the network.

There is no intersphinx on purpose: a build must give the same pages on a machine without a connection.
"""

from __future__ import annotations

from conveyor import installed_version

project = "Conveyor"
author = "the Conveyor contributors"
copyright = author  # noqa: A001 - Sphinx reads this name
release = version = installed_version()

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "_ext"]
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
"""Headings down to this level can be linked to, as `page.md#heading-in-lower-case`."""

html_theme = "furo"
html_title = f"Conveyor {release}"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
