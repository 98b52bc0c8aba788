"""Keys of workers: Ed25519 public keys, as PEM and as the id that an envelope names.

An Ed25519 key in PEM has one form only (RFC 8410): twelve fixed bytes, then the key. Reading it here keeps
the decision which keys count out of the libraries that compute with them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from conveyor.errors import InvalidInput

_BEGIN, _END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"
_PREFIX = bytes.fromhex("302a300506032b6570032100")
_KEY_BYTES = 32


def read_public_key(pem: str) -> bytes:
    """The raw 32 bytes of an Ed25519 public key in PEM.

    Raises:
        InvalidInput: it is anything else.
    """
    lines = pem.split()
    text = pem.strip()
    if "PRIVATE KEY" in text:
        raise InvalidInput("that is a private key", hint="hand in the public key only")
    if not text.startswith(_BEGIN) or not text.endswith(_END) or text.count("-----BEGIN") != 1:
        raise InvalidInput("a worker's key is one Ed25519 public key in PEM", hint=_HINT)
    body = "".join(lines)[len(_BEGIN.replace(" ", "")) : -len(_END.replace(" ", ""))]
    try:
        der = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("the worker's key is not base64", hint=_HINT) from error
    if not der.startswith(_PREFIX) or len(der) != len(_PREFIX) + _KEY_BYTES:
        raise InvalidInput("the worker's key is not an Ed25519 public key", hint=_HINT)
    return der[len(_PREFIX) :]


def write_public_key(raw: bytes) -> str:
    """The PEM of a raw Ed25519 public key."""
    return f"{_BEGIN}\n{base64.b64encode(_PREFIX + raw).decode()}\n{_END}\n"


def key_id(raw: bytes) -> str:
    """SHA-256 of the raw public key, in hexadecimal: what an envelope's ``keyid`` says."""
    return hashlib.sha256(raw).hexdigest()


_HINT = "conveyor store worker add NAME --credentials FILE makes one and registers it"
