"""Names of distribution files: the parts of a wheel's or sdist's filename, in its one correct spelling.

Sources: binary distribution format (wheel filenames), PEP 625 (sdist filenames), PEP 440 (versions).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import Literal

from packaging.utils import (
    NormalizedName,
    parse_sdist_filename,
    parse_wheel_filename,
)

from conveyor.domain.words.names import Version, project_name
from conveyor.errors import InvalidDistribution, InvalidName

PackageType = Literal["bdist_wheel", "sdist"]
MOST_TAGS = 1000
"""A filename of full length could stand for 50,000."""
_IMPLICIT_POST = re.compile(r"(.+?)-([0-9]{1,9}(?:\.[0-9]{1,9})*-[0-9]{1,9})\.tar\.gz")
_CHARACTERS = re.compile(r"[A-Za-z0-9._+!-]+")
LONGEST_FILENAME = 240
"""Characters; filesystems end at 255 bytes, and ``.metadata`` or ``.provenance`` is put behind."""


@dataclass(frozen=True)
class DistributionFilename:
    """A distribution's filename and its parts."""

    text: str
    project: NormalizedName
    version: Version
    packagetype: PackageType
    python_tag: str
    """A wheel's, as written, such as ``cp311`` or ``py2.py3``; ``source`` for an sdist."""
    tags: str
    """A wheel's ``PYTHON-ABI-PLATFORM`` as written; empty for an sdist."""

    @property
    def stem(self) -> str:
        """``NAME-VERSION`` in its normalized spelling: an sdist's top folder, the head of ``.dist-info``."""
        return f"{self.project.replace('-', '_')}-{self.version}"


def distribution_filename(text: str) -> DistributionFilename:
    """Parse the filename of a distribution.

    Raises:
        InvalidDistribution: it is not the name of a wheel or an sdist, or is not in the normalized spelling.
    """
    if not _CHARACTERS.fullmatch(text) or len(text) > LONGEST_FILENAME:
        raise InvalidDistribution(
            f"{text[:LONGEST_FILENAME]!r} is not a filename of a distribution", rule="filename"
        )
    if text.endswith(".whl"):
        return _wheel(text)
    if text.endswith(".tar.gz"):
        return _sdist(text)
    raise InvalidDistribution(
        f"{text} is neither a wheel (.whl) nor a source distribution (.tar.gz)",
        hint="build with: python -m build, or uv build",
        rule="filename-extension",
    )


def _wheel(text: str) -> DistributionFilename:
    if count_tags("-".join(text.removesuffix(".whl").rsplit("-", 3)[1:])) > MOST_TAGS:
        raise InvalidDistribution(f"{text} is not a wheel filename: it has too many tags", rule="filename")
    try:
        _, version, _, _ = parse_wheel_filename(text)
        project = project_name(text.split("-", 1)[0])
    except (ValueError, InvalidName) as error:  # the first also for thousands of digits
        raise InvalidDistribution(
            f"{text} is not a wheel filename: {_reason(error)}", rule="filename"
        ) from error
    python_tag, abi_tag, platform_tag = text.removesuffix(".whl").rsplit("-", 3)[1:]
    name = DistributionFilename(
        text, project, version, "bdist_wheel", python_tag, f"{python_tag}-{abi_tag}-{platform_tag}"
    )
    rest = text.split("-", 1)[1]
    normalized = project.replace("-", "_")
    if not all((python_tag, abi_tag, platform_tag)) or text != f"{normalized}-{rest}":
        raise InvalidDistribution(
            f"{text} is not spelled in the normalized way: it must be {normalized}-{rest}",
            hint="a current build tool does that by itself; do not rename wheels",
            rule="filename-normalized",
        )
    return name


def count_tags(text: str) -> int:
    """How many tags a compressed tag set stands for: ``py2.py3-none-any`` means two."""
    return prod(part.count(".") + 1 for part in text.split("-"))


def _sdist(text: str) -> DistributionFilename:
    try:
        _, version = parse_sdist_filename(text)
        project = project_name(text.removesuffix(".tar.gz").rpartition("-")[0])
    except (ValueError, InvalidName) as error:
        raise InvalidDistribution(
            f"{text} is not an sdist filename: {_reason(error)}", rule="filename"
        ) from error
    if post := _IMPLICIT_POST.fullmatch(text):  # "3.2.3-2" is one version, 3.2.3.post2 (PEP 440)
        project, version = project_name(post[1]), Version(post[2])
    name = DistributionFilename(text, project, version, "sdist", "source", "")
    if text != f"{name.stem}.tar.gz":
        raise InvalidDistribution(
            f"{text} is not spelled in the normalized way: it must be {name.stem}.tar.gz (PEP 625)",
            hint="a current build tool does that by itself",
            rule="filename-normalized",
        )
    return name


def _reason(error: Exception) -> str:
    """The parser's words between its fixed prefix and the filename it repeats."""
    if isinstance(error, InvalidName):
        return error.message
    found = re.search(r"\(([^)]+)\)", str(error))
    return found[1] if found else str(error)
