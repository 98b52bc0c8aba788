"""Attestations as real signers make them, but for the authority: the certificate is its own."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from distributions_made import Made

PUBLISH = "https://docs.index.example/attestations/publish/v1"
SLSA = "https://slsa.dev/provenance/v1"
Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def make_key() -> ec.EllipticCurvePrivateKey:
    """A key as signers use it for one signature."""
    return ec.generate_private_key(ec.SECP256R1())


def certificate_of(key: Key) -> bytes:
    """A certificate of the key by itself, as DER."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(minutes=10))
    )
    algorithm = SHA256() if isinstance(key, ec.EllipticCurvePrivateKey) else None
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


def statement_about(made: Made, *, predicate_type: str = PUBLISH, **changes: Any) -> dict[str, Any]:
    """The in-toto statement about a file; ``changes`` replace its fields."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": made.filename, "digest": {"sha256": made.sha256}}],
        "predicateType": predicate_type,
        "predicate": None,
        **changes,
    }


def make_attestation(
    made: Made,
    *,
    predicate_type: str = PUBLISH,
    statement: dict[str, Any] | None = None,
    key: Key | None = None,
    certificate: bytes | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """An attestation object (PEP 740) about a file; ``changes`` replace its fields."""
    signing_key = key or make_key()
    payload = json.dumps(statement or statement_about(made, predicate_type=predicate_type)).encode()
    kind = b"application/vnd.in-toto+json"
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    if isinstance(signing_key, ec.EllipticCurvePrivateKey):
        signature = signing_key.sign(signed, ec.ECDSA(SHA256()))
    else:
        signature = signing_key.sign(signed)
    return {
        "version": 1,
        "verification_material": {
            "certificate": encoded(certificate or certificate_of(signing_key)),
            "transparency_entries": [{"logIndex": "1"}],
        },
        "envelope": {"statement": encoded(payload), "signature": encoded(signature)},
        **changes,
    }


def encoded(data: bytes) -> str:
    """Base64 in lines, as the signing tools write it."""
    return base64.encodebytes(data).decode()
