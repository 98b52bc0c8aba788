"""Calls of git: resolve and read. One function per question; ``clones`` makes clones.

The rule here: ``git describe`` is never asked *which tag a job is for*. Variables that point git at another
repository are removed, and names never reach git as options.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from conveyor.domain.words.notation import COMMIT_ID
from conveyor.errors import MissingTool, ProjectError
from conveyor.project.foreign import note_if_killed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

# A hook or an outer git command sets these; they would turn every call here to that other repository.
_OTHER_REPOSITORY = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX",
    "GIT_NAMESPACE", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE",
)  # fmt: skip


@dataclass(frozen=True)
class Remote:
    """A repository elsewhere, and the variables with which git reaches it: they may hold secrets."""

    url: str
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        """The URL, which holds no credentials."""
        return self.url


Repository: TypeAlias = "str | Path | Remote"
"""A path, bare or not, or a URL; or either with what git is told about it."""


@dataclass(frozen=True)
class TrackedEntry:
    """What git tracks at a path."""

    path: str
    kind: Literal["file", "link", "submodule"]
    is_hidden: bool = False
    """Whether git was told not to look at it: assumed unchanged, or left out of a sparse checkout."""


def run_git(
    arguments: Sequence[str], *, folder: Path | None = None, variables: Mapping[str, str] | None = None
) -> bytes:
    """Run git and return its standard output.

    Raises:
        ProjectError: git ended with an error; the message is git's own, without the ``fatal:``.
        MissingTool: git is not installed.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OTHER_REPOSITORY}
    # Messages in one language, and no prompt at a terminal, which a pipeline does not have.
    environment |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", **(variables or {})}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            check=False, umask=0o022,
        )  # fmt: skip
    except FileNotFoundError as error:
        if folder is not None and not folder.is_dir():
            raise ProjectError(f"{folder} is not a folder") from error
        raise MissingTool(
            "git is not installed", hint="install git (on Debian: apt-get install git)"
        ) from error
    if done.returncode:
        errors = done.stderr.decode(errors="replace")
        note_if_killed(done.returncode, errors)
        lines = errors.strip().splitlines() or [f"exit code {done.returncode}"]
        said = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1])
        message = re.sub(r"^(fatal|error): ", "", said)
        raise ProjectError(f"git {arguments[0]}: {message}", hint=_hint_about(lines))
    return done.stdout


def _hint_about(lines: Sequence[str]) -> str | None:
    """The next step after git could not reach a repository, from what it said; ``None`` for other errors."""
    said = "\n".join(lines)
    return next((hint for pattern, hint in _UNREACHED.items() if re.search(pattern, said)), None)


_UNREACHED = {
    "error: 30[1278]": "the host sends git elsewhere: register the repository under the address it has now",
    "Host key verification failed": "say which key the host has: "
    "conveyor pipeline credentials add URL --key FILE --known-hosts FILE",
    r"Permission denied|could not read (Username|Password)|error: 40[13]|Authentication failed": "give the "
    "worker a token, or a key for ssh (--key FILE): conveyor pipeline credentials add URL --token-file FILE",
    "transport '.*' not allowed": "git reads repositories elsewhere by https and ssh",
}


def resolve_commit(repository: Repository, ref: str) -> str:
    """The full id of the commit that a tag, a branch, ``HEAD`` or a commit id names; tags win over branches.

    A tag object is followed to its commit (``T^{commit}``).

    Raises:
        ProjectError: there is no such commit in the repository.
    """
    refuse_option(ref)
    local = local_path(repository)
    if local is None:
        if ":" not in str(repository):  # neither a URL nor HOST:PATH
            raise ProjectError(
                f"there is no repository at {repository}", hint="give a folder of this machine or a URL"
            )
        return _resolve_remote(repository, ref)
    names = (f"refs/tags/{ref}", f"refs/heads/{ref}", f"refs/remotes/origin/{ref}", ref)
    for name in (ref,) if ref == "HEAD" or COMMIT_ID.fullmatch(ref) else names:
        arguments = ["rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"]
        try:
            return run_git(arguments, folder=local).decode().strip()
        except ProjectError:
            continue
    raise _unknown(repository, ref)


