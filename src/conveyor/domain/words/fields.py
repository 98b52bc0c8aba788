"""Fields of a JSON object that somebody else wrote: read one by one, every fault named at once.

::

    fields = Fields(body, what="a user")
    name = fields.text("name")
    scopes = fields.texts("scopes", default=())
    fields.finish()                     # raises InvalidInput with all faults

After a fault a reader returns an empty value of its type, so that reading goes on; ``finish`` then raises.
"""

from __future__ import annotations

import re
from typing import Any, overload

from conveyor.domain.words.records import read_json
from conveyor.errors import InvalidInput

MAX_TEXT_LENGTH = 4096
LARGEST_COUNT = 2**63 - 1
"""The largest number that a column of a database can hold."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MISSING = object()


def read_json_object(text: bytes, *, what: str) -> dict[str, Any]:
    """The JSON object in ``text``; raises InvalidInput as ``read_json`` does, and if it is not an object."""
    value = read_json(text, what=what)
    if not isinstance(value, dict):
        raise InvalidInput(f"{what} is not a JSON object")
    return value


class Fields:
    """Reads the fields of one JSON object; parts of it share its list of faults."""

    def __init__(
        self, value: object, *, what: str, prefix: str = "", faults: list[str] | None = None
    ) -> None:
        self.what = what
        self.faults: list[str] = [] if faults is None else faults
        self._prefix = prefix
        self._asked: set[str] = set()
        self._value: dict[str, Any] = {}
        if isinstance(value, dict):
            self._value = value
        else:
            self.faults.append(f"{prefix.rstrip('.') or what} is not an object")

    def fault(self, name: str, problem: str) -> None:
        """Note that field ``name`` has a problem, such as ``is not a text``."""
        self.faults.append(f"{self._prefix}{name} {problem}")

    def finish(self, *, is_closed: bool = False) -> None:
        """Raise InvalidInput if there were faults; ``is_closed``: an unknown field is one."""
        if is_closed:
            known = ", ".join(sorted(self._asked))
            for name in self._value:
                if name not in self._asked:
                    self.fault(name[:100], f"is unknown here (known: {known})")
        if self.faults:
            count = "a fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
            detail = f": {self.faults[0]}" if len(self.faults) == 1 else ""
            raise InvalidInput(f"{self.what} has {count}{detail}", faults=self.faults)

    def text(self, name: str, *, max_length: int = MAX_TEXT_LENGTH) -> str:
        """A text that is not empty."""
        value = self._get(name)
        if value is _MISSING or value is None:
            self.fault(name, "is missing")
            return ""
        return self._text(name, value, max_length=max_length)

    def optional_text(self, name: str, *, max_length: int = MAX_TEXT_LENGTH) -> str | None:
        """A text that is not empty, or ``None`` when the field is missing or null."""
        value = self._get(name)
        if value is _MISSING or value is None:
            return None
        return self._text(name, value, max_length=max_length)

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of ``choices``."""
        value = self.text(name)
        if value and value not in choices:
            self.fault(name, f'is "{value[:100]}", not one of {", ".join(choices)}')
            return ""
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self._get(name)
        if value is _MISSING:
            return default
        if not isinstance(value, bool):
            self.fault(name, "is neither true nor false")
            return default
        return value

    def count(self, name: str) -> int:
        """A whole number, zero or more, that a row can hold."""
        value = self._get(name)
        if value is _MISSING:
            self.fault(name, "is missing")
            return 0
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            self.fault(name, "is not a whole number of zero or more")
            return 0
        if value > LARGEST_COUNT:
            self.fault(name, f"is larger than {LARGEST_COUNT}")
            return 0
        return value

    def sha256(self, name: str) -> str:
        """A SHA-256 digest in lower case hexadecimal."""
        return self._matching(name, self.text(name), _SHA256, "is not a SHA-256 digest in hexadecimal")

    def optional_sha256(self, name: str) -> str | None:
        """A SHA-256 digest, or ``None`` when the field is missing or null."""
        value = self.optional_text(name)
        if value is None:
            return None
        return self._matching(name, value, _SHA256, "is not a SHA-256 digest in hexadecimal")

    def commit(self, name: str) -> str:
        """The full id of a git commit, SHA-1 or SHA-256."""
        return self._matching(name, self.text(name), _COMMIT, "is not the full id of a git commit")

    @overload
    def texts(self, name: str) -> tuple[str, ...]: ...
    @overload
    def texts(self, name: str, *, default: tuple[str, ...]) -> tuple[str, ...]: ...
    @overload
    def texts(self, name: str, *, default: None) -> tuple[str, ...] | None: ...
    def texts(self, name: str, *, default: object = _MISSING) -> tuple[str, ...] | None:
        """A list of texts, none of them empty; ``default`` when the field is missing or null."""
        value = self._get(name)
        if value is _MISSING or value is None:
            if default is _MISSING:
                self.fault(name, "is missing")
                return ()
            return default  # type: ignore[return-value] # the overloads say what it is
        if not isinstance(value, list):
            self.fault(name, "is not a list of texts")
            return ()
        return tuple(
            self._text(f"{name}[{i}]", one, max_length=MAX_TEXT_LENGTH) for i, one in enumerate(value)
        )

    def part(self, name: str) -> Fields:
        """The object in a field."""
        value = self._get(name)
        prefix = f"{self._prefix}{name}."
        if value is _MISSING:
            self.fault(name, "is missing")
            return Fields({}, what=self.what, prefix=prefix, faults=[])
        return Fields(value, what=self.what, prefix=prefix, faults=self.faults)

    def parts(self, name: str) -> tuple[Fields, ...]:
        """The objects in a list; a missing list is a fault."""
        value = self._get(name)
        if not isinstance(value, list):
            self.fault(name, "is missing" if value is _MISSING else "is not a list")
            return ()
        return tuple(
            Fields(one, what=self.what, prefix=f"{self._prefix}{name}[{number}].", faults=self.faults)
            for number, one in enumerate(value)
        )

    def anything(self, name: str) -> object:
        """The field's raw value, ``None`` if it is missing; the caller checks its type."""
        value = self._get(name)
        return None if value is _MISSING else value

    def has(self, name: str) -> bool:
        """Whether the field is present, even if null."""
        return self._get(name) is not _MISSING

    def _get(self, name: str) -> object:
        self._asked.add(name)
        return self._value.get(name, _MISSING)

    def _text(self, name: str, value: object, *, max_length: int) -> str:
        if not isinstance(value, str):
            self.fault(name, "is not a text")
        elif not value:
            self.fault(name, "is empty")
        elif len(value) > max_length:
            self.fault(name, f"is longer than {max_length} characters")
        elif "\x00" in value:
            self.fault(name, "holds a NUL character")
        else:
            return value
        return ""

    def _matching(self, name: str, value: str, pattern: re.Pattern[str], problem: str) -> str:
        if value and not pattern.fullmatch(value):
            self.fault(name, problem)
            return ""
        return value
