"""Whether the signature of an attestation is made with the key of the certificate that comes with it.

Imported with the first attestation that arrives: cryptography takes its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509 import load_der_x509_certificate

if TYPE_CHECKING:
    from conveyor.domain.distributions.attestations import Attestation

_HASHES = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
"""Of an ECDSA signature, by the size of its curve."""


def signature_fault(attestation: Attestation) -> str:
    """What is wrong with the signature, as a part of a sentence; empty when it verifies."""
    try:
        key = load_der_x509_certificate(attestation.certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "its certificate is no X.509 certificate"
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
