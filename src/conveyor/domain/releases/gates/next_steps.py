"""Next steps that several gates name: a command stands at their end, whole, so that it can be copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.words.versions import final_of, parse_version

if TYPE_CHECKING:
    from conveyor.domain.releases.gates.judged import JudgedRelease

CREDENTIALS = "--credentials worker.toml"
"""The worker's credentials file, which names the store."""


def job_command(release: JudgedRelease, command: str) -> str:
    """The command, told what to build: the release's tag or, by its local version, its commit."""
    _, _, local = release.version.partition("+g")
    ref = local.partition(".")[0] or f"v{release.version}"
    return f"{command} --ref {ref} {CREDENTIALS}"


def signing_step(release: JudgedRelease, commit: str) -> str:
    """What to do so that the commit becomes a final release that QA signed."""
    version = parse_version(release.version)
    final = final_of(version)
    if version.is_devrelease:
        return (
            "tag the commit as a release candidate and carry that tag through the pipeline: "
            f"git tag v{final}rc1 {commit}"
        )
    said = f'-s -m "{release.project} {final}" v{final} {commit}'
    if version == final:  # so the tag is there, and git would refuse to make it again
        return (
            "let a QA signer make this tag anew, signed, and push it with --force: "
            f"git -c gpg.format=ssh tag -f {said}"
        )
    return f"let a QA signer tag that commit as the final and push the tag: git -c gpg.format=ssh tag {said}"
