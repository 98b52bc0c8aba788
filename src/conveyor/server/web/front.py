"""The front page: the indexes, and the line that makes pip use each of them."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.domain.indexes.definitions import Index

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Conveyor</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 3rem auto; padding: 0 1rem; }}
pre {{ background: #f2f2f0; padding: .6rem .8rem; overflow-x: auto; }}
dt {{ font-weight: 600; margin-top: 1.5rem; }} dd {{ margin: 0; }}
@media (prefers-color-scheme: dark) {{
  body {{ background: #161616; color: #ddd; }} pre {{ background: #222; }}
}}
</style>
</head>
<body>
<h1>Conveyor</h1>
<p>Packages of this store, index by index.</p>
<dl>
{entries}
</dl>
</body>
</html>
"""

_ENTRY = """<dt><a href="{path}">{name}</a></dt>
<dd>{what}
<pre>pip install --index-url {url} NAME</pre></dd>"""


def front_page(indexes: Iterable[Index], *, base_url: str) -> bytes:
    """The page as UTF-8 HTML; ``base_url`` is how the reader's browser reached the store, without a slash."""
    entries = "\n".join(
        _ENTRY.format(
            path=f"{index.name}/simple/",
            name=escape(index.name),
            what=escape(_what(index)),
            url=escape(f"{base_url}/{index.name}/simple/"),
        )
        for index in indexes
    )
    return _PAGE.format(entries=entries).encode()


def _what(index: Index) -> str:
    if index.kind == "mirror":
        return "A mirror of another index."
    entrance = "Accepts uploads." if index.mode == "uploads" else "Entered by promotion only."
    gates = f" Gates: {', '.join(index.gates)}." if index.gates else ""
    bases = f" Also shows: {', '.join(index.bases)}." if index.bases else ""
    return entrance + gates + bases