def object_of(repository: Repository, ref: str) -> str:
    """The id of what a tag, a branch or a commit id names: of a tag object itself, not of its commit.

    Raises:
        ProjectError: there is no such thing in the repository.
    """
    refuse_option(ref)
    short = ref.removeprefix("refs/tags/").removeprefix("refs/heads/")
    local = local_path(repository)
    if local is None:
        asked = ["ls-remote", "-q", "--", str(repository), f"refs/tags/{short}"]
        written = run_git(asked, variables=told_about(repository)).decode()
        return written.partition("\t")[0] or resolve_commit(repository, ref)
    try:
        return (
            run_git(["rev-parse", "--verify", "--quiet", f"refs/tags/{short}"], folder=local).decode().strip()
        )
    except ProjectError:
        return resolve_commit(repository, ref)


def files_changed(repository: Path, commit: str, *, since: str | None = None) -> tuple[str, ...]:
    """The files that differ between two commits, from the top of the repository.

    ``since`` is the earlier one; ``None`` means the first parent, and everything for a commit that has none.
    """
    if since is None:
        parents = run_git(["rev-list", "--parents", "-n", "1", commit, "--"], folder=repository)
        since = next(iter(parents.decode().split()[1:]), None)
    if since is None:
        return tuple(
            _split(run_git(["ls-tree", "-r", "-z", "--name-only", "--full-tree", commit], folder=repository))
        )
    arguments = ["diff-tree", "-r", "-z", "--no-renames", "--name-only", since, commit, "--"]
    return tuple(_split(run_git(arguments, folder=repository)))


def begin_of_branch(repository: Path, commit: str, *, without: Collection[str]) -> str | None:
    """The commit from which a new branch set out: the last one before it that another branch has.

    ``None`` if no other branch has any of it. ``without`` names branches that are as new.
    """
    others = [f"--exclude={branch}" for branch in without]
    own = (
        run_git(
            ["rev-list", "--first-parent", commit, "--not", *others, "--branches", "--"], folder=repository
        )
        .decode()
        .split()
    )
    if not own:
        return commit
    parents = run_git(["rev-list", "--parents", "-n", "1", own[-1], "--"], folder=repository).decode().split()
    return next(iter(parents[1:]), None)


def commit_time(checkout: Path) -> int:
    """The time of the checked-out commit, in seconds since 1970; a build's ``SOURCE_DATE_EPOCH``."""
    written = run_git(["-c", "log.showSignature=false", "log", "-1", "--format=%ct", "HEAD"], folder=checkout)
    return int(written)


def head_commit(checkout: Path) -> str:
    """The full id of the commit that is checked out."""
    return run_git(["rev-parse", "--verify", "HEAD^{commit}"], folder=checkout).decode().strip()


def repository_top(folder: Path) -> Path:
    """The top folder of the repository that a folder belongs to.

    Raises:
        ProjectError: it belongs to none, or git refuses it (an owner whom git does not trust).
    """
    return Path(os.fsdecode(run_git(["rev-parse", "--show-toplevel"], folder=folder).rstrip(b"\n")))


def below_top(folder: Path) -> str:
    """Where a folder lies below the top of its repository, with a slash at the end; empty at the top."""
    written = run_git(["rev-parse", "--show-prefix"], folder=folder)
    return written.decode(errors="surrogateescape").rstrip("\n")


def changed_files(folder: Path) -> tuple[str, ...]:
    """The paths at or below a folder of a checkout that differ from the commit, relative to the folder.

    Edited, added, removed or untracked, not ignored.
    """
    arguments = ["status", "--porcelain", "-z", "--untracked-files=all", "--ignore-submodules=none",
                 "--no-renames", "--", "."]  # fmt: skip
    written = run_git(arguments, folder=folder)
    if not written:
        return ()
    # With -z git names paths from the top of the repository, wherever it is called.
    above = below_top(folder)
    return tuple(entry[3:].removeprefix(above) for entry in _split(written))


def differs_from_commit(folder: Path, names: Sequence[str]) -> bool:
    """Whether tracked files at or below a folder differ from the commit, or git does not track one of these.

    ``names`` are files of the folder; those that do not exist do not count.
    """
    arguments = ["status", "--porcelain", "--untracked-files=no", "--no-renames", "--", "."]
    there = {name for name in names if (folder / name).exists()}
    return bool(run_git(arguments, folder=folder)) or not there <= set(tracked_files(folder))


