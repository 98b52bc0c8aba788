"""OpenPGP keys and signatures, as far as the store reads them itself.

Only the form is read here: which key a signature says it is from, which keys and subkeys a certificate holds,
and until when it is valid. What is genuine, the binding of subkeys included, is decided by ``gpgv`` in
``operations.store.signatures``; all that is read here can only refuse what ``gpgv`` would accept.

One certificate, of version 4, as GnuPG 2 makes it; one signature over bytes, by a strong hash, that names the
full fingerprint of its key. Older forms name a key by 64 bits, which anybody can make another key for.

Source: RFC 4880 (sections 4.2, 5.2, 5.5, 6, 12.2) and the subpacket "issuer fingerprint" of RFC 9580.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

BEGIN, END = b"-----BEGIN PGP SIGNATURE-----", b"-----END PGP SIGNATURE-----"
PREFIX = "openpgp "
"""How the name of an OpenPGP key begins where an SSH key has its type: ``openpgp FINGERPRINT``."""
MAX_CERTIFICATE_BYTES = 48 * 1024
STRONG_HASHES = {8: "SHA-256", 9: "SHA-384", 10: "SHA-512"}
MIN_RSA_BITS = 2048

_SIGNATURE, _SECRET_KEY, _PUBLIC_KEY, _SECRET_SUBKEY, _USER_ID, _PUBLIC_SUBKEY = 2, 5, 6, 7, 13, 14
_RSA, _SIGNING_ALGORITHMS = (1, 3), (1, 3, 19, 22)
_CERTIFIES_SELF, _REVOKES_KEY = (0x10, 0x11, 0x12, 0x13, 0x1F), 0x20
_CREATED, _KEY_EXPIRES, _ISSUER, _ISSUER_FINGERPRINT = 2, 9, 16, 33
_ARMOUR = re.compile(
    rb"-----BEGIN PGP (?P<what>[A-Z ]+)-----\r?\n(?:[A-Za-z]+: [^\n]*\n)*[ \t]*\r?\n"
    rb"(?P<body>[A-Za-z0-9+/=\s]+?)(?:\r?\n=(?P<sum>[A-Za-z0-9+/]{4}))?\s*\n-----END PGP (?P=what)-----\s*"
)


@dataclass(frozen=True)
class Signature:
    """What a signature says about itself."""

    issuer: str
    """Fingerprint of the key or subkey it claims to be from, in upper-case hexadecimal."""


@dataclass(frozen=True)
class Certificate:
    """A public key with its subkeys and user ids, well-formed but not verified."""

    fingerprint: str
    """Of the primary key: 40 upper-case hexadecimal digits."""
    keys: frozenset[str]
    """Fingerprints of the primary key and all subkeys."""
    valid_until: int | None
    """When the primary key expires, in seconds since 1970, by its newest statement about itself."""
    content: bytes
    """The packets: a keyring of ``gpgv``."""

    @property
    def name(self) -> str:
        """``openpgp FINGERPRINT``: what stands where an SSH key would."""
        return PREFIX + self.fingerprint


def is_openpgp(public_key: str) -> bool:
    """Whether the name or the text of a key is that of an OpenPGP key."""
    return public_key.startswith(PREFIX) or "-----BEGIN PGP " in public_key


def read_signature(armoured: bytes) -> Signature:
    """The one signature in an armoured block.

    Raises:
        InvalidInput: it is not one signature over bytes, its hash is weak, or it does not name its key.
    """
    try:
        packets = list(_packets(_unarmoured(armoured, b"SIGNATURE")))
        form, hash_algorithm, hashed, _ = _signature_fields(packets[0][1] if packets else b"")
    except ValueError as error:
        raise InvalidInput(f"the OpenPGP signature cannot be read ({error})", hint=_SIGNING_HINT) from error
    if [kind for kind, _ in packets] != [_SIGNATURE] or form != 0:
        raise InvalidInput("the OpenPGP signature is not one signature over bytes", hint=_SIGNING_HINT)
    if hash_algorithm not in STRONG_HASHES:
        strong = ", ".join(STRONG_HASHES.values())
        raise InvalidInput(
            f"the OpenPGP signature is made with a weak hash; {strong} count",
            hint="add to gpg.conf: digest-algo SHA512; then sign the tag again",
        )
    named = hashed.get(_ISSUER_FINGERPRINT, b"")
    if len(named) != 21 or named[0] != 4:
        raise InvalidInput(
            "the OpenPGP signature does not name the full fingerprint of its key", hint=_SIGNING_HINT
        )
    return Signature(named[1:].hex().upper())


def read_certificate(armoured: str) -> Certificate:
    """The one public key in an armoured block, as ``gpg --armor --export`` writes it.

    Raises:
        InvalidInput: it is anything else, private, revoked, too large, or of a kind that does not count.
    """
    if "PRIVATE KEY" in armoured:
        raise InvalidInput("that is a private key", hint=_EXPORT_HINT)
    try:
        content = _unarmoured(armoured.encode(), b"PUBLIC KEY BLOCK")
        packets = list(_packets(content))
    except ValueError as error:
        raise InvalidInput(f"the OpenPGP key cannot be read ({error})", hint=_EXPORT_HINT) from error
    if len(content) > MAX_CERTIFICATE_BYTES:
        raise InvalidInput(
            f"the OpenPGP key is over the limit of {MAX_CERTIFICATE_BYTES} bytes", hint=_EXPORT_HINT
        )
    return _certificate(content, packets)


def stored_certificate(content: str) -> Certificate:
    """The certificate in the base64 that a store keeps; it was read before."""
    raw = base64.b64decode(content)
    return _certificate(raw, list(_packets(raw)))


def write_certificate(certificate: Certificate) -> str:
    """The base64 that a store keeps."""
    return base64.b64encode(certificate.content).decode()


def _certificate(content: bytes, packets: list[tuple[int, bytes]]) -> Certificate:
    kinds = [kind for kind, _ in packets]
    if {_SECRET_KEY, _SECRET_SUBKEY} & set(kinds):
        raise InvalidInput("that is a private key", hint=_EXPORT_HINT)
    if kinds[:1] != [_PUBLIC_KEY] or kinds.count(_PUBLIC_KEY) != 1:
        raise InvalidInput(
            f"the file holds {kinds.count(_PUBLIC_KEY)} OpenPGP keys, not one", hint=_EXPORT_HINT
        )
    try:
        primary = _fingerprint(packets[0][1])
        keys = [_fingerprint(body) for kind, body in packets if kind in (_PUBLIC_KEY, _PUBLIC_SUBKEY)]
        until = _expiry(packets, primary)
    except ValueError as error:
        raise InvalidInput(f"the OpenPGP key cannot be read ({error})", hint=_EXPORT_HINT) from error
    _check_algorithm(packets[0][1])
    return Certificate(primary, frozenset(keys), until, content)


def _check_algorithm(key: bytes) -> None:
    algorithm = key[5]
    if algorithm in _RSA and int.from_bytes(key[6:8], "big") < MIN_RSA_BITS:
        raise InvalidInput(f"an RSA key needs {MIN_RSA_BITS} bits or more", hint=_KEY_HINT)
    if algorithm not in _SIGNING_ALGORITHMS:
        raise InvalidInput(f"OpenPGP keys of algorithm {algorithm} are not accepted here", hint=_KEY_HINT)


def _expiry(packets: list[tuple[int, bytes]], primary: str) -> int | None:
    """When the primary key expires by the newest of its own signatures; raises InvalidInput if revoked."""
    created = int.from_bytes(packets[0][1][1:5], "big")
    newest, until = -1, None
    for kind, body in packets:
        if kind == _PUBLIC_SUBKEY:
            break  # what follows is about subkeys: gpgv judges it
        if kind != _SIGNATURE or body[:1] != b"\x04":
            continue
        form, _, hashed, other = _signature_fields(body)
        issuer = hashed.get(_ISSUER_FINGERPRINT, b"")[1:].hex().upper()
        short = (hashed.get(_ISSUER) or other.get(_ISSUER, b"")).hex().upper()
        if issuer != primary and not (not issuer and short and primary.endswith(short)):
            continue
        if form == _REVOKES_KEY:
            raise InvalidInput(f"the key {primary} is revoked", hint=_KEY_HINT)
        made = int.from_bytes(hashed.get(_CREATED, b""), "big")
        if form in _CERTIFIES_SELF and made >= newest:
            seconds = int.from_bytes(hashed.get(_KEY_EXPIRES, b""), "big")
            newest, until = made, created + seconds if seconds else None
    return until


def _fingerprint(key: bytes) -> str:
    if key[:1] != b"\x04" or len(key) < 8:
        raise ValueError("its version is not 4")
    # Version 4 is defined with SHA-1: an identifier that gpgv computes too, no digest of what is signed.
    return (
        hashlib.sha1(b"\x99%b%b" % (len(key).to_bytes(2, "big"), key), usedforsecurity=False)
        .hexdigest()
        .upper()
    )


def _signature_fields(body: bytes) -> tuple[int, int, dict[int, bytes], dict[int, bytes]]:
    """(type, hash algorithm, hashed subpackets, other subpackets) of a signature packet of version 4."""
    if body[:1] != b"\x04" or len(body) < 10:
        raise ValueError("its version is not 4")
    hashed, rest = _counted(body[4:])
    other, _ = _counted(rest)
    return body[1], body[3], dict(_subpackets(hashed)), dict(_subpackets(other))


def _counted(data: bytes) -> tuple[bytes, bytes]:
    size = int.from_bytes(data[:2], "big")
    if len(data) < 2 + size:
        raise ValueError("it ends early")
    return data[2 : 2 + size], data[2 + size :]


def _subpackets(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        size, data = _length(data, longest_short=254)
        if not 1 <= size <= len(data):
            raise ValueError("it ends early")
        yield data[0] & 0x7F, data[1:size]  # the highest bit says "critical", which gpgv heeds
        data = data[size:]


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(tag, body) of each packet; lengths that are given in parts or not at all are refused."""
    while data:
        first = data[0]
        if not first & 0x80:
            raise ValueError("it is not made of packets")
        if first & 0x40:
            kind = first & 0x3F
            size, data = _length(data[1:], longest_short=223)
        else:
            kind, form = first >> 2 & 0x0F, first & 3
            if form == 3:
                raise ValueError("a length is missing")
            count = 1 << form
            size, data = int.from_bytes(data[1 : 1 + count], "big"), data[1 + count :]
        if size > len(data):
            raise ValueError("it ends early")
        yield kind, data[:size]
        data = data[size:]


