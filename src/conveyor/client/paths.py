"""Paths of the API."""

from __future__ import annotations

from urllib.parse import quote, urlencode


def api_path(*parts: str | int, **query: str | int | None) -> str:
    """The path of these parts; what is ``None`` is left out of the query.

    A slash in a name begins no other part.
    """
    path = "/".join(["/api/v1", *(quote(str(part), safe="") for part in parts)])
    asked = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(asked)}" if asked else path
