"""Documents of other indexes, read as they arrive: members of a JSON object, links of an HTML page.

Parsed parts are passed on and dropped, so that a document takes no more memory than the parts its caller
keeps. A value, a tag or a comment that does not end is refused at ``LONGEST_PIECE`` characters. Text comes in
pieces that may end anywhere; small pieces cost more, because unfinished parts are scanned again.
"""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator

LONGEST_PIECE = 1024 * 1024
"""Characters of one value, tag or comment. The largest entry of a page has some 3,000."""

LONGEST_LINK_TEXT = 1024
"""Characters of a link's text that are kept; a filename has fewer."""


MOST_PIECES = 400_000
"""Values or tags of one document; 100,000 files are 200,000 tags, or as many values."""


class EndlessDocument(ValueError):
    """A document is over a limit; the message says which."""


class JsonObject:
    """A JSON object; its members are passed on one by one, lists item by item."""

    def __init__(
        self,
        on_member: Callable[[str, Any], None],
        on_list: Callable[[str], Callable[[Any], None] | None],
    ) -> None:
        """``on_member`` gets each member except lists; ``on_list`` returns the receiver of its items."""
        self._on_member = on_member
        self._on_list = on_list
        self._text = ""
        self._at = self._values = 0
        self._is_last = False
        self._reading = self._read()
        next(self._reading)

    def feed(self, text: str, *, is_last: bool = False) -> None:
        """Read on.

        Raises:
            ValueError, TypeError, RecursionError: it is not a JSON object.
            EndlessDocument: a value is too long, or there are too many.
        """
        self._text = self._text[self._at :] + text
        self._at = 0
        self._is_last = is_last
        next(self._reading, None)

    def _read(self) -> Generator[None, None, None]:
        """The grammar of an object (RFC 8259); yields when it needs more text."""
        yield from self._mark("{")
        if (yield from self._next()) == "}":
            self._at += 1
        else:
            mark = ","
            while mark == ",":
                key = yield from self._value()
                if not isinstance(key, str):
                    raise TypeError("a name in an object is a text")
                yield from self._mark(":")
                if (yield from self._next()) == "[":
                    yield from self._items(key)
                else:
                    self._on_member(key, (yield from self._value()))
                mark = yield from self._mark(",}")
        while True:
            if (yield from self._next(or_end=True)):
                raise ValueError("something follows the object")
            yield

    def _items(self, key: str) -> Generator[None, None, None]:
        yield from self._mark("[")
        on_item = self._on_list(key)
        if (yield from self._next()) == "]":
            self._at += 1
            return
        mark = ","
        while mark == ",":
            item = yield from self._value()
            if on_item is not None:
                on_item(item)
            mark = yield from self._mark(",]")

    def _value(self) -> Generator[None, None, Any]:
        """The next value; a number ends where something else begins."""
        yield from self._next()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
                is_whole = not isinstance(value, int | float) or self._text[end : end + 1] in _AFTER_NUMBERS
            except json.JSONDecodeError:
                if self._is_last:
                    raise
                is_whole = False
            if is_whole:
                self._at = end
                self._values += 1
                if self._values > MOST_PIECES:
                    raise EndlessDocument(f"more than {MOST_PIECES:,} values")
                return value
            if len(self._text) - self._at > LONGEST_PIECE:
                raise EndlessDocument(f"a value of more than {LONGEST_PIECE:,} characters")
            yield from self._more()

    def _mark(self, marks: str) -> Generator[None, None, str]:
        """Skip the next character, which must be one of these."""
        found = yield from self._next()
        if found not in marks:
            raise ValueError(f"one of {marks} has to come next")
        self._at += 1
        return found

    def _next(self, *, or_end: bool = False) -> Generator[None, None, str]:
        """The next character that is not blank; empty at the end of the text, if it may end here."""
        while True:
            self._at = _BLANKS.match(self._text, self._at).end()  # type: ignore[union-attr]  # it matches
            if self._at < len(self._text):
                return self._text[self._at]
            if or_end:
                return ""
            yield from self._more()

    def _more(self) -> Generator[None, None, None]:
        if self._is_last:
            raise ValueError("it ends in the middle")
        yield


_DECODER = json.JSONDecoder()
_BLANKS = re.compile(r"[ \t\r\n]*")
_AFTER_NUMBERS = frozenset(" \t\r\n,]}")


class HtmlPage(HTMLParser):
    """A page of links: each with its text and the attributes that were asked for."""

    def __init__(
        self,
        url: str,
        *,
        attributes: Collection[str],
        metas: Collection[str],
        on_link: Callable[[str, dict[str, str]], None],
    ) -> None:
        """``attributes`` of links and names of ``metas`` that count; ``on_link`` gets text and attributes."""
        super().__init__(convert_charrefs=True)
        self.base_url = url
        """The base URL of links: certain only once the whole page has been read."""
        self.meta: dict[str, str] = {}
        self._attributes = attributes
        self._metas = metas
        self._on_link = on_link
        self._link: dict[str, str] | None = None
        self._pieces: list[str] = []
        self._has_base = self._is_in_link = False
        self._tags = 0

    def read(self, text: str) -> None:
        """Read on.

        Raises:
            EndlessDocument: a tag or a comment is too long, or there are too many.
        """
        self.feed(text)
        if len(self.rawdata) > LONGEST_PIECE:
            raise EndlessDocument(f"a tag or comment of more than {LONGEST_PIECE:,} characters")

    def finish(self) -> None:
        """Pass on the last link.

        The parser's own ``close`` is not called: for a tag without an end it searches the rest of the text,
        again at each "<". Such a rest has no meaning.
        """
        self._hand_over()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An opening tag."""
        self._tags += 1
        if self._tags > MOST_PIECES:
            raise EndlessDocument(f"more than {MOST_PIECES:,} tags")
        if tag == "a":
            self._hand_over()
            self._link = {name: value or "" for name, value in attrs if name in self._attributes}
            self._is_in_link = True
        elif tag == "meta":
            attributes = dict(attrs)
            name = attributes.get("name") or ""
            if name in self._metas:
                self.meta.setdefault(name, attributes.get("content") or "")
        elif tag == "base" and not self._has_base:
            target = dict(attrs).get("href")
            if target is not None:
                self.base_url = urljoin(self.base_url, target.strip())
                self._has_base = True

    def handle_endtag(self, tag: str) -> None:
        """A closing tag."""
        if tag == "a":
            self._is_in_link = False

    def handle_data(self, data: str) -> None:
        """Text between tags."""
        if self._is_in_link and sum(map(len, self._pieces)) < LONGEST_LINK_TEXT:
            self._pieces.append(data[:LONGEST_LINK_TEXT])

    def _hand_over(self) -> None:
        if self._link is not None:
            self._on_link("".join(self._pieces).strip(), self._link)
        self._link = None
        self._pieces.clear()
