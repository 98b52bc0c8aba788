"""Writes the help of every command, and the tables of endpoints, records and settings, into the reference.

    make map

A page says by a comment what stands below it: the help of every command, every endpoint and its records, the
fields of one record, the settings in one table of `[tool.conveyor]`, the facts of one kind of evidence. What
is between that comment and the next `<!-- until here by make map -->` is written anew: it can be read in the
repository as well, and a test keeps it equal to the program.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = Path(__file__).resolve().parents[1] / "reference"
END = "<!-- until here by make map -->"
_PLACE = re.compile(
    r"<!-- (?P<what>the help of every command|every endpoint and its records|every gate|the settings in|"
    r"the fields of|the facts in)"
    rf"(?: (?P<name>\w+))? -->(?:\n\n(?:(?!<!-- ).)*?\n\n{END})?",
    re.DOTALL,
)
WIDTH = 100


def walk(command: click.Command, words: tuple[str, ...] = ("conveyor",)) -> Iterator[tuple[str, str]]:
    """Each command from ``command`` down as (its words, its help text), in the order of ``--help``."""
    from conveyor.cli.lazy import CONTEXT_SETTINGS

    settings = CONTEXT_SETTINGS | {"terminal_width": WIDTH, "max_content_width": WIDTH}
    context = click.Context(command, info_name=" ".join(words), **settings)
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


def render_gates() -> str:
    """Every gate as a Markdown table: name, when it passes, the settings of a policy that it reads."""
    from conveyor.domain.releases.gates import GATES

    rows = ["| gate | passes when | settings |", "|---|---|---|"]
    for name, gate in GATES.items():
        rows.append(
            f"| `{name}` | {gate.passes_when} | {', '.join(f'`{one}`' for one in gate.reads) or '-'} |"
        )
    return "\n".join(rows)


def render_facts(record: str) -> str:
    """The fields of a predicate of evidence as a Markdown table; in those of an object there are dots."""
    from conveyor.domain.releases import evidence
    from conveyor.domain.words.records import records_in, schema_of

    schemas = {one.__name__: schema_of(one) for one in records_in(getattr(evidence, record))}
    rows = ["| field | holds | meaning |", "|---|---|---|"]

    def add(name: str, before: str) -> None:
        required = schemas[name].get("required", ())
        for field, inner in schemas[name]["properties"].items():
            holds, inside = _holds(inner), set(re.findall(r"`(\w+)`", _holds(inner))) & schemas.keys()
            for one in inside:
                holds = holds.replace(f"`{one}`", "objects" if holds.startswith("list") else "object")
            left_out = "" if field in required else ", may be left out"
            rows.append(f"| `{before}{field}` | {holds}{left_out} | {inner.get('description', '')} |")
            for one in inside:
                add(one, f"{before}{field}.")

    add(record, "")
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


def filled(page: str) -> str:
    """A page with everything written anew that stands below such a comment."""

    def write(place: re.Match[str]) -> str:
        what, name = place["what"], place["name"]
        head = f"<!-- {what}{f' {name}' if name else ''} -->"
        return f"{head}\n\n{_RENDERERS[what](name)}\n\n{END}"

    return _PLACE.sub(write, page)


_RENDERERS = {
    "the help of every command": lambda _: render_commands(),
    "every endpoint and its records": lambda _: f"{render_endpoints()}\n\n## Records\n\n{render_records()}",
    "the settings in": render_settings,
    "the fields of": render_fields,
    "every gate": lambda _: render_gates(),
    "the facts in": render_facts,
}


def main() -> None:
    """Rewrite the pages."""
    for path in sorted(PAGES.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if (new := filled(text)) != text:
            path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
