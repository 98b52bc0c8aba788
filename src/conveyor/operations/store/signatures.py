"""Whether an SSH signature is genuine, asked of ``ssh-keygen``; only its exit code is believed.

Its text is no answer: for a key that nobody registered it prints ``Good "git" signature`` all the same.
The file of allowed signers is written for each call, into a folder of its own, and holds the one key that
the store knows and that counts now: revoked and expired keys never come this far
(``operations.releases.evidence``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.domain.people.keys import GIT_NAMESPACE, allowed_signers_line
from conveyor.errors import InvalidInput, MissingTool, StorageFailed

if TYPE_CHECKING:
    from conveyor.domain.releases.tags import SignedTag

TIMEOUT_SECONDS = 20.0


def verify_tag_signature(tag: SignedTag, *, principal: str) -> None:
    """Accept the signature on a tag whose key is registered for ``principal``, or raise.

    Raises:
        InvalidInput: ``ssh-keygen`` does not verify it.
        MissingTool: there is no ``ssh-keygen``.
        StorageFailed: it gave no answer, or its files can not be written.
    """
    program = shutil.which("ssh-keygen")
    if program is None:
        raise MissingTool("ssh-keygen is not installed on the store", hint="install openssh-client there")
    try:
        with tempfile.TemporaryDirectory(prefix="conveyor-signature-") as folder:
            code = _exit_code(program, tag, Path(folder), principal=principal)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StorageFailed(f"the signature could not be checked: {error}", hint="try again") from error
    if code != 0:
        problem = f"ssh-keygen does not verify the signature on {tag.tag} as that of {principal}"
        raise InvalidInput(
            problem,
            faults=[problem],
            hint="sign the tag again, and hand in the output of git cat-file tag unchanged",
        )


def _exit_code(program: str, tag: SignedTag, folder: Path, *, principal: str) -> int:
    """What ``ssh-keygen -Y verify`` ends with; the folder is empty and ours alone (mode 0700)."""
    allowed, signature = folder / "allowed_signers", folder / "signature"
    allowed.write_text(allowed_signers_line(principal, tag.public_key), encoding="ascii")
    signature.write_bytes(tag.signature)
    done = subprocess.run(
        [program, "-Y", "verify", "-n", GIT_NAMESPACE, "-I", principal, "-f", allowed, "-s", signature],
        input=tag.payload,
        # An agent or a configuration of the server's user plays no part.
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": str(folder)},
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    return done.returncode
