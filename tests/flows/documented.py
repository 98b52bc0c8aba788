"""What the how-to guide tells users of a client to write and to type, taken from the guide itself."""

from __future__ import annotations

from dataclasses import dataclass

from docs.markdown import page

GUIDE = "docs/how-to/publish-and-install.md"
_HOST = "127.0.0.1:8080"


@dataclass(frozen=True)
class Documented:
    """One section of the guide, for a store at another place than the guide's."""

    settings: str
    """What is to be written into the project's file; empty when there is nothing."""
    commands: tuple[str, ...]
    """Lines for a shell that knows ``TOKEN``."""


def documented(heading: str, *, store_url: str, index: str) -> Documented:
    """The section under a heading, with this store and this index instead of the guide's."""
    tokens = page(GUIDE).tokens()
    begin = next(place for place, token in enumerate(tokens) if token.content == heading)
    blocks: dict[str, str] = {}
    for token in tokens[begin + 1 :]:
        if token.type == "heading_open":
            break
        if token.type == "fence":
            blocks[token.info] = token.content
    host = store_url.partition("://")[2]

    def here(text: str) -> str:
        for shown in ("stable/simple", "unstable/legacy"):
            text = text.replace(f"{_HOST}/{shown}", f"{host}/{index}/{shown.rpartition('/')[2]}")
        assert _HOST not in text
        return text

    return Documented(here(blocks.get("toml", "")), tuple(here(blocks["sh"]).splitlines()))
