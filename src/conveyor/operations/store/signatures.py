"""Verifies signatures: the SSH signatures of people, and those of attestations.

``ssh-keygen`` checks the SSH signatures, and only its exit code is believed: for a key that nobody registered
it prints ``Good "git" signature`` all the same. The file of allowed signers is written for each call, into a
folder of its own, and holds the one key that the store knows and that is valid now: revoked and expired keys
are refused earlier (``operations.releases.evidence``). The signature of an attestation must be made with the
key of the certificate that comes with it; cryptography is imported with the first one, because its import is
slow.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509 import load_der_x509_certificate

from conveyor.domain.people.keys import GIT_NAMESPACE, allowed_signers_line
from conveyor.errors import InvalidInput, MissingTool, StorageFailed

if TYPE_CHECKING:
    from conveyor.domain.distributions.attestations import Attestation
    from conveyor.domain.releases.tags import SignedTag

TIMEOUT_SECONDS = 20.0


def verify_tag_signature(tag: SignedTag, *, principal: str) -> None:
    """Accept the signature on a tag whose key is registered for ``principal``, or raise.

    Raises:
        InvalidInput: ``ssh-keygen`` does not verify it.
        MissingTool: ``ssh-keygen`` is not installed.
        StorageFailed: it did not answer, or its files cannot be written.
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
    """The exit code of ``ssh-keygen -Y verify``; the folder is empty and ours alone (mode 0700)."""
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


_HASHES = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
"""The hash of an ECDSA signature, by the size of its curve."""


def signature_fault(attestation: Attestation) -> str:
    """The fault of the signature, as part of a sentence; empty if it verifies."""
    try:
        key = load_der_x509_certificate(attestation.certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "its certificate is not an X.509 certificate"
    try:
        if isinstance(key, EllipticCurvePublicKey) and key.key_size in _HASHES:
            key.verify(attestation.signature, attestation.signed_bytes, ECDSA(_HASHES[key.key_size]))
        elif isinstance(key, Ed25519PublicKey):
            key.verify(attestation.signature, attestation.signed_bytes)
        else:
            return "its certificate is for neither an ECDSA nor an Ed25519 key"
    except InvalidSignature:
        return "its signature is not made with the key of its certificate"
    return ""
