"""Which git tags are releases of a project, and how a version is forced on a build backend.

A tag is a release if it is ``X.Y.Z`` or ``vX.Y.Z``, with an optional pre-release (``a1``, ``b1``, ``rc1``) or
post-release (``.post1``); that is stricter than ``domain.releases.tags``. No other tag counts: moving tags
(``v1``, ``latest``), experiment tags (``model-churn-7``), tags of other projects in the same repository. The
globs that generated projects pass to ``git describe`` (``templates/common/pyproject.toml.jinja``) match the
same set; ``tests/project/test_versions.py`` compares the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from conveyor.domain.releases.tags import version_of_tag
from conveyor.domain.words.names import version_or_none
from conveyor.errors import InvalidVersion

if TYPE_CHECKING:
    from conveyor.domain.words.names import Version

_HINT = "name a release X.Y.Z or vX.Y.Z, such as v1.2.0, v1.2.0rc1 or v1.2.0.post1"


def version_of_release_tag(tag: str) -> Version:
    """The version that a tag releases, such as ``Version("1.2.1rc1")`` for ``v1.2.1rc1``.

    Raises:
        InvalidVersion: the tag is not a release; the message says why.
    """
    version = version_or_none(tag.removeprefix("v")) or version_of_tag(tag)
    if version.epoch or len(version.release) != 3:
        raise InvalidVersion(f'tag "{tag}" does not have three components', hint=_HINT)
    if version.local is not None or version.dev is not None:
        raise InvalidVersion(
            f'tag "{tag}" names a development version; those belong to commits without a tag', hint=_HINT
        )
    return version_of_tag(tag)


def is_release_tag(tag: str) -> bool:
    """Whether a tag names a release; moving and experiment tags do not."""
    try:
        version_of_release_tag(tag)
    except InvalidVersion:
        return False
    return True


def override_variable(project: str) -> str:
    """The environment variable that forces the version of this project on setuptools-scm and hatch-vcs.

    The global variable without a name would leak into every other source build of the same job.
    """
    return f"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_{canonicalize_name(project).replace('-', '_').upper()}"
