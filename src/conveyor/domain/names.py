"""Project names: valid or not, and normalized.

Sources: core metadata specification (Name), PEP 503 (normalized names).
"""

from __future__ import annotations

from packaging.utils import InvalidName as PackagingInvalidName
from packaging.utils import NormalizedName, canonicalize_name

from conveyor.errors import InvalidName

__all__ = ["NormalizedName", "project_name"]

NAME_HINT = "a name has ASCII letters, digits, '.', '_' and '-', and begins and ends with a letter or a digit"
LONGEST_NAME = 214
"""Characters. Filesystems end a filename at 255 bytes, and a wheel's name goes on after the project."""


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
