"""The lines on which the keys of a TOML document stand, for messages about its values.

``tomllib`` checks a document and gives its values, but not where they stand. This reader does the reverse: it
takes a document that ``tomllib`` has accepted and gives only places. So it may be lenient: whatever it
cannot place has the line of the table it is in.

Source: TOML 1.0.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

Path = tuple[str | int, ...]
"""Keys and positions in lists, from the top of the document."""

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r"""
    \"{3} (?:\\.|[^\\])*? \"{3,5}  # several lines
    | '{3} .*? '{3,5}
    | " (?:\\.|[^"\\\n])* "
    | ' [^'\n]* '
    """,
    re.DOTALL | re.VERBOSE,
)
_PLAIN = re.compile(r"[^,\]}\n#]*")


class KeyLines:
    """The line of each key and list item of a document; lines count from 1."""

    def __init__(self, text: str) -> None:
        """``text`` is a document that ``tomllib`` accepts."""
        self._text = text
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._lines: dict[Path, int] = {}
        self._at = 0
        self._read()

    def line_of(self, path: Path) -> int:
        """The line of a value, else of the nearest table around it; 1 for the document."""
        for length in range(len(path), 0, -1):
            line = self._lines.get(path[:length])
            if line is not None:
                return line
        return 1

    def _read(self) -> None:
        table: Path = ()
        counts: dict[Path, int] = {}
        while self._skip(_SPACE) < len(self._text):
            if not self._takes("["):
                self._pair(table)
                continue
            is_item = self._takes("[")
            keys = self._key()
            table = ()
            for position, key in enumerate(keys):
                table = (*table, key)
                if is_item and position == len(keys) - 1:
                    counts[table] = counts.get(table, 0) + 1
                    self._note(table)
                if table in counts:
                    table = (*table, counts[table] - 1)
                self._note(table)
            self._lines[table] = self._line()
            self._skip(re.compile(r"[ \t\]]*"))

    def _pair(self, table: Path) -> None:
        """One ``key = value``."""
        start = self._at
        path = table
        for key in self._key():
            path = (*path, key)
            self._note(path)
        self._skip(_BLANK)
        self._takes("=")
        self._value(path)
        self._at += self._at == start  # never stay where nothing was understood

    def _value(self, path: Path) -> None:
        self._skip(_BLANK)
        if self._takes("["):
            self._items(path)
        elif self._takes("{"):
            while not self._ends("}"):
                self._pair(path)
        elif (found := _STRING.match(self._text, self._at)) is not None:
            self._at = found.end()
        else:
            self._skip(_PLAIN)

    def _items(self, path: Path) -> None:
        position = 0
        while not self._ends("]"):
            start = self._at
            self._note((*path, position))
            self._value((*path, position))
            position += 1
            self._at += self._at == start

    def _ends(self, closing: str) -> bool:
        """Whether a list or an inline table ends here; skips what separates its parts."""
        self._skip(_SPACE)
        while self._takes(","):
            self._skip(_SPACE)
        return self._takes(closing) or self._at >= len(self._text)

    def _key(self) -> list[str]:
        keys = []
        while True:
            self._skip(_BLANK)
            if (quoted := _STRING.match(self._text, self._at)) is not None:
                keys.append(str(tomllib.loads(f"key = {quoted[0]}")["key"]))
                self._at = quoted.end()
            elif (bare := _BARE.match(self._text, self._at)) is not None:
                keys.append(bare[0])
                self._at = bare.end()
            else:
                return keys
            self._skip(_BLANK)
            if not self._takes("."):
                return keys

    def _note(self, path: Path) -> None:
        self._lines.setdefault(path, self._line())

    def _line(self) -> int:
        return bisect_right(self._starts, self._at)

    def _skip(self, pattern: re.Pattern[str]) -> int:
        found = pattern.match(self._text, self._at)
        self._at = found.end() if found is not None else self._at
        return self._at

    def _takes(self, sign: str) -> bool:
        is_here = self._text.startswith(sign, self._at)
        self._at += len(sign) * is_here
        return is_here
