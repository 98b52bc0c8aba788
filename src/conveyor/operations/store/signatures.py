"""Verifies signatures: those of people, by SSH or OpenPGP keys, and those of attestations.

``ssh-keygen`` checks the SSH signatures, and only its exit code is believed: for a key that nobody registered
it prints ``Good "git" signature`` all the same. The file of allowed signers is written for each call, into a
folder of its own, and holds the one key that the store knows and that is valid now: revoked and expired keys
are refused earlier (``operations.releases.evidence``).

``gpgv`` checks the OpenPGP signatures, with a keyring that holds the one registered key. It ends with 0 for
expired and revoked keys too, so every line of its status counts. No agent and no keyring of this machine
plays a part.

The signature of an attestation must be made with the key of the certificate that comes with it; cryptography
is imported with the first one, because its import is slow.
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

from conveyor.domain.people.keys import allowed_signers_line, read_public_key
from conveyor.domain.people.openpgp import PREFIX, STRONG_HASHES
from conveyor.domain.words.notation import PAYLOAD_TYPE
from conveyor.errors import InvalidInput, MissingTool, StorageFailed

if TYPE_CHECKING:
    from conveyor.domain.distributions.attestations import Attestation
    from conveyor.domain.people.keys import Worker
    from conveyor.domain.people.openpgp import Certificate
    from conveyor.domain.releases.approvals import SignedApproval
    from conveyor.domain.releases.evidence import Envelope
    from conveyor.domain.releases.tags import SignedTag

    Signed = SignedTag | SignedApproval

TIMEOUT_SECONDS = 20.0


def verify_signature(
    signed: Signed, *, principal: str, certificate: Certificate | None = None, accepts_expired: bool = False
) -> None:
    """Accept the signature on a tag or approval whose key is registered for ``principal``, or raise.

    Args:
        signed: the tag or the approval.
        principal: whom the key is registered for.
        certificate: the registered OpenPGP key; ``None`` if it is signed with SSH.
        accepts_expired: whether a key counts that has expired by now, because it came earlier.

    Raises:
        InvalidInput: ``ssh-keygen`` or ``gpgv`` does not verify it.
        MissingTool: that program is not installed.
        StorageFailed: it did not answer, or its files cannot be written.
    """
    name, package = ("ssh-keygen", "openssh-client") if certificate is None else ("gpgv", "gpgv")
    program = shutil.which(name)
    if program is None:
        raise MissingTool(f"{name} is not installed on the store", hint=f"install {package} there")
    try:
        with tempfile.TemporaryDirectory(prefix="conveyor-signature-") as folder:
            if certificate is None:
                fault = (
                    "" if _exit_code(program, signed, Path(folder), principal=principal) == 0 else "invalid"
                )
            else:
                lines = _status_of_gpgv(program, signed, Path(folder), certificate=certificate)
                fault = _fault_by_gpgv(lines, signed, certificate, accepts_expired=accepts_expired)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StorageFailed(f"the signature could not be checked: {error}", hint="try again") from error
    if fault:
        said = "" if fault == "invalid" else f": {fault}"
        problem = f"{name} does not verify the signature on {signed.subject} as that of {principal}{said}"
        raise InvalidInput(
            problem,
            faults=[problem],
            hint="sign it again, and hand it in unchanged",
        )


def _exit_code(program: str, signed: Signed, folder: Path, *, principal: str) -> int:
    """The exit code of ``ssh-keygen -Y verify``; the folder is empty and ours alone (mode 0700)."""
    allowed, signature = folder / "allowed_signers", folder / "signature"
    allowed.write_text(
        allowed_signers_line(principal, signed.public_key, namespace=signed.namespace), encoding="ascii"
    )
    signature.write_bytes(signed.signature)
    done = subprocess.run(
        [program, "-Y", "verify", "-n", signed.namespace, "-I", principal, "-f", allowed, "-s", signature],
        input=signed.payload,
        env=_environment(folder),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    return done.returncode


def _environment(folder: Path) -> dict[str, str]:
    """Variables with which no agent and no configuration of the server's user plays a part."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC", "HOME": str(folder)}


