"""Tokens, as they are when they are made."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class NewToken:
    """A token that was just made."""

    id: int
    secret: str = field(repr=False)
    """What its user sends; nobody can read it again."""