def tracked_files(checkout: Path, folder: str = ".") -> tuple[str, ...]:
    """The files that git tracks at or below a folder, relative to the checkout, sorted."""
    return tuple(sorted(_split(run_git(["ls-files", "-z", "--", folder], folder=checkout))))


def tracked_entries(checkout: Path) -> tuple[TrackedEntry, ...]:
    """What git tracks at or below a folder, each path relative to the checkout and once, sorted."""
    kinds: dict[str, Literal["link", "submodule"]] = {"120000": "link", "160000": "submodule"}
    found = {}
    for line in _split(run_git(["ls-files", "-v", "--stage", "-z", "--", "."], folder=checkout)):
        facts, _, path = line.partition("\t")
        letter, mode, *_ = facts.split(" ")
        found[path] = TrackedEntry(path, kinds.get(mode, "file"), letter.islower() or letter == "S")
    return tuple(found[path] for path in sorted(found))


def rewrites_files(checkout: Path) -> bool:
    """Whether settings of the user may give a checkout other bytes than its commit has."""
    try:
        written = run_git(
            ["config", "-z", "--get-regexp", r"^core\.(autocrlf|eol|attributesfile)$"], folder=checkout
        )
    except ProjectError:  # it ends with 1 if there is none
        return False
    settings = [entry.partition("\n") for entry in _split(written)]  # the last of one name wins
    known = {name: value if is_given else "true" for name, is_given, value in settings}
    return (
        known.get("core.autocrlf", "").lower() in ("true", "yes", "on", "1")
        or known.get("core.eol", "").lower() == "crlf"
        or known.get("core.attributesfile", "") not in ("", os.devnull)
    )


def files_of_tag(repository: Repository, tag: str, clone: Path) -> tuple[str, ...]:
    """The files of a tag's commit, from the top of the repository; ``clone`` may lack the commit.

    A clone for one tag does not have the others: the commit alone is fetched into it.
    """
    commit = resolve_commit(repository, f"refs/tags/{tag}")
    try:
        run_git(["cat-file", "-e", f"{commit}^{{commit}}"], folder=clone)
    except ProjectError:
        fetched = ["fetch", "-q", "--no-tags", "--depth=1", "--", source_of(repository), f"refs/tags/{tag}"]
        run_git(fetched, folder=clone, variables=told_about(repository))
    return tuple(_split(run_git(["ls-tree", "-r", "-z", "--name-only", "--full-tree", commit], folder=clone)))


def untracked_files(checkout: Path) -> tuple[str, ...]:
    """The files that git does not track at or below a folder, ignored ones too, relative to it, sorted."""
    return tuple(sorted(_split(run_git(["ls-files", "-z", "--others"], folder=checkout))))


def ignored_files(checkout: Path, paths: Sequence[str]) -> tuple[str, ...]:
    """Those of the paths, relative to the checkout, that git ignores and does not track."""
    found = []
    for path in paths:
        # One call each: git's --stdin needs a pipe, and there are few.
        with suppress(ProjectError):  # it ends with 1 for a path that it does not ignore
            run_git(["check-ignore", "--quiet", "--", path], folder=checkout)
            found.append(path)
    return tuple(found)


def commits_since(checkout: Path, tag: str | None) -> tuple[int, bool]:
    """How many commits lead from a tag to the checked-out one, and whether some of them may be missing.

    Without a tag they are counted from the beginning. They may be missing because the clone is shallow.
    """
    found = run_git(
        ["rev-list", "HEAD", *([f"^refs/tags/{tag}"] if tag is not None else []), "--"], folder=checkout
    )
    commits = set(found.decode().split())
    if run_git(["rev-parse", "--is-shallow-repository"], folder=checkout).strip() != b"true":
        return len(commits), False
    listed = run_git(["rev-parse", "--git-path", "shallow"], folder=checkout).decode().strip()
    cut = set((checkout / listed).read_text(encoding="ascii").split())
    return len(commits), bool(cut & commits)


