"""Licences: what a file declares, and whether it is allowed.

A licence is what the core metadata says: ``License-Expression`` (PEP 639), an SPDX expression; without it the
licence classifiers, where they name licences. The free text of ``License`` is not read: nobody can tell what
"BSD" is there. A classifier that may stand for several licences counts as all of them.

The readers of metadata and of expressions are imported where they read: every command imports this module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

_PREFIX = "License :: "
_MOST_PARENTHESES = 20
"""Real expressions have hardly any; thousands would exhaust the stack."""
CLASSIFIED = {
    "OSI Approved :: Academic Free License (AFL)": ("AFL-3.0",),
    "OSI Approved :: Apache Software License": ("Apache-2.0",),
    "OSI Approved :: BSD License": ("BSD-2-Clause", "BSD-3-Clause"),
    "OSI Approved :: Boost Software License 1.0 (BSL-1.0)": ("BSL-1.0",),
    "OSI Approved :: European Union Public Licence 1.2 (EUPL 1.2)": ("EUPL-1.2",),
    "OSI Approved :: GNU Affero General Public License v3": ("AGPL-3.0-only",),
    "OSI Approved :: GNU Affero General Public License v3 or later (AGPLv3+)": ("AGPL-3.0-or-later",),
    "OSI Approved :: GNU General Public License (GPL)": ("GPL-2.0-only", "GPL-3.0-only"),
    "OSI Approved :: GNU General Public License v2 (GPLv2)": ("GPL-2.0-only",),
    "OSI Approved :: GNU General Public License v2 or later (GPLv2+)": ("GPL-2.0-or-later",),
    "OSI Approved :: GNU General Public License v3 (GPLv3)": ("GPL-3.0-only",),
    "OSI Approved :: GNU General Public License v3 or later (GPLv3+)": ("GPL-3.0-or-later",),
    "OSI Approved :: GNU Lesser General Public License v2 (LGPLv2)": ("LGPL-2.0-only",),
    "OSI Approved :: GNU Lesser General Public License v2 or later (LGPLv2+)": ("LGPL-2.0-or-later",),
    "OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)": ("LGPL-3.0-only",),
    "OSI Approved :: GNU Lesser General Public License v3 or later (LGPLv3+)": ("LGPL-3.0-or-later",),
    "OSI Approved :: ISC License (ISCL)": ("ISC",),
    "OSI Approved :: MIT License": ("MIT",),
    "OSI Approved :: MIT No Attribution License (MIT-0)": ("MIT-0",),
    "OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": ("MPL-2.0",),
    "OSI Approved :: Python Software Foundation License": ("PSF-2.0",),
    "OSI Approved :: The Unlicense (Unlicense)": ("Unlicense",),
    "OSI Approved :: Zope Public License": ("ZPL-2.1",),
    "OSI Approved :: zlib/libpng License": ("Zlib",),
    "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": ("CC0-1.0",),
}
"""Licence classifier, without its first word → the SPDX identifiers that it may stand for."""


@dataclass(frozen=True)
class DeclaredLicence:
    """What the metadata of a file says of its licence."""

    expression: str | None
    """A canonical SPDX expression (PEP 639)."""
    classifiers: tuple[str, ...] = ()
    """Licence classifiers, without their first word."""

    @property
    def told(self) -> str:
        """It in words; empty: nothing is declared."""
        return self.expression or ", ".join(self.classifiers)


def read_licence(metadata: bytes) -> DeclaredLicence:
    """The licence in core metadata."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
    from packaging.metadata import parse_email

    raw, _ = parse_email(metadata)
    classifiers = tuple(
        one.removeprefix(_PREFIX) for one in raw.get("classifiers", ()) if one.startswith(_PREFIX)
    )
    if raw.get("license_expression", "").count("(") > _MOST_PARENTHESES:
        return DeclaredLicence(None, classifiers)
    try:
        return DeclaredLicence(str(canonicalize_license_expression(raw["license_expression"])), classifiers)
    except (KeyError, InvalidLicenseExpression):
        return DeclaredLicence(None, classifiers)


def is_licence_allowed(licence: DeclaredLicence, allowed: Collection[str]) -> bool | None:
    """Whether one may use the file under licences that are allowed; ``None``: nobody can tell which it has.

    ``allowed`` are canonical SPDX identifiers, with an exception (``WITH``) where only that is allowed. Of
    ``OR`` one side must be allowed, of ``AND`` both (SPDX 2.3, annex D).
    """
    if licence.expression is not None:
        return _Expression(licence.expression, allowed).is_allowed()
    known = [CLASSIFIED.get(one) for one in licence.classifiers if one != "OSI Approved"]
    if not known or None in known:
        return None
    return all(one in allowed for identifiers in known for one in identifiers or ())


class _Expression:
    """A canonical SPDX expression being evaluated: ``AND`` binds more than ``OR``."""

    def __init__(self, text: str, allowed: Collection[str]) -> None:
        self._words = re.findall(r"[()]|[^\s()]+", text)
        self._allowed = allowed

    def is_allowed(self) -> bool:
        found = self._all()
        while self._takes("OR"):
            found |= self._all()
        return found

    def _all(self) -> bool:
        found = self._one()
        while self._takes("AND"):
            found &= self._one()
        return found

    def _one(self) -> bool:
        if self._takes("("):
            found = self.is_allowed()
            self._takes(")")
            return found
        name = self._words.pop(0)
        names = [name, f"{name} WITH {self._words.pop(0)}"] if self._takes("WITH") else [name]
        return any(one in self._allowed for one in names)

    def _takes(self, word: str) -> bool:
        is_here = self._words[:1] == [word]
        del self._words[: int(is_here)]
        return is_here


def canonical_licence(text: str) -> str | None:
    """The canonical spelling of one SPDX identifier, perhaps with an exception; ``None`` if it is none."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        found = str(canonicalize_license_expression(text))
    except InvalidLicenseExpression:
        return None
    return None if re.search(r"[()]| (?:AND|OR) ", found) else found
