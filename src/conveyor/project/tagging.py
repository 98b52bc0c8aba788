"""Carries a planned release out: commits the changelog, makes the tag, signs it, and pushes.

The plan is made in ``release``. If pushing fails, the commit and the tag remain, and the same command finds
them and pushes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.domain.releases.tags import parse_signed_tag
from conveyor.domain.words.names import final_of
from conveyor.errors import InvalidInput, ProjectError
from conveyor.project.changelog import FILENAME
from conveyor.project.git import head_commit, run_git
from conveyor.project.repository import said

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.domain.words.names import Version
    from conveyor.project.changelog import Written
    from conveyor.project.proposals import ApiChange
    from conveyor.project.settings import Project


SUBJECT = "Write the changelog of "
"""How the subject of the changelog's commit begins."""


@dataclass(frozen=True)
class Plan:
    """What a release will do."""

    project: Project
    version: Version
    tag: str
    commit: str
    """The commit to tag, or, if the changelog is to be written, its parent."""
    reasons: tuple[str, ...]
    """Why it is this version, as sentences."""
    changes: tuple[ApiChange, ...]
    """Differences of the public API since the last release; empty for the final of a candidate."""
    changelog: Written | None
    """``None``: it stays as it is."""
    message: str
    signing: tuple[str, ...] | None
    """Options of git with which the tag is signed; ``None``: it is not signed."""
    is_made: bool
    """Whether commit and tag are here already, and only pushing is left."""
    remote: str | None
    """Where it is pushed to; ``None``: it stays here."""
    branch: str | None
    """The branch of the remote that is pushed too; ``None`` for a final of a candidate."""

    @property
    def commands(self) -> tuple[str, ...]:
        """What ``carry_out`` does, as commands of git."""
        git = self.project.git()
        done = []
        if self.changelog is not None:
            done.append(f'{git} commit -m "{_subject(self.version)}" {FILENAME}')
        if not self.is_made:
            flag = "-a" if self.signing is None else "-s"
            on = "HEAD" if self.changelog is not None else self.commit[:12]
            done.append(f'{git} tag {flag} -m "{self.message.splitlines()[0]}" {self.tag} {on}')
        if self.remote is not None:
            also = "" if self.branch is None else f" HEAD:refs/heads/{self.branch}"
            done.append(f"{git} push --atomic {self.remote}{also} refs/tags/{self.tag}")
        return tuple(done)


def carry_out(
    plan: Plan, *, tell: Callable[[str], None], check_key: Callable[[str], str] | None = None
) -> None:
    """Write the changelog, make the tag, push both; ``tell`` receives a line for each that is done.

    ``check_key`` is given the key that signed, before anything is pushed: it returns a line about it, or
    raises ProjectError, and the tag is removed again.

    Raises:
        ProjectError: git refuses; what was written before is named in the hint, and the same command goes on.
    """
    root = plan.project.root
    if plan.changelog is not None:
        _commit_changelog(plan, plan.changelog)
        tell(f"committed {FILENAME}: {_subject(plan.version)}")
    if not plan.is_made:
        commit = head_commit(root) if plan.changelog is not None else plan.commit
        said = _make_tag(plan, commit, check_key)
        tell(f"tagged {commit[:12]} as {plan.tag}{'' if plan.signing is None else ', signed'}")
        if said:
            tell(said)
    if plan.remote is None:
        return
    also = [] if plan.branch is None else [f"HEAD:refs/heads/{plan.branch}"]
    try:
        run_git(["push", "-q", "--atomic", plan.remote, *also, f"refs/tags/{plan.tag}"], folder=root)
    except ProjectError as error:
        git = plan.project.git()
        raise ProjectError(
            f"{plan.tag} is made here, but cannot be pushed: {error.message}",
            hint="call the same command again to push it; to take it back instead: "
            f"{git} tag -d {plan.tag}" + ("" if plan.changelog is None else f" && {git} reset --hard HEAD~1"),
        ) from error
    tell(f"pushed {plan.tag} to {plan.remote}")