def all_tags(repository: Repository) -> tuple[str, ...]:
    """Every tag of a repository, whether it names a release or not."""
    local = local_path(repository)
    if local is not None:
        return lines_of(run_git(["tag", "--list"], folder=local))
    asked = ["ls-remote", "-q", "--refs", "--tags", "--", str(repository)]
    written = run_git(asked, variables=told_about(repository))
    return tuple(line.partition("\trefs/tags/")[2] for line in lines_of(written))


def heads_and_tags(repository: Repository) -> dict[str, str]:
    """Every branch and tag of a repository, here or elsewhere, by its full name, with the object it names.

    Raises:
        ProjectError: the repository cannot be read.
    """
    asked = ["ls-remote", "-q", "--refs", "--heads", "--tags", "--", source_of(repository)]
    written = run_git(asked, variables=told_about(repository))
    return {name: found for found, name in (line.split("\t", 1) for line in lines_of(written))}


def tags_in_reach(checkout: Path) -> tuple[str, ...]:
    """All tags on the checked-out commit and its ancestors, oldest first, releases or not."""
    arguments = ["tag", "--list", "--merged", "HEAD", "--sort=creatordate"]
    return lines_of(run_git(arguments, folder=checkout))


def tags_here(checkout: Path) -> tuple[str, ...]:
    """All tags on the checked-out commit, whether they name releases or not."""
    return lines_of(run_git(["tag", "--list", "--points-at", "HEAD"], folder=checkout))


def tags_with_commits(checkout: Path) -> dict[str, str]:
    """Every tag → its commit."""
    return _peeled(run_git(["show-ref", "--tags", "-d"], folder=checkout)) if all_tags(checkout) else {}


def read_remote(checkout: Path, remote: str) -> tuple[dict[str, str], dict[str, str]]:
    """(branches, tags) of a remote, each with its commit.

    Raises:
        ProjectError: there is no such remote, or it cannot be read.
    """
    if remote.startswith("-"):
        raise ProjectError("that is not the name of a remote")
    written = run_git(["ls-remote", "-q", "--", remote], folder=checkout)
    entries = (line.split("\t", 1) for line in lines_of(written))
    heads = "refs/heads/"
    branches = {name.removeprefix(heads): commit for commit, name in entries if name.startswith(heads)}
    return branches, _peeled(written)


def _peeled(written: bytes) -> dict[str, str]:
    """Tag → commit, from lines of ``ID REF``; ``REF^{}`` is what an annotated tag leads to."""
    found: dict[str, str] = {}
    for line in lines_of(written):
        commit, name = line.split(maxsplit=1)
        if name.startswith("refs/tags/"):
            tag = name.removeprefix("refs/tags/")
            if tag.endswith("^{}") or tag not in found:
                found[tag.removesuffix("^{}")] = commit
    return found


def is_in_history(checkout: Path, commit: str) -> bool:
    """Whether the checked-out commit is that commit or comes after it; not if it is unknown here."""
    try:
        run_git(["merge-base", "--is-ancestor", commit, "HEAD"], folder=checkout)
    except ProjectError:
        return False
    return True


def packed_tree(checkout: Path, commit: str) -> bytes:
    """A tar archive of a folder of a repository at a commit."""
    # From the top: below it, git would look for the folder in the tree of the folder.
    tree = f"{commit}:{below_top(checkout)}"
    return run_git(["archive", "--format=tar", tree], folder=repository_top(checkout))


def own_folder(checkout: Path, name: str) -> Path:
    """A folder of that name where git keeps what belongs to a checkout."""
    return checkout / run_git(["rev-parse", "--git-path", name], folder=checkout).decode().strip()


def said(checkout: Path, *arguments: str) -> str | None:
    """What a question to git prints, stripped; ``None`` if it prints nothing or ends with an error."""
    try:
        return run_git(arguments, folder=checkout).decode(errors="replace").strip() or None
    except ProjectError:
        return None


def make_repository(folder: Path, message: str, *, variables: Mapping[str, str] | None = None) -> None:
    """Make a folder a repository, with one commit of all that is in it."""
    run_git(["init", "-q", "--initial-branch=main"], folder=folder)
    run_git(["add", "--all"], folder=folder)
    # --no-verify: hooks of the user's git templates were not written for these files.
    run_git(["commit", "-q", "--no-verify", "-m", message], folder=folder, variables=variables)


