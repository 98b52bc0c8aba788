"""Approvals on the signer's machine: what is signed, and the signature, by the programs that sign their tags.

The key never comes here: ``ssh-keygen`` reads it, or asks the signer's agent for it, and ``gpg`` has its own.
What is signed comes from the store, so a person should compare it with what was tested: the digests are told
before anything is signed.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.domain.people.keys import APPROVAL_NAMESPACE
from conveyor.domain.releases.approvals import FactsOfApproval, approval_statement
from conveyor.domain.words.notation import utc_text
from conveyor.errors import InvalidInput, MissingTool

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.client.store import StoreClient
    from conveyor.domain.releases.approvals import TakenApproval


def approve(
    client: StoreClient,
    project: str,
    version: str,
    *,
    sign: Callable[[bytes], bytes],
    tell: Callable[[str], None],
) -> TakenApproval:
    """Sign the files of a release as the store has them now, and hand the approval in.

    Args:
        client: the store.
        project: the release's project.
        version: its version.
        sign: gives a statement with its signature: ``sign_with_ssh`` or ``sign_with_openpgp``, with a key.
        tell: told of each file, before it is signed.

    Raises:
        NotFound: there is no such release that the caller may see.
        InvalidInput: it was not signed, or the store refuses it: the key is not registered, or may not sign.
    """
    release = client.releases.get(project, version)
    files = {file.filename: file.sha256 for file in release.files}
    for filename, digest in sorted(files.items()):
        tell(f"{digest}  {filename}")
    at = utc_text(datetime.now(UTC))
    facts = FactsOfApproval(release.project, release.version, client.status().store, at)
    return client.evidence.approve(sign(approval_statement(files, facts=facts)))


def sign_with_ssh(statement: bytes, key: Path) -> bytes:
    """The statement, then its signature.

    ``key`` is the private key, or the public one of a key that an agent holds.

    Raises:
        MissingTool: ``ssh-keygen`` is not installed.
        InvalidInput: it could not sign.
    """
    program = _program("ssh-keygen", package="openssh-client")
    with tempfile.TemporaryDirectory(prefix="conveyor-approval-") as folder:
        written = Path(folder) / "statement"
        written.write_bytes(statement)
        words = [program, "-Y", "sign", "-n", APPROVAL_NAMESPACE, "-f", str(key), str(written)]
        # A passphrase is asked for on the terminal, so that input and errors stay the caller's.
        done = subprocess.run(words, stdout=subprocess.DEVNULL, check=False)
        signature = written.with_suffix(".sig")
        if done.returncode or not signature.is_file():
            raise _unsigned("ssh-keygen", str(key), done.returncode)
        return statement + signature.read_bytes()


def sign_with_openpgp(statement: bytes, key: str) -> bytes:
    """The statement, then its signature; ``key``: the fingerprint, or another name that gpg knows it by.

    Raises:
        MissingTool: ``gpg`` is not installed.
        InvalidInput: it could not sign.
    """
    program = _program("gpg", package="gnupg")
    words = [program, "--armor", "--detach-sign", "--digest-algo", "SHA512", "--local-user", key]
    done = subprocess.run(words, input=statement, stdout=subprocess.PIPE, check=False)
    if done.returncode or not done.stdout:
        raise _unsigned("gpg", key, done.returncode)
    return statement + done.stdout


def _program(name: str, *, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise MissingTool(f"{name} is not installed", hint=f"install {package}")
    return found


def _unsigned(program: str, key: str, code: int) -> InvalidInput:
    return InvalidInput(
        f"{program} did not sign with {key} (exit code {code})",
        hint="see what it said above; the key must be the one that is registered: "
        "conveyor store signer add PRINCIPAL --key FILE.pub",
    )
