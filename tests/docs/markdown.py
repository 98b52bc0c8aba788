"""Reads the Markdown pages of this repository: links, headings, shell blocks, tables."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
SHELL_LANGUAGES = ("sh", "console")


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        """Its path below the repository's root."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def text(self) -> str:
        """Its source."""
        return self.path.read_text(encoding="utf-8")

    def tokens(self) -> list[Token]:
        """What the CommonMark parser (with tables) makes of it."""
        return MarkdownIt("commonmark").enable("table").parse(self.text)

    def links(self) -> Iterator[str]:
        """The targets of its links and images, as written."""
        for token in _flatten(self.tokens()):
            if token.type == "link_open":
                yield str(token.attrs["href"])
            elif token.type == "image":
                yield str(token.attrs["src"])

    def anchors(self) -> frozenset[str]:
        """What may stand after `#` in a link to this page."""
        tokens = self.tokens()
        return frozenset(
            slug(tokens[place + 1].content)
            for place, token in enumerate(tokens)
            if token.type == "heading_open"
        )

    def shell_lines(self) -> Iterator[str]:
        """Command lines of its shell blocks, without prompts, comments, output; continuations joined."""
        for token in self.tokens():
            if token.type != "fence" or token.info.strip() not in SHELL_LANGUAGES:
                continue
            has_prompts = token.info.strip() == "console"
            for line in token.content.replace("\\\n", " ").splitlines():
                if has_prompts and not line.startswith("$ "):
                    continue
                command = line.removeprefix("$ ").strip()
                if command and not command.startswith("#"):
                    yield command

    def rows(self) -> Iterator[tuple[str, ...]]:
        """The body rows of its tables, each cell as Markdown source."""
        row: list[str] = []
        in_body = False
        for place, token in enumerate(tokens := self.tokens()):
            if token.type in ("tbody_open", "tbody_close"):
                in_body = token.type == "tbody_open"
            elif token.type == "tr_open":
                row = []
            elif token.type == "td_open" and in_body:
                row.append(tokens[place + 1].content)
            elif token.type == "tr_close" and in_body:
                yield tuple(row)


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub and MyST make it."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")


@cache
def repository_files() -> tuple[Path, ...]:
    """Every file git tracks or would track; in a tree without git, every file outside caches."""
    try:
        done = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        names = [name for name in done.stdout.decode().split("\0") if name]
        files = [ROOT / name for name in names]
    except (OSError, subprocess.CalledProcessError):  # an unpacked sdist
        hidden = re.compile(r"(^|/)(\.|_build/|__pycache__/|build/|dist/)")
        files = [file for file in ROOT.rglob("*") if not hidden.search(file.relative_to(ROOT).as_posix())]
    return tuple(sorted(file for file in files if file.is_file()))


@cache
def pages() -> tuple[Page, ...]:
    """Every Markdown page of the repository, templates of generated projects excluded."""
    return tuple(
        Page(file)
        for file in repository_files()
        if file.suffix == ".md" and "templates" not in file.relative_to(ROOT).parts
    )


def page(name: str) -> Page:
    """The page at that path below the root."""
    return Page(ROOT / name)


def _flatten(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _flatten(token.children or [])
