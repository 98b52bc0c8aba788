"""Rules for uploads: into which index, under which name, and which file.

These are decisions on values read elsewhere; nothing is looked up here. Rights of the caller are decided in
``access``, soundness of the file in ``distributions``. Three rules of the design live here:

* a promotion-only index accepts no uploads from anybody (rule 6);
* the first upload of a project claims its name for the whole store; claiming is a right of its own, and a
  name that upstream has needs an administrator (rule 5);
* a filename is unique along a chain of indexes, a deleted one is never used again, and a release is closed
  by its first promotion (rule 1).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conveyor.domain.distributions.archives import GIBIBYTE, ArchiveLimits
from conveyor.domain.indexes.definitions import is_any_private, is_claimed, resolution_order
from conveyor.domain.people.access import can_read, may_claim, read_projects, unknown_caller
from conveyor.domain.words.names import is_standard_library, next_post_release, parse_version
from conveyor.errors import Conflict, DistributionExists, Forbidden, NotFound, TooLarge, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from conveyor.domain.indexes.definitions import Claim, Index
    from conveyor.domain.people.access import Identity
    from conveyor.domain.words.names import NormalizedName


@dataclass(frozen=True)
class UploadLimits:
    """How large an upload may be."""

    file_bytes: int = 4 * GIBIBYTE
    docs_bytes: int = GIBIBYTE
    """The same for an archive of documentation."""
    project_bytes: int | None = None
    """Size of all files of a project without a limit of its own; ``None``: unlimited."""
    archive: ArchiveLimits = field(default_factory=ArchiveLimits)


@dataclass(frozen=True)
class FilenameState:
    """The state of a filename and its release before an upload."""

    holders: Mapping[str, str]
    """Index of the chain that has a file of this name → its SHA-256."""
    shown: frozenset[str]
    """Indexes whose files are seen through the index of the upload, itself among them."""
    readable: frozenset[str]
    """Indexes that the uploader may read: no other is named in an answer."""
    is_retired: bool
    """Whether a file of this name was deleted."""
    closed_at: str | None
    """When the release was promoted for the first time."""
    other_spelling: str | None
    """An equal version of a release that is spelled differently (1.0 and 1.0.0)."""


def accepting_index(name: str, indexes: Mapping[str, Index], identity: Identity) -> Index:
    """The index of that name, if it accepts uploads; rights to upload there are not decided here.

    The advice in an error names only indexes that the caller may read.

    Raises:
        NotFound: there is no such index, or the caller may not know of it.
        Forbidden: it is a mirror, or promotion-only: administrators are told the same.
    """
    index = indexes.get(name)
    is_told = index is not None and (index.mode == "uploads" or name in readable_indexes(indexes, identity))
    if index is None or not is_told:
        raise NotFound(
            f'there is no index "{name}"',
            hint=_where_to_upload(indexes, identity),
            rule="index-unknown",
        )
    if index.kind == "mirror":
        raise Forbidden(
            f'index "{name}" is a mirror and accepts no upload',
            hint=_where_to_upload(indexes, identity),
            rule="index-closed",
        )
    if index.mode != "uploads":
        raise Forbidden(
            f'index "{name}" is promotion-only: it accepts no uploads, not even from administrators',
            hint=_way_into(name, indexes, identity),
            rule="index-closed",
        )
    return index


def readable_indexes(
    indexes: Mapping[str, Index], identity: Identity, *, project: str | None = None
) -> frozenset[str]:
    """Those of the indexes in which this caller may read a project: every answer is made of these alone.

    ``project`` ``None``: the indexes that the caller may know of, even if only for some projects.
    """
    return frozenset(
        index.name
        for index in indexes.values()
        if can_read(identity, index.name, is_private=index.is_private, project=project)
    )


def reads_whole_page(index: Index, identity: Identity, project: str | None) -> bool:
    """Whether this caller may see the page of a project in an index; ``None``: the list of projects.

    Through a private index, a token narrowed to other projects sees only what it sees elsewhere too.
    """
    if index.is_private and project is None and read_projects(identity) is not None:
        return False
    return bool(readable_indexes({index.name: index}, identity, project=project))


def not_here(error: NotFound, identity: Identity, indexes: Mapping[str, Index]) -> NotFound | Unauthorized:
    """The error about something that does not exist or is hidden from this caller: no answer tells which.

    In a store with a private index, strangers are asked to sign in; where everything is public, there is no
    reason to.
    """
    if identity.is_anonymous and any(index.is_private for index in indexes.values()):
        return unknown_caller("see what is here")
    return error


def _where_to_upload(indexes: Mapping[str, Index], identity: Identity) -> str:
    """Advice that names the indexes that accept uploads, or says how there will be one."""
    return _upload_to(_accepting(indexes, identity)) or (
        "an administrator makes an index that accepts uploads: "
        "conveyor store index create NAME --mode uploads"
    )


def _way_into(target: str, indexes: Mapping[str, Index], identity: Identity) -> str:
    """Advice how a release gets into a promotion-only index: through one that leads there."""
    leading = [name for name in _accepting(indexes, identity) if target in resolution_order(name, indexes)]
    if leading:
        return f"{_upload_to(leading)} and promote from there"
    private = " --private" if is_any_private(target, indexes) else ""
    return (
        "an administrator makes an index that leads there: "
        f"conveyor store index create NAME --mode uploads --base {target}{private}"
    )


def _accepting(indexes: Mapping[str, Index], identity: Identity) -> list[str]:
    readable = readable_indexes(indexes, identity)
    return [index.name for index in indexes.values() if index.mode == "uploads" and index.name in readable]


def _upload_to(names: Sequence[str]) -> str:
    return "upload to " + " or ".join(f'"{name}"' for name in names) if names else ""


def chain_of(name: str, indexes: Mapping[str, Index]) -> frozenset[str]:
    """The local indexes in which a filename of this index must not mean other bytes.

    These are the indexes it shows and the indexes that show it: promotion and installation follow them.
    """
    below = set(resolution_order(name, indexes))
    above = {other for other in indexes if name in resolution_order(other, indexes)}
    return frozenset(other for other in below | above if indexes[other].kind == "local")


def must_ask_upstream(identity: Identity, project: NormalizedName, claims: Iterable[Claim]) -> bool:
    """Whether upstream has to be asked for this name first; an administrator claims without asking."""
    return not is_claimed(project, claims) and not identity.is_whole_admin


def may_claim_name(
    identity: Identity, project: NormalizedName, *, upstream_has: bool | None, has_lookalike: bool = False
) -> None:
    """Allow claiming a name that nobody has claimed.

    Only an administrator may claim what upstream has, and names that mislead.

    Args:
        identity: the caller.
        project: the name.
        upstream_has: whether upstream has a project of that name; ``None`` if it was not asked.
        has_lookalike: whether another project known here has a name that looks alike.

    Raises:
        Unauthorized, Forbidden: the caller lacks the right to claim names, or this one.
    """
    may_claim(identity, project)
    if identity.is_whole_admin:
        return
    why = None
    if upstream_has is not False:
        known = "has a project of that name" if upstream_has else "was not asked for that name"
        why = f"upstream {known}, which would be hidden from everybody here"
    elif is_standard_library(project):
        why = "Python itself has a module of that name"
    elif has_lookalike:
        why = (
            "a project known here has a name that looks alike (0 and o; 1, l and i; with and without hyphens)"
        )
    if why is not None:
        raise Forbidden(
            f"{project} cannot be claimed: {why}",
            hint=f"choose another name, or ask an administrator to claim it: conveyor store claim {project}",
            rule="name-misleads" if upstream_has is False else "name-upstream",
        )


def decide_filename(
    state: FilenameState, *, index: str, filename: str, project: str, version: str, sha256: str
) -> str | None:
    """The index that already shows the identical file, or ``None`` if the file is new and may be stored.

    An identical file in an index that builds on this one is not visible through this one, so it is added here
    too.

    Raises:
        DistributionExists: the chain has a file of that name with other bytes.
        Conflict: the name was retired, the release is closed, or its version is spelled differently here.
    """
    if state.is_retired:
        raise Conflict(
            f"{filename} was deleted from this store, and the name of a deleted file is never used again",
            hint="release a new version and upload again",
            rule="filename-deleted",
        )
    for holder, held in sorted(state.holders.items()):
        if held != sha256:
            place = f'index "{holder}"' if holder in state.readable else "this store"
            raise DistributionExists(
                f"{filename} already exists in {place} with other content",
                hint="published files never change; release a new version and upload again",
                rule="filename-taken",
            )
    shown = state.shown.intersection(state.holders)
    if shown:
        return index if index in shown else min(shown)
    if state.other_spelling is not None:
        raise Conflict(
            f"{project} {version} is here as {state.other_spelling}, which is the same version",
            hint=f"spell it {state.other_spelling}, or release a new version",
            rule="version-spelling",
        )
    if state.closed_at is not None:
        post = next_post_release(parse_version(version))
        raise Conflict(
            f"{project} {version} was promoted at {state.closed_at} and takes no more files",
            hint=f"make a post release, such as {post}" if post else "release a new version and upload again",
            rule="release-closed",
        )
    return None


def check_file_size(size_bytes: int, limits: UploadLimits) -> None:
    """Raise TooLarge when a file is over the limit; called while it arrives."""
    if size_bytes > limits.file_bytes:
        raise TooLarge(
            f"the file has more than {limits.file_bytes:,} bytes, the limit of this store",
            hint="make the file smaller, or ask an administrator to raise CONVEYOR_FILE_LIMIT_BYTES",
            rule="file-size",
        )


def check_docs_size(size_bytes: int, limits: UploadLimits) -> None:
    """Raise TooLarge when an archive of documentation is over the limit; called while it arrives."""
    if size_bytes > limits.docs_bytes:
        raise TooLarge(
            f"the documentation has more than {limits.docs_bytes:,} bytes, the limit of this store",
            hint="make the archive smaller, or ask an administrator to raise CONVEYOR_DOCS_LIMIT_BYTES",
            rule="file-size",
        )