def unstage(checkout: Path, path: str) -> None:
    """Take a file out of the next commit; the file itself stays."""
    run_git(["reset", "-q", "--", path], folder=checkout)


def delete_tag(checkout: Path, tag: str) -> None:
    """Remove a tag of this repository."""
    run_git(["tag", "-d", "--", tag], folder=checkout)


def try_push(checkout: Path, remote: str, refspecs: Sequence[str]) -> None:
    """Ask a remote whether it would take a push of all of these; raises ProjectError with its answer."""
    run_git(["push", "-q", "--dry-run", "--no-verify", "--atomic", remote, *refspecs], folder=checkout)


def lines_of(written: bytes) -> tuple[str, ...]:
    r"""The lines of names that git wrote, to be read and shown.

    Names hold whatever Unicode calls a space or the end of a line, and bytes that are not UTF-8; those bytes
    are shown as ``\xff``, which no name of git can be, since none holds a backslash.
    """
    return tuple(line for line in written.decode(errors="backslashreplace").split("\n") if line)


def configured_identity(folder: Path) -> bool:
    """Whether git is configured, by file or environment, with a name and an address for commits here.

    An identity that git would guess from the login and the host name does not count: nobody wants it in a
    history.
    """
    written = run_git(["config", "--list", "--name-only", "-z"], folder=folder)
    known = {name.lower() for name in _split(written)}
    given = os.environ
    email = "user.email" in known or "EMAIL" in given
    return all(
        (f"GIT_{role}_NAME" in given or {"user.name", f"{role.lower()}.name"} & known)
        and (f"GIT_{role}_EMAIL" in given or email or f"{role.lower()}.email" in known)
        for role in ("AUTHOR", "COMMITTER")
    )


def _resolve_remote(repository: Repository, ref: str) -> str:
    names = (f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}", ref)
    asked = ["ls-remote", "-q", "--", str(repository), f"{ref}^{{}}", ref]
    written = run_git(asked, variables=told_about(repository))
    found = {name: commit for commit, name in (line.split("\t", 1) for line in lines_of(written))}
    for name in names:
        if name in found:
            return found[name]
    if COMMIT_ID.fullmatch(ref):
        return ref
    raise _unknown(repository, ref)


def _unknown(repository: Repository, ref: str) -> ProjectError:
    return ProjectError(
        f'there is no tag, branch or commit "{ref}" in {repository}',
        hint=f"list those that exist: git ls-remote {shlex.quote(str(repository))}",
    )


def gitlinks(checkout: Path) -> list[tuple[str, str]]:
    """The submodules that a checkout tracks: each path, with the commit that it is to have."""
    found = []
    for line in _split(run_git(["ls-files", "--stage", "-z"], folder=checkout)):
        facts, _, path = line.partition("\t")
        mode, commit, _ = facts.split(" ")
        if mode == "160000":
            found.append((path, commit))
    return found


def settings_of_file(file: Path) -> dict[str, str]:
    """The settings in a file of git's, and in no other; raises ProjectError if it is not such a file."""
    written = run_git(["config", "--no-includes", "-z", "--file", str(file), "--list"])
    return {name: value for name, _, value in (entry.partition("\n") for entry in _split(written))}


def told_about(repository: Repository) -> Mapping[str, str]:
    """The variables with which git reaches a repository; none for one that needs none."""
    return repository.variables if isinstance(repository, Remote) else {}


def local_path(repository: Repository) -> Path | None:
    """The path of a repository on this machine; ``None`` for a URL."""
    text = str(repository).removeprefix("file://")
    return Path(text) if Path(text).is_dir() else None


def source_of(repository: Repository) -> str:
    """A repository as git fetches from it."""
    local = local_path(repository)
    return str(local.resolve()) if local is not None else str(repository)


def refuse_option(name: str) -> None:
    """Refuse what git could take for an option; raises ProjectError."""
    if not name or name.startswith("-") or any(character.isspace() for character in name):
        raise ProjectError(f'"{name}" is not the name of a tag, a branch or a commit')


def _split(written: bytes) -> list[str]:
    return [entry for entry in written.decode(errors="surrogateescape").split("\0") if entry]
