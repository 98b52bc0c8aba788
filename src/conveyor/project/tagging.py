"""Carries a planned release out: commits the changelog, makes the tag, signs it, and pushes.

The plan is made in ``release``. If pushing fails, the commit and the tag remain, and the same command finds
them and pushes them.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from conveyor.domain.releases.tags import parse_signed_tag
from conveyor.domain.words.names import final_of
from conveyor.errors import InvalidInput, ProjectError
from conveyor.project.changelog import FILENAME
from conveyor.project.clones import tag_object
from conveyor.project.git import delete_tag, head_commit, run_git, said, try_push, unstage

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
        """What ``carry_out`` does, as commands of git that can be typed."""
        git = self.project.git()
        return tuple(f"{git} {shlex.join(words)}" for step in steps(self) for words in step.calls)


@dataclass(frozen=True)
class ReleaseStep:
    """One part of a release: calls of git, of which each is the words behind ``git``."""

    name: Literal["changelog", "tag", "push"]
    calls: tuple[tuple[str, ...], ...]


def steps(plan: Plan) -> tuple[ReleaseStep, ...]:
    """What a release does, in order: what is shown of it and what is done is the same."""
    found = []
    if plan.changelog is not None:
        commit = ("commit", "-m", _subject(plan.version), "--", FILENAME)
        found.append(ReleaseStep("changelog", (("add", "--", FILENAME), commit)))
    if not plan.is_made:
        how = ("-a", "--no-sign") if plan.signing is None else ("-s",)
        message = [word for paragraph in plan.message.strip().split("\n\n") for word in ("-m", paragraph)]
        on = "HEAD" if plan.changelog is not None else plan.commit
        found.append(ReleaseStep("tag", ((*(plan.signing or ()), "tag", *how, *message, plan.tag, on),)))
    if plan.remote is not None:
        found.append(ReleaseStep("push", (("push", "--atomic", plan.remote, *_refspecs(plan)),)))
    return tuple(found)


def _refspecs(plan: Plan, *, tagged: str = "") -> list[str]:
    """What is pushed; ``tagged`` is a commit in place of a tag that is not made yet."""
    branch = [] if plan.branch is None else [f"HEAD:refs/heads/{plan.branch}"]
    return [*branch, f"{tagged}:refs/tags/{plan.tag}" if tagged else f"refs/tags/{plan.tag}"]


def carry_out(
    plan: Plan, *, tell: Callable[[str], None], check_key: Callable[[str], str] | None = None
) -> None:
    """Write the changelog, make the tag, push both; ``tell`` receives a line for each that is done.

    ``check_key`` is given the key that signed, before anything is pushed: it returns a line about it, or
    raises ProjectError, and the tag is removed again.

    Raises:
        ProjectError: git refuses; what was written before is named in the hint, and the same command goes on.
    """
    for step in steps(plan):
        if step.name == "changelog" and plan.changelog is not None:
            _commit_changelog(plan, plan.changelog, step)
            tell(f"committed {FILENAME}: {_subject(plan.version)}")
        elif step.name == "tag":
            commit = head_commit(plan.project.root) if plan.changelog is not None else plan.commit
            said = _make_tag(plan, step, check_key)
            tell(f"tagged {commit[:12]} as {plan.tag}{'' if plan.signing is None else ', signed'}")
            if said:
                tell(said)
        elif step.name == "push":
            _push(plan, step)
            tell(f"pushed {plan.tag} to {plan.remote}")


def _call(plan: Plan, step: ReleaseStep) -> None:
    for words in step.calls:
        run_git(words, folder=plan.project.root)


def _push(plan: Plan, step: ReleaseStep) -> None:
    try:
        _call(plan, step)
    except ProjectError as error:
        git = plan.project.git()
        raise ProjectError(
            f"{plan.tag} is made here, but cannot be pushed: {error.message}",
            hint="call the same command again to push it; to take it back instead: "
            f"{git} tag -d {plan.tag}" + ("" if plan.changelog is None else f" && {git} reset --hard HEAD~1"),
        ) from error


def signing_options(project: Project, key: str | None) -> tuple[str, ...]:
    """Options of git that sign with ``key``, or as git is configured.

    Raises:
        ProjectError: neither a key is given nor git configured; the hint holds the commands.
    """
    root = project.root
    if key is not None:
        path = Path(key).expanduser()
        if path.exists() or key.startswith(("key::", "ssh-")):
            signing_key = path.resolve() if path.exists() else key
            return ("-c", "gpg.format=ssh", "-c", f"user.signingkey={signing_key}")
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


def _commit_changelog(plan: Plan, changelog: Written, step: ReleaseStep) -> None:
    path = plan.project.root / FILENAME
    before = path.read_bytes() if path.is_file() else None
    ending = "\r\n" if before is not None and b"\r\n" in before else "\n"
    path.write_text(changelog.text, encoding="utf-8", newline=ending)
    try:
        _call(plan, step)
    except ProjectError:
        unstage(plan.project.root, FILENAME)
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)
        raise


def _make_tag(plan: Plan, step: ReleaseStep, check_key: Callable[[str], str] | None) -> str:
    """Make the annotated tag; a signed one is read as the store reads it, and removed if that fails.

    Returns what there is to say about its key.
    """
    root = plan.project.root
    try:
        _call(plan, step)
    except ProjectError as error:
        git = plan.project.git()
        alone = shlex.join([*(plan.signing or ()), "tag", "-s", "-m", "test", "test"])
        raise ProjectError(
            f"the tag {plan.tag} cannot be made: {error.message}",
            hint=None if plan.signing is None else f"try the key alone: {git} {alone} && {git} tag -d test",
        ) from error
    if plan.signing is None:
        return ""
    try:
        key = parse_signed_tag(tag_object(root, plan.tag) or b"").public_key
        return "" if check_key is None else check_key(key)
    except InvalidInput as error:
        delete_tag(root, plan.tag)
        raise ProjectError(f"no store would accept the tag: {error.message}", hint=error.hint) from error
    except ProjectError:
        delete_tag(root, plan.tag)
        raise


def rehearse_push(plan: Plan) -> None:
    """Ask the remote whether it would take the push, rights included, before anything is written."""
    if plan.remote is None:
        return
    try:
        try_push(plan.project.root, plan.remote, _refspecs(plan, tagged=plan.commit))
    except ProjectError as error:
        raise ProjectError(
            f"{plan.remote} would not take {plan.tag}: {error.message}",
            hint="ask for the right to push there, or keep the release here: --no-push",
        ) from error