def _length(data: bytes, *, longest_short: int) -> tuple[int, bytes]:
    """A length in the new form, and what follows it (RFC 4880, sections 4.2.2 and 5.2.3.1)."""
    if not data:
        raise ValueError("it ends early")
    if data[0] < 192:
        return data[0], data[1:]
    if data[0] <= longest_short:
        if len(data) < 2:
            raise ValueError("it ends early")
        return ((data[0] - 192) << 8) + data[1] + 192, data[2:]
    if data[0] != 255:
        raise ValueError("a length is given in parts")
    return int.from_bytes(data[1:5], "big"), data[5:]


def _unarmoured(text: bytes, what: bytes) -> bytes:
    """The bytes in one armoured block with nothing before and after it."""
    found = _ARMOUR.fullmatch(text.strip() + b"\n")
    if found is None or found["what"] != what:
        raise ValueError(f"it is not one armoured {what.decode().lower()}")
    content = base64.b64decode(re.sub(rb"\s", b"", found["body"]), validate=True)
    if found["sum"] is not None and base64.b64decode(found["sum"]) != _crc24(content):
        raise ValueError("its checksum is wrong")
    return content


def _crc24(data: bytes) -> bytes:
    """The checksum of an armoured block (RFC 4880, section 6.1)."""
    register = 0xB704CE
    for byte in data:
        register ^= byte << 16
        for _ in range(8):
            register <<= 1
            if register & 0x1000000:
                register ^= 0x1864CFB
    return (register & 0xFFFFFF).to_bytes(3, "big")


_KEY_HINT = 'make one: gpg --quick-generate-key "NAME <ADDRESS>" ed25519 sign'
_EXPORT_HINT = "hand in the output of: gpg --armor --export-options export-minimal --export FINGERPRINT"
_SIGNING_HINT = "make the tag anew with GnuPG 2.1 or newer: git tag -f -s -m MESSAGE TAG COMMIT"
