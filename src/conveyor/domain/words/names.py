"""Project names: valid or not, normalized, and misleading or not.

Sources: core metadata specification (Name), PEP 503 (normalized names); what looks alike is what the public
index holds for alike.
"""

from __future__ import annotations

import sys

from packaging.utils import InvalidName as PackagingInvalidName
from packaging.utils import NormalizedName, canonicalize_name

from conveyor.errors import InvalidName

__all__ = ["NormalizedName", "is_standard_library", "project_name", "skeleton"]

NAME_HINT = "a name has ASCII letters, digits, '.', '_' and '-', and begins and ends with a letter or a digit"
LONGEST_NAME = 214
"""Characters. Filesystems end a filename at 255 bytes, and a wheel's name goes on after the project."""
LOOKALIKES = (("-", ""), ("0", "o"), ("1", "l"), ("i", "l"))
"""What is replaced, one after the other, in a normalized name for its skeleton."""
_STANDARD_LIBRARY = frozenset(canonicalize_name(name.strip("_")) for name in sys.stdlib_module_names)


def project_name(text: str) -> NormalizedName:
    """The normalized form of a project name.

    Raises:
        InvalidName: ``text`` is no project name by the core metadata specification, or is too long.
    """
    try:
        name = canonicalize_name(text, validate=True)
    except PackagingInvalidName as error:
        raise InvalidName(f"{text!r} is not a project name", hint=NAME_HINT) from error
    if len(name) > LONGEST_NAME:
        raise InvalidName(
            f"the project name {text[:40]!r}… has {len(name)} characters",
            hint=f"a project name has at most {LONGEST_NAME} characters",
        )
    return name


def is_standard_library(name: NormalizedName) -> bool:
    """Whether Python has a module of that name: who installs ``json`` or ``logging`` is mistaken."""
    return name in _STANDARD_LIBRARY


def skeleton(name: NormalizedName) -> str:
    """What two names have in common that look alike: ``my-l1b`` and ``myiib`` have one skeleton."""
    text = str(name)
    for sign, other in LOOKALIKES:
        text = text.replace(sign, other)
    return text
