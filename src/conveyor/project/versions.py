"""Which git tags are releases, and how a version is forced on a build backend.

A tag is a release when it is ``X.Y.Z`` or ``vX.Y.Z``, with an optional pre-release (``a1``, ``b1``, ``rc1``)
or post-release (``.post1``), spelled canonically. Everything else never counts: moving tags (``v1``,
``latest``), experiment tags (``model-churn-7``), and tags of other projects in the same repository. The
globs that generated projects hand to ``git describe`` (``templates/common/pyproject.toml.jinja``) admit the
same set; ``tests/project/test_versions.py`` holds both against each other.
"""

from __future__ import annotations

import re

from packaging.utils import canonicalize_name

from conveyor.domain.versions import Version, parse_version
from conveyor.errors import InvalidVersion

_HINT = "name a release X.Y.Z or vX.Y.Z, such as v1.2.0, v1.2.0rc1 or v1.2.0.post1"


def version_of_tag(tag: str) -> Version:
    """The version that a tag releases, such as ``Version("1.2.1rc1")`` for ``v1.2.1rc1``.

    Raises:
        InvalidVersion: the tag is no release; the message gives the reason.
    """
    text = tag[1:] if tag.startswith("v") else tag
    try:
        version = parse_version(text)
    except InvalidVersion:
        raise InvalidVersion(f'tag "{tag}" is not a version (PEP 440)', hint=_HINT) from None
    if str(version) != text:
        raise InvalidVersion(
            f'tag "{tag}" is not spelled canonically: the version is {version}',
            hint=f"tag the commit v{version} instead",
        )
    if version.epoch or len(version.release) != 3:
        raise InvalidVersion(f'tag "{tag}" does not have three components', hint=_HINT)
    if version.local is not None or version.dev is not None:
        raise InvalidVersion(
            f'tag "{tag}" names a development version; those belong to commits without a tag', hint=_HINT
        )
    return version


def is_release_tag(tag: str) -> bool:
    """Whether a tag names a release; moving and experiment tags do not."""
    try:
        version_of_tag(tag)
    except InvalidVersion:
        return False
    return True


def tag_name(version: Version) -> str:
    """The tag that a release of that version gets, such as ``v1.2.1``."""
    return f"v{version}"


def override_variable(project: str) -> str:
    """The environment variable that forces the version of this one project on setuptools-scm and hatch-vcs.

    The global variable without a name would leak into every other source build of the same job.
    """
    return f"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_{canonicalize_name(project).replace('-', '_').upper()}"


def commit_of_version(version: Version) -> str | None:
    """The abbreviated commit that a version ``X.Y.Z.devN+gHASH`` names; ``None`` for a release."""
    found = re.match(r"g([0-9a-f]{7,40})(?:\.|$)", version.local or "")
    return found.group(1) if found else None
