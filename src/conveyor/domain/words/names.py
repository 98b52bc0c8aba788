"""Names of projects, of versions and of Pythons: valid or not, normalized, equal, misleading.

Sources: core metadata specification (Name), PEP 503 (normalized names), PEP 440 (versions); names look alike
if the public index considers them alike.
"""

from __future__ import annotations

import sys
from typing import Annotated

from packaging.utils import InvalidName as PackagingInvalidName
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from conveyor.domain.words.records import Described, Given, Matching
from conveyor.errors import InvalidName, InvalidVersion

__all__ = [
    "NormalizedName",
    "Version",
    "canonical_version",
    "equal_spellings",
    "final_of",
    "is_final",
    "is_python",
    "is_standard_library",
    "minor_of",
    "parse_version",
    "project_name",
    "skeleton",
]

NAME_HINT = "use ASCII letters, digits, '.', '_' and '-', and a letter or a digit at both ends"
LONGEST_NAME = 214
"""Characters. Filesystems end a filename at 255 bytes, and a wheel's name goes on after the project."""

ProjectName = Annotated[
    str, Given(300), Described(pattern="^[A-Za-z0-9]([A-Za-z0-9._-]{0,212}[A-Za-z0-9])?$")
]
"""The name of a project from a caller, in any spelling."""
VersionNumber = Annotated[
    str,
    Given(300),
    Described(
        longest=100,
        pattern=r"^[0-9]+(\.[0-9]+)*((a|b|rc)[0-9]+)?(\.post[0-9]+)?(\.dev[0-9]+)?"
        r"(\+[a-z0-9]+(\.[a-z0-9]+)*)?$",
    ),
]
"""A version from a caller; PEP 440's other spellings are understood as well."""
PythonName = Annotated[
    str,
    Given(20),
    Matching(
        r"(pypy)?3\.(0|[1-9][0-9]?)(\.(0|[1-9][0-9]?))?", "is not a Python such as 3.12, 3.12.4 or pypy3.9"
    ),
]
"""A Python that is asked for, as ``conveyor python list`` names it, with or without its patch number."""
LOOKALIKES = (("-", ""), ("0", "o"), ("1", "l"), ("i", "l"))
"""Replacements, made one after the other, that turn a normalized name into its skeleton."""
_STANDARD_LIBRARY = frozenset(canonicalize_name(name.strip("_")) for name in sys.stdlib_module_names)


def project_name(text: str) -> NormalizedName:
    """The normalized form of a project name.

    Raises:
        InvalidName: ``text`` is not a project name by the core metadata specification, or is too long.
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
    """Whether Python has a module of that name: anyone who installs ``json`` or ``logging`` is mistaken."""
    return name in _STANDARD_LIBRARY


def skeleton(name: NormalizedName) -> str:
    """The form that names that look alike share: ``my-l1b`` and ``myiib`` have one skeleton."""
    text = str(name)
    for sign, other in LOOKALIKES:
        text = text.replace(sign, other)
    return text


MOST_RELEASE_NUMBERS = 8
"""How many numbers of a release segment are tried (``1.0`` up to ``1.0.0.0.0.0.0.0``)."""


def parse_version(text: str) -> Version:
    """The version that ``text`` spells; raises InvalidVersion when it is not PEP 440."""
    version = version_or_none(text)
    if version is None:
        raise InvalidVersion(
            f"{text[:100]!r} is not a version",
            hint="write versions as PEP 440 does, such as 1.2.0 or 1.2.0rc1",
        )
    return version


def version_or_none(text: str) -> Version | None:
    """The version that ``text`` spells; ``None`` when it is not PEP 440, or of thousands of digits."""
    try:
        return Version(text)
    except ValueError:  # packaging lets that of Python about too many digits out as it is
        return None


def canonical_version(text: str) -> str:
    """The canonical spelling of a version: ``1.0-RC1`` becomes ``1.0rc1``; raises InvalidVersion."""
    return str(parse_version(text))


def equal_spellings(version: Version) -> tuple[str, ...]:
    """Every canonical spelling of the same version with up to eight release numbers, shortest first.

    PEP 440 considers 1.0 and 1.0.0 equal, so installers could not tell two such releases apart.
    """
    numbers = list(version.release)
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    written, shortest = ".".join(map(str, version.release)), ".".join(map(str, numbers))
    before = f"{version.epoch}!" if version.epoch else ""
    after = str(version)[len(before + written) :]
    zeros = range(max(MOST_RELEASE_NUMBERS - len(numbers), 0) + 1)
    return tuple(f"{before}{shortest}{'.0' * count}{after}" for count in zeros)


def is_final(version: Version) -> bool:
    """Whether this is a release for everybody: not a pre-release, development release or local version."""
    return not version.is_prerelease and version.local is None


def minor_of(python: str) -> str:
    """The Python without its patch number: 3.12 of 3.12.4, pypy3.9 of pypy3.9.16."""
    return ".".join(python.split(".")[:2])


def is_python(name: str, wanted: str) -> bool:
    """Whether the Python of evidence, 3.12.4 or pypy3.9.16, is the wanted one, such as 3.12 or pypy3.9."""
    return f"{name}.".startswith(f"{wanted}.")


def next_post_release(version: Version) -> str | None:
    """``1.0.post1`` after 1.0, ``1.0.post2`` after 1.0.post1; ``None`` for versions that cannot have one."""
    if version.is_devrelease or version.local is not None:
        return None
    before, _, _ = str(version).partition(".post")
    return f"{before}.post{1 if version.post is None else version.post + 1}"


def final_of(version: Version) -> Version:
    """The release for everybody that this one leads to: 1.0 of 1.0rc1, 1.0.post1 of 1.0.post1.dev2."""
    if version.post is None or version.pre is not None:
        return Version(version.base_version)
    return Version(f"{version.base_version}.post{version.post}")