def _status_of_gpgv(
    program: str, signed: Signed, folder: Path, *, certificate: Certificate
) -> list[list[str]]:
    """The words of each line of the status; empty if it failed. The folder is empty and ours alone."""
    contents = {"key.gpg": certificate.content, "signature": signed.signature, "payload": signed.payload}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    done = subprocess.run(
        [
            program, "--homedir", folder, "--keyring", folder / "key.gpg", "--status-fd", "1",
            "--weak-digest", "SHA1", "--weak-digest", "RIPEMD160", folder / "signature", folder / "payload",
        ],
        env=_environment(folder), cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    lines = done.stdout.decode(errors="replace").splitlines()
    status = [line.removeprefix(_STATUS).split() for line in lines if line.startswith(_STATUS)]
    return [words for words in status if words] if done.returncode == 0 else []


def _fault_by_gpgv(
    status: list[list[str]], signed: Signed, certificate: Certificate, *, accepts_expired: bool
) -> str:
    """Why the status does not verify the signature; empty if it does."""
    words = [line[0] for line in status]
    good = "GOODSIG"
    if accepts_expired and "EXPKEYSIG" in words:
        good = "EXPKEYSIG"
    for word, fault in _GPGV_FAULTS.items():
        if word in words and word != good:
            return fault
    valid = [line[1:] for line in status if line[0] == "VALIDSIG"]
    if len(valid) != 1 or words.count(good) != 1 or words.count("NEWSIG") != 1 or len(valid[0]) < 10:
        return "invalid"
    # VALIDSIG: fingerprint, date, time, expiry, version, reserved, key algorithm, hash, class, primary key.
    made_by, hash_algorithm, form, primary = valid[0][0], valid[0][7], valid[0][8], valid[0][9]
    if f"{PREFIX}{made_by}" != signed.public_key or primary != certificate.fingerprint:
        return "another key made it"
    return "" if form == "00" and hash_algorithm in map(str, STRONG_HASHES) else "its hash is weak"


_STATUS = "[GNUPG:] "
_GPGV_FAULTS = {
    "REVKEYSIG": "its key is revoked",
    "EXPKEYSIG": "its key has expired",
    "EXPSIG": "it has expired",
    "BADSIG": "invalid",
    "ERRSIG": "invalid",
    "NO_PUBKEY": "invalid",
}
"""Lines of the status (GnuPG's doc/DETAILS) that refuse a signature, whatever else is said of it."""


def verified_worker(envelope: Envelope, workers: list[Worker]) -> tuple[Worker | None, list[str]]:
    """The registered, unrevoked worker whose signature verifies, or ``None`` and the reasons.

    ``workers``: those whose keys the envelope names.
    """
    from securesystemslib.dsse import Envelope as Dsse
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import (  # type: ignore[attr-defined] # the library's public re-exports
        Signature,
        SSlibKey,
    )

    signatures = {key_id: Signature(key_id, value.hex()) for key_id, value in envelope.signatures}
    problems = []
    for worker in workers:
        if worker.revoked_at is not None:
            problems.append(f"worker {worker.name} was revoked at {worker.revoked_at}")
            continue
        raw = read_public_key(worker.public_key)
        key = SSlibKey(worker.key_id, "ed25519", "ed25519", {"public": raw.hex()})
        one = {worker.key_id: signatures[worker.key_id]}
        try:
            Dsse(envelope.payload, PAYLOAD_TYPE, one).verify([key], 1)
        except VerificationError:
            problems.append(f"the signature is not that of worker {worker.name}, whose key it names")
        else:
            return worker, []
    if not workers:
        names = ", ".join(key_id[:16] for key_id, _ in envelope.signatures)
        problems.append(f"no worker is registered with the key {names}")
    return None, problems


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
