from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conveyor.domain.people.keys import key_id, read_public_key, write_public_key
from conveyor.errors import InvalidInput


def pem_of(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def test_key_is_read_and_written_as_the_cryptography_library_does() -> None:
    key = Ed25519PrivateKey.generate()
    raw = key.public_key().public_bytes_raw()
    assert read_public_key(pem_of(key)) == raw
    assert write_public_key(raw) == pem_of(key)


def test_key_id_is_the_sha256_of_the_raw_key() -> None:
    assert key_id(bytes(32)) == "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925"


def test_keys_of_other_kinds_are_refused() -> None:
    with pytest.raises(InvalidInput, match="not an Ed25519 public key"):
        read_public_key(pem_of(ec.generate_private_key(ec.SECP256R1())))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519 AAAA",
        "-----BEGIN PUBLIC KEY-----\n!!\n-----END PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----",
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_public_key(text)


def test_private_key_handed_in_by_mistake_is_named_as_such() -> None:
    private = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(InvalidInput, match="private key"):
        read_public_key(private.decode())