def signing_options(project: Project, key: str | None) -> tuple[str, ...]:
    """Options of git that sign with ``key``, or as git is configured.

    Raises:
        ProjectError: neither a key is given nor git configured; the hint holds the commands.
    """
    root = project.root
    if key is not None:
        path = Path(key).expanduser()
        if path.exists() or key.startswith(("key::", "ssh-")):
            return (
                "-c",
                "gpg.format=ssh",
                "-c",
                f"user.signingkey={path.resolve() if path.exists() else key}",
            )
        if "/" in key or key.endswith(".pub"):
            raise ProjectError(f"there is no key {key}", hint="name the file of a key, or an OpenPGP key")
        return ("-c", "gpg.format=openpgp", "-c", f"user.signingkey={key}")
    form = (said(root, "config", "gpg.format") or "openpgp").lower()
    has_key = said(root, "config", "user.signingkey") is not None
    if form == "ssh" and (has_key or said(root, "config", "gpg.ssh.defaultKeyCommand")):
        return ()
    if form == "openpgp" and has_key:
        return ()
    git = project.git()
    if form == "x509":
        raise ProjectError(
            "git is configured to sign with X.509, which a store does not verify", hint=_hint(git)
        )
    raise ProjectError("finals are signed, and git knows no key to sign with", hint=_hint(git))


def _hint(git: str) -> str:
    return (
        f"{git} config gpg.format ssh && {git} config user.signingkey FILE.pub; or, for OpenPGP: "
        f"{git} config user.signingkey FINGERPRINT; or name a key with --sign-key"
    )


def _subject(version: Version) -> str:
    return f"{SUBJECT}{final_of(version)}"


def _commit_changelog(plan: Plan, changelog: Written) -> None:
    path = plan.project.root / FILENAME
    before = path.read_bytes() if path.is_file() else None
    ending = "\r\n" if before is not None and b"\r\n" in before else "\n"
    path.write_text(changelog.text, encoding="utf-8", newline=ending)
    try:
        run_git(["add", "--", FILENAME], folder=plan.project.root)
        run_git(["commit", "-q", "-m", _subject(plan.version), "--", FILENAME], folder=plan.project.root)
    except ProjectError:
        run_git(["reset", "-q", "--", FILENAME], folder=plan.project.root)
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)
        raise


def _make_tag(plan: Plan, commit: str, check_key: Callable[[str], str] | None) -> str:
    """Make the annotated tag; a signed one is read as the store reads it, and removed if that fails.

    Returns what there is to say about its key.
    """
    root = plan.project.root
    flag = "--no-sign" if plan.signing is None else "-s"
    annotated = ["-a"] if plan.signing is None else []
    try:
        run_git(
            [*(plan.signing or ()), "tag", *annotated, flag, "-m", plan.message, plan.tag, commit],
            folder=root,
        )
    except ProjectError as error:
        raise ProjectError(
            f"the tag {plan.tag} cannot be made: {error.message}",
            hint=None
            if plan.signing is None
            else f"try the key alone: {plan.project.git()} tag -s -m test test",
        ) from error
    if plan.signing is None:
        return ""
    try:
        key = parse_signed_tag(run_git(["cat-file", "tag", plan.tag], folder=root)).public_key
        return "" if check_key is None else check_key(key)
    except InvalidInput as error:
        run_git(["tag", "-d", plan.tag], folder=root)
        raise ProjectError(f"no store would accept the tag: {error.message}", hint=error.hint) from error
    except ProjectError:
        run_git(["tag", "-d", plan.tag], folder=root)
        raise


def rehearse_push(plan: Plan) -> None:
    """Ask the remote whether it would take the push, rights included, before anything is written."""
    if plan.remote is None:
        return
    also = [] if plan.branch is None else [f"HEAD:refs/heads/{plan.branch}"]
    arguments = ["push", "-q", "--dry-run", "--no-verify", "--atomic", plan.remote, *also]
    try:
        run_git([*arguments, f"{plan.commit}:refs/tags/{plan.tag}"], folder=plan.project.root)
    except ProjectError as error:
        raise ProjectError(
            f"{plan.remote} would not take {plan.tag}: {error.message}",
            hint="ask for the right to push there, or keep the release here: --no-push",
        ) from error
