"""Puts the help of every command, and every endpoint with its records, into the reference while it is built.

The page `reference/commands.md` holds a marker line; here it becomes one heading and one block per command,
exactly what `conveyor COMMAND --help` prints. The page `reference/http-api.md` holds another; it becomes the
table of endpoints, and a table of the fields of each record. Any page may show the fields of one record by a
marker that names it, and any page the keys of a table of `[tool.conveyor]`. So none can say what
the program does not.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

MARKER = "<!-- the help of every command -->"
API_MARKER = "<!-- every endpoint and its records -->"
SETTINGS_MARKER = re.compile(r"<!-- the settings in (\w+) -->")
FIELDS_MARKER = re.compile(r"<!-- the fields of (\w+) -->")
WIDTH = 100


def walk(command: click.Command, words: tuple[str, ...] = ("conveyor",)) -> Iterator[tuple[str, str]]:
    """Each command from ``command`` down as (its words, its help text), in the order of ``--help``."""
    context = click.Context(command, info_name=" ".join(words), terminal_width=WIDTH, max_content_width=WIDTH)
    yield " ".join(words), command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from walk(below, (*words, name))


def render_commands() -> str:
    """The reference as Markdown: a heading and the help text of every command."""
    from conveyor.cli import conveyor

    return "\n\n".join(f"## {words}\n\n```text\n{text.strip()}\n```" for words, text in walk(conveyor))


def render_endpoints() -> str:
    """The endpoints as a Markdown table: method, path, right, fields of the body or query, what it does."""
    from conveyor.domain.words.records import schema_of
    from conveyor.server.api.routes import ENDPOINTS

    lines = ["| method | path | right | fields | what |", "|---|---|---|---|---|"]
    for one in ENDPOINTS:
        body = schema_of(one.body) if one.body is not None else {"properties": {}}
        required = {*body.get("required", ()), *one.required_query}
        names = [
            f"`{name}`" if name in required else f"[`{name}`]" for name in (*one.query, *body["properties"])
        ]
        if one.document is not None:
            names.append(one.document.media_type)
        what = one.summary.rstrip(".")
        lines.append(f"| {one.method} | `{one.path}` | {one.right or '-'} | {', '.join(names)} | {what} |")
    return "\n".join(lines)


def render_records() -> str:
    """Every record as Markdown: a heading, what it is, a table of its fields."""
    return "\n\n".join(
        f"### {name}\n\n{schema['description']}\n\n{render_fields(name)}"
        for name, schema in sorted(_schemas().items())
    )


def render_fields(record: str) -> str:
    """The fields of one record as a Markdown table: name, what it holds, meaning."""
    schema = _schemas()[record]
    rows = ["| field | holds | meaning |", "|---|---|---|"]
    for field, inner in schema["properties"].items():
        left_out = "" if field in schema.get("required", ()) else ", may be left out"
        rows.append(f"| `{field}` | {_holds(inner)}{left_out} | {inner.get('description', '')} |")
    return "\n".join(rows)


def render_settings(record: str) -> str:
    """The keys of one table of ``[tool.conveyor]`` as a Markdown table: name, what it holds, meaning."""
    from conveyor.domain.words.records import schema_of
    from conveyor.project import declarations

    schema = schema_of(getattr(declarations, record))
    rows = ["| key | holds | meaning |", "|---|---|---|"]
    for key, inner in schema["properties"].items():
        must = ", required" if key in schema.get("required", ()) else ""
        rows.append(f"| `{key}` | {_holds(inner)}{must} | {inner.get('description', '')} |")
    return "\n".join(rows)


@cache
def _schemas() -> dict[str, Any]:
    from conveyor.server.api.openapi import openapi_document
    from conveyor.server.api.routes import ENDPOINTS

    schemas: dict[str, Any] = openapi_document(ENDPOINTS, version="")["components"]["schemas"]
    return schemas


def _holds(schema: dict[str, Any]) -> str:
    """What a field may hold, in words."""
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    if "anyOf" in schema:
        return " or ".join(_holds(one) for one in schema["anyOf"])
    if schema["type"] == "array":
        return f"list of {_holds(schema['items'])}"
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    return f"{schema.get('format', schema['type'])}"


def insert_commands(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace the marker by the reference (Sphinx event ``source-read``)."""
    del app, docname
    if MARKER in source[0]:
        source[0] = source[0].replace(MARKER, render_commands())
    if API_MARKER in source[0]:
        api = f"{render_endpoints()}\n\n## Records\n\n{render_records()}"
        source[0] = source[0].replace(API_MARKER, api)
    source[0] = SETTINGS_MARKER.sub(lambda found: render_settings(found[1]), source[0])
    source[0] = FIELDS_MARKER.sub(lambda found: render_fields(found[1]), source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the event with Sphinx."""
    app.connect("source-read", insert_commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
